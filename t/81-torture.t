#!/usr/bin/perl
# Roles killed at random under load, a smarthost that misbehaves at random:
# what was acknowledged arrives, is bounced or is held, and twice only where
# the relay was killed between the smarthost's 250 and its record.
#
# TORTURE_ROUNDS, 6 if not set (make torture: 200), is the number of kills;
# TORTURE_SEED gives the drawn numbers of an earlier run again.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Submitter;
use Sallyport::Test;
use Sallyport::Torture;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{TORTURE_ROUNDS} // 6;
my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
diag("$rounds rounds, TORTURE_SEED=$seed");
srand $seed;

# Those that hold messages first: the short form has to meet them.
my @targets = qw(relay session all master auth restart signer lookup helpers);

my $instance = Sallyport::Instance->new(
	senders => { alice => ['alice@example.org', $Sallyport::Torture::silent] },
	options => { 'retry-first' => '"1s"', 'retry-most' => '"2s"',
		'auth-failure-delay' => '"100ms"' });
my $smarthost = $instance->{smarthost};
my %refused = ("rcpt=$Sallyport::Torture::gone" => '550 5.1.1 no such person',
	"rcpt=$Sallyport::Torture::silent" => '550 5.7.1 no reports');
$smarthost->set(brief => 'yes', mischief => "3 $seed", fault => \%refused);

my $submitter = Sallyport::Submitter->new(instance => $instance,
	pause => $rounds > 6 ? 0.04 : 0, folder => $instance->{scratch}, make => sub {
		my ($n, $serial) = @_;
		srand($seed + 1000 * $n) if $serial == 1;
		return torture_message("torture-$n-$serial");
	});
my @kills;

sub is_gone {
	my ($pid) = @_;
	my $stat = slurp("/proc/$pid/stat");
	return $stat eq '' || $stat =~ /\) Z /;
}

# Kill some, and note when these processes are gone.
sub end {
	my ($target, $signal, $pids, @with_them) = @_;
	my %kill = (target => $target, time => time);
	kill $signal, @$pids;
	wait_until { $instance->ended if $instance->{pid};
		!grep { !is_gone($_) } @$pids, @with_them } 30
	    or BAIL_OUT("$target: processes remain");
	push @kills, { %kill, gone => time };
}

sub deed {
	my ($target) = @_;
	my $roles = wait_until { my $all = $instance->roles;
		keys %$all == 6 && $all } 60 or BAIL_OUT('some role does not live');
	my ($master, @all) = ($instance->{pid}, values %$roles);
	if (my $pid = $roles->{$target}) {
		return end($target, 'KILL', [$pid]);
	}
	end($target, $target eq 'restart' ? 'TERM' : 'KILL',
		$target eq 'all' ? [$master, @all] : [$master], @all);
	BAIL_OUT("SIGTERM: $instance->{status}")
	    if $target eq 'restart' && $instance->{status} ne 'status 0';
	$instance->start;
}

for my $round (1 .. $rounds) {
	my $target = $targets[($round - 1) % @targets];
	# Some get through between any two, and each kill meets load.
	my $before = $submitter->acked;
	wait_until { $submitter->acked > $before + 5 } 60
	    or BAIL_OUT("round $round: nothing is acknowledged any more");
	sleep rand 0.7;
	$instance->signal('HUP') if rand(4) < 1;
	sleep rand 0.1;
	deed($target);
	diag("round $round") if $round % 20 == 0 && $rounds > 6;
}
{
	my $before = $submitter->acked;
	ok((wait_until { $submitter->acked > $before + 10 } 60),
	    'messages are taken after the last round');
}
is($submitter->stop, 0, 'no sender died');

# All quiet: what is left gets its chance, and what remains is held.
$smarthost->set(mischief => undef);
# So long as there is ever less of it, it may take its time.
my (@left, $least);
sub has_less {
	$instance->tool('queue', 'flush');
	@left = $instance->queue;
	my $waiting = grep { $_->{state} ne 'held' } @left;
	return 0 if defined $least && $waiting >= $least && $waiting;
	$least = $waiting;
	return 1;
}
do { } while ((wait_until { has_less() } 60) && $least);
is($least, 0,
    'all that is left in the queue is held')
    or diag(map { "$_->{queue} $_->{state}\n" } @left);

my $account = torture_account(smarthost => $smarthost,
	submitter => $submitter, queue => [@left], kills => \@kills,
	reports => { map { / bounce queue=(\S+) for=(\S+) action=failed/ }
		$instance->log_lines(qr/ bounce queue=/) });
diag($_) for torture_table($account);
my $n = $account->{counts};
cmp_ok($n->{acked}, '>', 10 * $rounds, 'messages were acknowledged all along');
for my $what (['lost', 'every acknowledged message arrived, bounced or is held'],
	['damaged', 'none arrived damaged'],
	['unexplained', 'none arrived twice but for a killed relay'],
	['untold', 'every success that was asked for is reported']) {
	my ($list, $name) = @$what;
	is(scalar @{ $account->{$list} }, 0, $name)
	    or diag("$list: @{ $account->{$list} }[0 .. ($#{ $account->{$list} } > 9
		? 9 : $#{ $account->{$list} })]");
}
is(scalar $instance->log_lines(qr/\bdamaged\b/), 0, 'nothing was set aside');
$instance->stop_ok(deaths => 1);
done_testing;
