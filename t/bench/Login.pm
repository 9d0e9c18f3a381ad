# What a login costs where the store has a million users.
#
# Each workload connects with implicit TLS, says EHLO, AUTH and QUIT; the floor
# leaves AUTH out.  The names are drawn from all users but for "PLAIN cached",
# whose users have logged in before.  EXTERNAL is one peer: its key is looked up
# among all entries; its floor asks for a certificate too.
package Login;

use strict;
use warnings;
use Cost;
use IPC::Open2;
use Sallyport::Instance;
use Sallyport::Test qw(build_folder program run scratch spew wait_until);
use Time::HiRes qw(sleep time);

my $programs = build_folder() . '/t/bench';
my $password = 'correct horse';
my $iterations = 10_000; # scram-iterations as it is by default
my $cached = 5000;       # users, of the 10,000 that cache-size has room for

# Runs PROGRAM with the password on its standard input; what it prints.
sub ask {
	my (@command) = @_;
	my ($status, $out, $err) = run({ in => "$password\n", timeout => 3600 },
		@command);
	die "@command: $err" if $status;
	return $out;
}

sub fill_store {
	my ($instance, $users) = @_;
	my $text = "$instance->{scratch}/users";
	spew($text, '');
	chmod 0600, $text;
	spew($text, ask("$programs/users", 'text', $users, $iterations));
	my $began = time;
	my ($status, undef, $err) = $instance->tool({ timeout => 3600 },
		'user', 'import', $text);
	die "user import: $err" if $status;
	my $took = time - $began;
	unlink $text;
	my $store = "$instance->{folder}/state/store/users.kch";
	my ($open, $hit, $miss) = split ' ',
	    ask("$programs/users", 'open', $store, $users);
	printf "store: %d users, %.0f MB, imported in %.1f s (%.0f/s), opened "
	    . "in %.1f ms, entry %.1f us, no entry %.1f us\n", $users,
	    (-s $store) / 1e6, $took, $users / $took, $open, $hit, $miss;
}

# The command as an operator waits for it.
sub show {
	my ($instance, $users, $how) = @_;
	my @took;
	for (1 .. 20) {
		my $name = sprintf 'u%08d@bench.example', rand $users;
		my $began = time;
		my ($status, undef, $err) = $instance->tool('user', 'show',
			$name);
		die "user show: $err" if $status;
		push @took, time - $began;
	}
	@took = sort { $a <=> $b } @took;
	printf "user show, %s: p50 %.1f ms, slowest %.1f ms\n", $how,
	    $took[@took / 2] * 1e3, $took[-1] * 1e3;
}

sub measure {
	my ($instance, $name, $sessions, $mechanism, @more) = @_;
	sleep 0.3;
	my $before = cpu($instance);
	my $line = ask("$programs/login", $instance->{ports}{submissions},
		$sessions, 8, $mechanism, @more);
	sleep 0.3;
	my $after = cpu($instance);
	my %per = map { $_ => ($after->{$_} - $before->{$_}) / $sessions }
	    @roles;
	my $all = 0;
	$all += $_ for values %per;
	my (undef, $seconds, $p50, $p99) = split ' ', $line;
	printf "%-18s %7d %8.3f  %s %9.0f %8.2f %8.2f\n", $name, $sessions,
	    $all, join(' ', map { sprintf '%7.3f', $per{$_} }
		qw(session signer auth relay master)), $sessions / $seconds,
	    $p50, $p99;
	return $all;
}

sub reload {
	my ($instance) = @_;
	($instance->reload // '') =~ /result=ok/ or die "reload failed\n";
}

# All figures; a million users at SCALE 1.
sub logins {
	my ($scale) = @_;
	my $users = int(1_000_000 * $scale);
	$users = 10_000 if $users < 10_000;
	my $n = int(5000 * $scale);
	$n = 1000 if $n < 1000;
	my $instance = Sallyport::Instance->new(start => 0, users => 0,
		options => { sessions => 30000, 'sessions-per-client' => 30000 });
	my ($cert, $key) = map { "$instance->{folder}/tls/client.$_" }
	    qw(pem key);
	fill_store($instance, $users);
	my ($status, undef, $err) = $instance->tool('user', 'add', 'peer',
		'--kind', 'server', '--certificate', $cert);
	die "user add: $err" if $status;
	show($instance, $users, 'server down');
	$instance->start;
	show($instance, $users, 'server up');
	printf "%-18s %7s %8s  %s %9s %8s %8s\n", 'login', 'logins', 'CPU ms',
	    join(' ', map { sprintf '%7s', $_ }
		qw(session signer auth relay master)), 'logins/s',
	    'AUTH p50', 'p99 ms';
	my @all = (0, $users);
	measure($instance, 'warm', 500, 'SCRAM-SHA-256', @all);
	my %ms;
	$ms{floor} = measure($instance, 'floor', $n, 'none', @all);
	for my $mechanism (qw(SCRAM-SHA-256 SCRAM-SHA-256-PLUS)) {
		$ms{$mechanism} = measure($instance, $mechanism, $n, $mechanism,
			@all);
	}
	$ms{uncached} = measure($instance, 'PLAIN uncached', $n, 'PLAIN',
		@all);
	my @few = (0, $cached);
	measure($instance, '(cached now)', $cached, 'PLAIN', @few, 'each');
	$ms{cached} = measure($instance, 'PLAIN cached', $n, 'PLAIN', @few);
	$instance->listener_option('submissions', 'client-cert', 'ask');
	reload($instance);
	$ms{asked} = measure($instance, 'floor, certificate', $n, 'none', @all,
		$cert, $key);
	$ms{EXTERNAL} = measure($instance, 'EXTERNAL', $n, 'EXTERNAL', @all,
		$cert, $key);
	printf "AUTH alone, CPU ms: %s, EXTERNAL %.3f\n", join(', ', map {
		sprintf '%s %.3f', $_, $ms{$_} - $ms{floor}
	} 'SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS', 'cached', 'uncached'),
	    $ms{EXTERNAL} - $ms{asked};
	$instance->stop or die "sallyportd did not stop\n";
}

1;
