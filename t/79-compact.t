#!/usr/bin/perl
# One mailbox that is full, among mail that flows: what is left of its segment
# moves to an image, through kills and restarts, and in the end arrives once.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1s"', 'retry-most' => '"2s"' });
my $smarthost = $instance->{smarthost};
my $run = "$instance->{folder}/state/run";
$smarthost->fault('rcpt=full@example.net' => '452 4.2.2 mailbox full');

sub segments {
	return map { s{.*/}{}r } grep { !/\.m/ } glob "$run/in/*.*";
}

sub images {
	return glob "$run/relay/kept.*";
}

# How often each of ours has arrived, by its name.
sub arrived {
	my %count;
	/^Message-ID: <([^\@]+)\@/m && $count{$1}++ for $smarthost->messages;
	return %count;
}

my $client = $instance->authenticated;
sub submit {
	my ($id, $to, $octets) = @_;
	my $line = 'x' x 62 . "\r\n";
	my $body = $line x ($octets / 64);
	like($client->transaction(message(id => $id, body => $body),
		to => [$to]), qr/^250/, "$id: accepted");
}

submit("flows-$_", 'bob@example.net', 16384) for 1 .. 8;
submit('stuck', 'full@example.net', 4096);
submit('large', 'full@example.net', 512 * 1024);
submit("flows-$_", 'bob@example.net', 16384) for 9 .. 12;
ok((wait_until { my %have = arrived(); 12 == grep { /^flows/ } keys %have } 60),
	'what can be delivered is');

my ($segment) = segments();
ok(defined $segment, 'the segment is there, for what is left');
is(scalar(() = images()), 0, 'nothing moves while it is written to');

# A new session role writes to a segment of its own.
ok($instance->stop, 'stopped');
$instance->start;
ok($instance->logged(qr/\bfile=\Q$segment\E compacted messages=2 octets=\d+ now=\d+/, 60),
	'after a restart what is left moves to an image');
ok((wait_until { !-e "$run/in/$segment" } 30), 'and the segment goes');
my ($image) = images();
is($image, "$run/relay/kept.$segment", 'the image has its name');
cmp_ok(-s $image, '<', 16384, 'and is as large as what is left');

kill 'KILL', $instance->roles->{relay};
ok((wait_until { defined $instance->roles->{relay} } 30),
	'killed, the relay comes back');
ok((wait_until { 2 == (() = $instance->queue) } 30), 'both wait still');
ok($instance->stop, 'stopped again');
my ($status, $out) = $instance->tool('queue', 'list');
like($out, qr/full\@example\.net/, 'a stopped server lists them too');
$instance->start;

$smarthost->fault();
$instance->tool('queue', 'flush');
ok((wait_until { my %have = arrived(); $have{stuck} && $have{large} } 60),
	'they arrive once the mailbox has room');
ok((wait_until { !(() = $instance->queue) } 30), 'the queue is empty');
ok((wait_until { !(() = images()) } 30), 'and the image goes');
is(scalar(() = glob "$run/in/*.m*"), 0, 'with the large body');
my %have = arrived();
is_deeply([grep { $have{$_} != 1 } sort keys %have], [], 'each arrived once');
is(scalar(keys %have), 14, 'and all of them did');

$instance->stop_ok(deaths => 1);
done_testing;
