#!/usr/bin/perl
# One user's hundreds do not delay another's one; one smarthost that stalls
# leaves the others to the rest of the threads.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Smarthost;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

use constant { MANY => 300, FEW => 30, THREADS => 8, HALF => 4 };

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'relay-threads' => THREADS });
my $first = $instance->{smarthost};
my ($cert, $key) = $instance->{authority}->issue('second',
	ip => ['127.0.0.1']);
my $second = Sallyport::Smarthost->new("$instance->{scratch}/second",
	cert => $cert, key => $key);
my $two = '127.0.0.1:' . $second->port;

spew("$instance->{folder}/routes", "second.example rcpt $two smtp\n");
$instance->option(routes => '"routes"');
$instance->start;

my %client;

# A message by that user; each keeps one connection to us.
sub submit {
	my ($user, $to, $mark) = @_;
	$client{$user} //= $instance->authenticated(user => $user);
	my $reply = $client{$user}->transaction(
		"From: <$user\@example.org>\r\nSubject: $mark\r\n\r\nhello\r\n",
		from => "$user\@example.org", to => [$to]);
	BAIL_OUT("refused: $reply") if $reply !~ /^250/;
}

# Who sent what a smarthost kept, in the order of arrival.
sub senders {
	my ($smarthost) = @_;
	return map { $_->{from} =~ s/@.*//r } $smarthost->events('message');
}

# Connections to a smarthost that have not ended.
sub open_connections {
	my ($smarthost) = @_;
	my %open;
	for my $event ($smarthost->events) {
		$open{ $event->{connection} } = 1
		    if $event->{event} eq 'connected';
		delete $open{ $event->{connection} } if $event->{event} eq 'end';
	}
	return scalar keys %open;
}

subtest 'one message among hundreds' => sub {
	$first->fault(mail => 'delay 0.3');
	submit('alice', "to$_\@example.net", "many$_") for 1 .. MANY;
	submit('bob', 'to@example.net', 'one');
	my $before = senders($first);
	cmp_ok($before, '<', MANY - FEW, 'most of them wait at that time');
	ok((wait_until { grep { $_ eq 'bob' } senders($first) } 120),
		'the one arrives');
	my @senders = senders($first);
	my ($at) = grep { $senders[$_] eq 'bob' } 0 .. $#senders;
	# Those that were under way, and that went before the relay knew of it.
	cmp_ok($at - $before, '<', FEW, 'after a few of the others');
	$first->fault();
	ok($instance->arrived(MANY + 1, 120), 'all arrive');
	my $connections = $first->events('connected');
	cmp_ok($connections, '<=', 2 * HALF, 'over few connections')
	    or diag("$connections connections");
};

subtest 'a smarthost that stalls' => sub {
	# A connection that is kept does not stall.
	ok((wait_until { !open_connections($first) } 60),
		'those that nobody needs are closed');
	$first->forget;
	$first->fault(connect => 'stall');
	submit('alice', "to$_\@example.net", "stalled$_") for 1 .. 2 * THREADS;
	ok((wait_until { open_connections($first) == HALF } 60),
		'half of the threads hang in it');
	submit('alice', "to$_\@second.example", "second$_") for 1 .. 50;
	submit('bob', 'to@second.example', 'second');
	ok((wait_until { $second->count == 51 } 120),
		'mail for another goes on');
	is(open_connections($first), HALF, 'and no more hang');
	is(scalar($first->events('connected')), HALF, 'none was tried again');
};

subtest 'the only one that is known' => sub {
	ok($instance->stop, 'stopped');
	%client = ();
	$first->forget;
	$instance->start;
	submit('alice', "to$_\@example.net", "more$_") for 1 .. THREADS;
	ok((wait_until { open_connections($first) == HALF } 60),
		'half of the threads hang in it');
	$second->forget;
	submit('bob', 'to@second.example', 'at once');
	ok((wait_until { $second->count == 1 } 60),
		'one that is new finds a thread');
	is(scalar($first->events('connected')), HALF, 'no more hang');
	$first->fault();
	$instance->tool('queue', 'remove', '--all');
};

$instance->stop_ok;
done_testing();
