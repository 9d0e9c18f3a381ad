#!/usr/bin/perl
# A disk that fails, at each call on each kind of file: what the client hears,
# that nothing is half accepted, that all goes on without a restart, and that
# the operator hears of it once.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Disk;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $scratch = scratch();
my $disk = Sallyport::Disk->new($scratch);
my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"' });
$instance->start(env => $disk->env);
my $smarthost = $instance->{smarthost};

my $segment = '[0-9a-f]*.[0-9]*';
my $large = '[0-9a-f]*.m[0-9]*';
my $no_space = qr/^452 4\.3\.1 /;
my $trouble = qr/^451 4\.3\.0 /;

my ($serial, %accepted, %refused) = (0);

# One message; the reply that ended it.
sub submit {
	my (%o) = @_;
	my $id = 'disk-' . ++$serial;
	my $client = $instance->authenticated;
	my $body = $o{large} ? ('x' x 70 . "\r\n") x 6000 : "$id\r\n";
	my $reply = $client->transaction(message(id => $id, body => $body));
	$client->close;
	($reply =~ /^250 / ? \%accepted : \%refused)->{$id} = 1;
	return $reply;
}

sub arrived {
	my %count;
	for my $octets ($smarthost->messages) {
		$count{$1}++ if $octets =~ /^Message-ID: <(disk-\d+)\@/m;
	}
	return %count;
}

sub all_arrived {
	return wait_until {
		my %have = arrived();
		!grep { !$have{$_} } keys %accepted
	} 60;
}

sub eventually {
	my ($is, $name) = @_;
	return ok(&wait_until($is, 60), $name);
}

sub lines {
	my ($pattern) = @_;
	my @lines = $instance->log_lines($pattern);
	return scalar @lines;
}

# Name, rules, reply, whether the message is large.
my @cases = (
	['a segment, no space', ["write $segment ENOSPC"], $no_space],
	['a segment, quota', ["write $segment EDQUOT"], $no_space],
	['a segment, read error', ["write $segment EIO"], $trouble],
	['a segment, read-only', ["write $segment EROFS",
		"ftruncate $segment EROFS", "unlink $segment EROFS"], $trouble],
	['a segment, its sync', ["fdatasync $segment EIO"], $trouble],
	['a segment, its sync, no space', ["fdatasync $segment ENOSPC"],
		$no_space],
	['a segment, its sync and its end', ["fdatasync $segment EIO",
		"ftruncate $segment EIO", "unlink $segment EIO"], $trouble],
	['a new segment, read-only', ["fdatasync $segment EIO",
		"open $segment EROFS"], $trouble],
	['a new segment, too many files', ["fdatasync $segment EIO",
		"open $segment EMFILE"], $trouble],
	['a new segment, its header', ["fdatasync $segment EIO",
		"fsync $segment EIO"], $trouble],
	['a new segment, its folder', ["fdatasync $segment EIO",
		'fsync in EIO'], $trouble],
	['a large file, read-only', ["open $large EROFS"], $trouble, 1],
	['a large file, too many files', ["open $large EMFILE"], $no_space, 1],
	['a large file, no space', ["write $large ENOSPC"], $no_space, 1],
	['a large file, quota', ["write $large EDQUOT"], $no_space, 1],
	['a large file, write error', ["write $large EIO 2"], $trouble, 1],
	['a large file, its sync', ["fsync $large EIO"], $trouble, 1],
	['a large file, its folder', ['fsync in EIO'], $trouble, 1],
	['a large file, its record', ["write $segment ENOSPC"], $no_space, 1],
	['a large file, the sync of its record', ["fdatasync $segment EIO"],
		$trouble, 1],
);

# Before anything else, since what the first delivery shows is written then.
subtest 'files that mail does not depend on' => sub {
	$disk->fails('open *.json.new EROFS', 'rename *.json EIO');
	like(submit(), qr/^250 /, 'accepted');
	eventually(sub { lines(qr/ error book what=write reason/) }, 'told');
	ok(all_arrived(), 'delivered');
	$disk->well;
	eventually(sub { lines(qr/ book what=write result=recovered/) },
	    'its end is told');
	is(lines(qr/ error book what=write reason/), 1, 'once');
};

for my $case (@cases) {
	my ($name, $rules, $reply, $is_large) = @$case;
	$disk->fails(@$rules);
	like(submit(large => $is_large), $reply, $name);
	cmp_ok($disk->fitted, '>', 0, '... was met');
	like(submit(large => $is_large), $reply, '... and again')
	    if $rules->[0] !~ / \d+$/;
	$disk->well;
	like(submit(large => $is_large), qr/^250 /,
	    '... the disk is well and so are we');
}

