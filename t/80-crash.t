#!/usr/bin/perl
# SIGKILL of each role, and of the master, under load by several senders:
# whatever was acknowledged is in the smarthost afterwards, other sessions
# live on, and the next start binds at once.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $senders = 4;
my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"' });
my $smarthost = $instance->{smarthost};
my $folder = $instance->{scratch};

# A sender submits until the file "go" is gone, on one connection as long as
# it lasts; a line in its file for each message whose final dot got 250.
sub sender {
	my ($n) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	$SIG{__WARN__} = sub { };
	# Closing TLS writes to a connection whose server was killed.
	$SIG{PIPE} = 'IGNORE';
	open my $said, '>', "$folder/acked.$n";
	$said->autoflush(1);
	my ($c, $serial, $body) = (undef, 0, undef);
	while (-e "$folder/go") {
		$c //= eval { $instance->client(timeout => 5) };
		if (!$c || !($c->{in_auth} ||= eval {
			$c->plain('alice', 'correct horse') } =~ /^235/)) {
			undef $c;
			sleep 0.05;
			next;
		}
		my $id = "sender-$n-" . ++$serial;
		# Now and then one that gets a file of its own.
		$body = $serial % 25 ? "$id\r\n" : "x" x 70 . "\r\n";
		$body = $body x 5000 if $serial % 25 == 0;
		my $reply = eval { $c->transaction(message(id => $id, body => $body)) } // '';
		print $said "$id\n" if $reply =~ /^250 /;
		undef $c if $reply !~ /^[2345]/ || $reply =~ /^421/;
	}
	POSIX::_exit(0);
}

sub acknowledged {
	return map { split /\n/, slurp("$folder/acked.$_") } 1 .. $senders;
}

sub delivered {
	my %have;
	for my $octets ($smarthost->messages) {
		$have{$1}++ if $octets =~ /^Message-ID: <([^\@]+)\@/m;
	}
	return %have;
}

# Under load do the deed; all that was acknowledged has to arrive.
sub under_load {
	my ($name, $deed) = @_;
	$smarthost->forget;
	spew("$folder/go", '');
	my @pids = map { sender($_) } 1 .. $senders;
	wait_until { (my @some = acknowledged()) > 20 } 30;
	$deed->();
	my $before = () = acknowledged();
	wait_until { (my @some = acknowledged()) > $before + 20 } 30;
	unlink "$folder/go";
	my $died = grep { waitpid $_, 0; $? != 0 } @pids;
	is($died, 0, "$name: no sender died");
	my @acknowledged = acknowledged();
	cmp_ok(scalar @acknowledged, '>', 20 + $before,
	    "$name: senders get on afterwards");
	my %have;
	wait_until { %have = delivered(); !grep { !$have{$_} } @acknowledged } 60;
	my @lost = grep { !$have{$_} } @acknowledged;
	is(scalar @lost, 0, "$name: none of " . @acknowledged
	    . ' acknowledged messages is lost') or diag("lost: @lost[0 .. ($#lost > 9 ? 9 : $#lost)]");
	my $twice = grep { $_ > 1 } values %have;
	note("$name: $twice delivered more than once");
}

under_load('nothing happens', sub { });
{
	my %have = delivered();
	is(scalar(grep { $_ > 1 } values %have), 0, 'nothing happens: none twice');
}

for my $role (qw(session signer auth helpers relay lookup)) {
	my $bystander = wait_until { $instance->authenticated } 20;
	$bystander->command('MAIL FROM:<alice@example.org>');
	under_load("SIGKILL of $role", sub {
		for my $round (1 .. 3) {
			my $pid = wait_until { $instance->roles->{$role} } 10;
			ok($pid, "$role lives") or return;
			kill KILL => $pid;
			ok((wait_until {
				my $new = $instance->roles->{$role};
				$new && $new != $pid } 10), "$role is started again");
			sleep 0.3;
		}
	});
	next if $role eq 'session';
	like($bystander->command('RCPT TO:<bob@example.net>'), qr/^250/,
	    "SIGKILL of $role: another session lives on");
}

sub kill_master {
	my $roles = $instance->roles;
	my $master = $instance->{pid};
	kill KILL => $master;
	waitpid $master, 0;
	delete $instance->{pid};
	ok((wait_until { !grep { -e "/proc/$_" && slurp("/proc/$_/stat") !~ /\) Z / }
		values %$roles } 5), 'SIGKILL of the master ends all roles')
	    or diag(join ' ', map { "$_ $roles->{$_}" } sort keys %$roles);
	my $start = time;
	$instance->start;
	cmp_ok(time - $start, '<', sanitized() ? 20 : 5, 'the next start binds at once');
}
under_load('SIGKILL of the master', sub { kill_master() for 1 .. 2 });
under_load('SIGTERM and start', sub {
	ok($instance->stop, 'SIGTERM: exit status 0');
	$instance->start;
});

subtest 'all at once' => sub {
	under_load('SIGKILL of everything', sub {
		my $roles = $instance->roles;
		kill KILL => $instance->{pid}, values %$roles;
		waitpid delete $instance->{pid}, 0;
		$instance->start;
	});
};

$instance->stop_ok(deaths => 1);
done_testing;
