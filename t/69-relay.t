#!/usr/bin/perl
# The relay and its smarthost: connections, logins, and what waits for it.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch,
	options => { 'retry-first' => '"1s"', 'retry-most' => '"2s"',
		'connect-timeout' => '"3s"' });
my $smarthost = $instance->{smarthost};

sub submit {
	my (%o) = @_;
	my $reply = $instance->authenticated->transaction(message(%o), %o);
	like($reply, qr/^250 /, 'accepted');
}

subtest 'some recipients later' => sub {
	$smarthost->restart(fault => { 'rcpt=late@example.net' => '450 4.2.1 later' });
	submit(to => ['now@example.net', 'late@example.net']);
	ok($instance->arrived(1), 'the one is delivered');
	my ($event) = $smarthost->events('message');
	is_deeply($event->{to}, ['now@example.net'], 'to that one alone');
	$smarthost->fault();
	$instance->tool('queue', 'flush');
	ok($instance->arrived(2), 'the other later');
	my @events = $smarthost->events('message');
	is_deeply($events[1]{to}, ['late@example.net'], 'to that one alone');
};

subtest 'taken, but not answered' => sub {
	$smarthost->restart(fault => { dot => 'take' });
	submit();
	ok($instance->arrived(1), 'taken');
	$smarthost->fault();
	$instance->tool('queue', 'flush');
	ok($instance->arrived(2), 'sent again: at least once');
};

subtest 'a stalled connection' => sub {
	$smarthost->restart(fault => { 'rcpt=slow@example.net' => 'stall' });
	submit(to => ['slow@example.net']);
	ok(wait_until { grep { $_->{reply} eq 'stall' } $smarthost->events('fault') },
	    'one stalls');
	submit(to => ['quick@example.net']);
	ok($instance->arrived(1), 'another message is delivered meanwhile');
	$smarthost->restart(fault => {});
	$instance->tool('queue', 'flush');
	ok($instance->arrived(1), 'the stalled one after its end');
};

subtest 'nobody there' => sub {
	$smarthost->restart(fault => {});
	$smarthost->stop;
	submit();
	sleep 1;
	ok(scalar(my @kept = $instance->queue), 'it is kept');
	$smarthost->start;
	ok($instance->arrived(1), 'and delivered by the next try');
};

subtest 'a connection is used again' => sub {
	$smarthost->restart(fault => {});
	my $c = $instance->authenticated;
	for my $n (1 .. 10) {
		like($c->transaction(message(subject => $n)), qr/^250/, "message $n");
		$instance->arrived($n);
	}
	my @tls = $smarthost->events('tls');
	cmp_ok(scalar @tls, '<=', 2, 'ten messages, hardly a handshake: ' . @tls);
};

subtest 'without pipelining' => sub {
	$smarthost->restart(pipelining => 'no');
	submit(to => [map { "r$_\@example.net" } 1 .. 3]);
	ok($instance->arrived(1), 'delivered');
	$smarthost->restart(pipelining => undef);
};

subtest 'implicit TLS' => sub {
	$smarthost->restart(tls => 'implicit');
	$instance->stop;
	my $text = slurp($instance->{conf});
	$text =~ s/(\btls\s*=\s*)"?starttls"?/$1implicit/ or fail('no tls = starttls');
	$instance->conf_write($text);
	$instance->start;
	submit();
	ok($instance->arrived(1), 'delivered');
	is($smarthost->received('clear'), '', 'nothing in clear');
	$smarthost->restart(tls => 'starttls');
	$instance->stop;
	$instance->conf_write($text =~ s/\btls\s*=\s*implicit/tls = starttls/r);
	$instance->start;
};

subtest 'a login at the smarthost' => sub {
	my $port = $smarthost->port;
	$smarthost->restart(login => 'relay:open sesame');
	spew("$instance->{folder}/isp.secret", "open sesame\n");
	spew("$instance->{folder}/upstream", "isp PLAIN relay file:isp.secret\n");
	chmod 0600, "$instance->{folder}/upstream", "$instance->{folder}/isp.secret";
	$instance->option(upstream => '"upstream"');
	$instance->sites("127.0.0.1:$port out lock match=127.0.0.1 cert=client auth=isp\n");
	like($instance->reload // '', qr/result=ok/, 'reload');
	submit();
	ok($instance->arrived(1), 'delivered');
	my ($auth) = $smarthost->events('auth');
	is($auth->{name}, 'relay', 'after a login');
	unlike($smarthost->received('clear'), qr/AUTH/, 'none of it in clear');
	is(index($instance->log_text, 'sesame'), -1, 'the password is not logged');
	$smarthost->restart(login => 'relay:another');
	submit();
	ok(wait_until { $instance->log_lines(qr/\bdeferred\b.*(?:535|auth)/i) },
	    'a refused login: deferred');
	is($smarthost->count, 0, 'nothing is sent without it');
};

$instance->stop_ok;
done_testing;