subtest 'nobody notices' => sub {
	for my $rule ("write $segment EINTR 1 3", "write $segment short 1 3",
		"fdatasync $segment EINTR 1 2", 'write log.* short 1 2',
		'fdatasync log.* EINTR 1 2') {
		$disk->fails($rule);
		like(submit(), qr/^250 /, $rule);
		eventually(sub { $disk->fitted > 0 }, '... was met');
		all_arrived();
	}
	for my $rule ("write $large EINTR 1 3", "write $large short 1 3",
		"fsync $large EINTR 1 2") {
		$disk->fails($rule);
		like(submit(large => 1), qr/^250 /, $rule);
		cmp_ok($disk->fitted, '>', 0, '... was met');
	}
	$disk->well;
};

ok(all_arrived(), 'all that was acknowledged arrives');
ok($instance->logged(qr/ spool spool=recovered/, 60),
    'the end of the trouble is told');

subtest 'said once' => sub {
	my $alarms = lines(qr/ alarm spool spool=failing /);
	my $ends = lines(qr/ spool spool=recovered/);
	is($alarms, $ends, 'as often as it began');
	$disk->fails("fdatasync $segment EIO");
	like(submit(), $trouble, 'refused') for 1 .. 10;
	my $status = $instance->status->{roles}{session}{spool};
	is($status->{disk}, 'failing', 'status says so');
	like($status->{trouble}, qr/Input\/output error/, 'and why');
	$disk->well;
	eventually(sub { lines(qr/ spool spool=recovered/) > $ends }, 'it is over by itself, without a message');
	is(lines(qr/ alarm spool spool=failing /), $alarms + 1, 'one alarm');
	is($instance->status->{roles}{session}{spool}{disk}, 'well',
	    'status says so');
	like(submit(), qr/^250 /, 'accepted');
};

for my $rule ('write log.* ENOSPC', 'fdatasync log.* EIO') {
	subtest "the relay's log: $rule" => sub {
		my $alarms = lines(qr/ alarm queue log=failed /);
		my $ends = lines(qr/ queue log=recovered/);
		ok(all_arrived(), 'nothing is under way');
		$disk->fails($rule);
		like(submit(), qr/^250 /, 'accepted');
		eventually(sub { lines(qr/ alarm queue log=failed /) > $alarms }, 'alarm');
		like(submit(), qr/^250 /, 'still accepted') for 1 .. 5;
		my $log = $instance->status->{roles}{relay}{log};
		is($log->{disk}, 'failing', 'status says so');
		cmp_ok($log->{waiting}, '>', 0, 'and that something waits');
		my %have = arrived();
		my @waiting = grep { !$have{$_} } keys %accepted;
		is(scalar @waiting, 5,
		    'what came since is not delivered while it cannot be recorded');
		$disk->well;
		ok(all_arrived(), 'it is once that can be done');
		eventually(sub { lines(qr/ queue log=recovered/) > $ends }, 'the end is told');
		is(lines(qr/ alarm queue log=failed /), $alarms + 1, 'one alarm');
		eventually(sub { !$instance->queue }, 'the queue is empty');
		is($instance->status->{roles}{relay}{log}{disk}, 'well',
		    'status says so');
	};
}

subtest 'after SIGKILL of everything' => sub {
	# One that is refused with all its octets on the disk, last of all.
	$disk->fails("fdatasync $segment EIO", "ftruncate $segment EIO",
		"unlink $segment EIO");
	like(submit(), $trouble, 'refused');
	$disk->well;
	like(submit(), qr/^250 /, 'accepted');
	$instance->stop('KILL');
	$instance->start(env => $disk->env);
	ok(all_arrived(), 'all that was acknowledged has arrived');
	eventually(sub { !$instance->queue }, 'the queue is empty');
	my %have = arrived();
	is_deeply([grep { $refused{$_} } sort keys %have], [],
	    'nothing that was refused');
};

subtest 'a start on a disk that fails' => sub {
	$smarthost->fault(connect => '421 4.3.2 later');
	like(submit(), qr/^250 /, 'accepted');
	$instance->stop('KILL');
	my $ends = lines(qr/ queue files=read/);
	$disk->fails("open $segment EROFS", 'open log.* EROFS 3');
	$smarthost->fault;
	$instance->start(env => $disk->env);
	like(submit(), $trouble, 'it runs, and refuses');
	$disk->well;
	like(submit(), qr/^250 /, 'accepted without a restart');
	ok(all_arrived(), 'and delivered, with what could not be read before');
	eventually(sub { lines(qr/ queue files=read/) > $ends },
	    'the end is told');
};

my %have = arrived();
is_deeply([grep { $refused{$_} } sort keys %have], [],
    'no refused message has arrived');
is_deeply([grep { !$have{$_} } sort keys %accepted], [], 'all others have');
$instance->stop_ok(deaths => 1);
done_testing;
