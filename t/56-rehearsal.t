#!/usr/bin/perl
# mode=observe over real sockets, out and in: what an observed row would refuse
# goes on, is counted, and can be rehearsed; below encrypt it does not go on.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' },
	submission => { 'client-cert' => 'ask', 'client-ca' => '"peers.pem"' },
	start => 0);
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;
my $folder = $instance->{folder};
my $peers = Sallyport::Certs->authority($folder, 'peers');
my $stranger = Sallyport::Certs->authority($instance->{scratch}, 'stranger');
$instance->start;

my %here = (ip => ['127.0.0.1'], dns => ['smarthost.example']);
my %show = (
	good => [$instance->{authority}->issue('good', %here)],
	untrusted => [$stranger->issue('untrusted', %here)],
);
my $dated = 'until=2099-12-31 reason="a test"';
my $out = "127.0.0.1:$port out verify";
my $in = '127.0.0.0/8 in verify';

sub smarthost_is {
	my ($which, %settings) = @_;
	my ($cert, $key) = @{ $show{$which} };
	$smarthost->restart(tls => 'starttls', cert => $cert, key => $key,
		fault => {}, 'client-ca' => undef, %settings);
}

sub sites {
	$instance->sites(join '', map { "$_\n" } @_);
	$instance->reload;
}

# One message; true if it was delivered, false if it was deferred.
sub delivered {
	my $marker = 'Marker' . int rand 1e9;
	my $reply = $instance->authenticated->transaction(
		message(subject => $marker), from => "$marker\@example.org",
		to => ['to@example.net']);
	my ($id) = ($instance->logged(qr/\baccepted\b.*from="?<?$marker/) // '')
	    =~ /queue=(\S+)/;
	# A next hop that failed just now would have to wait.
	$instance->tool('queue', 'flush');
	my $line = $instance->logged(
	    qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/) // '';
	$instance->queue_empty;
	return $line =~ /\bdelivered\b/;
}

sub rehearsal {
	my ($status, $text, $errors) = $instance->tool('policy', 'rehearsal',
		'--json', @_);
	my $rows = eval { decode_json($text) } // [];
	diag($text, $errors) if !@$rows;
	return ($status, @$rows);
}

subtest 'nothing is observed' => sub {
	sites($out);
	my ($status, $text) = $instance->tool('policy', 'rehearsal');
	is($status, 0, 'exit status 0');
	like($text, qr/no row has mode=observe/, 'and says so');
};

subtest 'going out' => sub {
	sites('# a comment', "$out mode=observe $dated");
	my ($status, @rows) = rehearsal();
	is($status, 1, 'not ready without a connection');
	is(scalar @rows, 1, 'one row');
	is($rows[0]{'not-ready'}, 'no connection yet', 'none yet');
	is($rows[0]{line}, 2, 'its line');
	is($rows[0]{direction}, 'out', 'its direction');
	is($rows[0]{level}, 'verify', 'its level');

	smarthost_is('good');
	ok(delivered(), 'a good certificate: delivered');
	($status, @rows) = rehearsal('--days', 0);
	is($status, 0, 'ready if no days are asked for');
	($status, @rows) = rehearsal();
	is($status, 1, 'not ready the first day');
	is($rows[0]{connections}, 1, 'one connection');
	is($rows[0]{refused}, 0, 'none refused');

	smarthost_is('untrusted');
	ok(delivered(), 'an untrusted one: delivered all the same');
	ok($instance->log_lines(qr/direction=out.*verdict=observed/),
	    'the log has the decision');
	ok(!$instance->log_lines(qr/ alarm site .*direction=out/), 'and no alarm');
	($status, @rows) = rehearsal('--days', 1);
	is($status, 1, 'not ready any more');
	is($rows[0]{refused}, 1, 'one would have been refused');
	is($rows[0]{reasons}{'certificate-untrusted'}, 1, 'and why');

	smarthost_is('untrusted', tls => 'none');
	ok(!delivered(), 'without TLS: deferred');
	unlike($smarthost->received('clear'), qr/MAIL|Marker/,
	    'not one octet of the message in clear');
	($status, @rows) = rehearsal();
	cmp_ok($rows[0]{reasons}{'starttls-not-offered'}, '>=', 1,
	    'it is counted, too');
	like($instance->logged(qr/ alarm site .*direction=out/) // '',
	    qr/site state=failing next-hop=127\.0\.0\.1:$port direction=out site=127\.0\.0\.1 row=sites:2 .*reason=starttls-not-offered/,
	    'and is an alarm, with the decision');
};

subtest 'the record' => sub {
	sites('', '', '', "$out   mode=observe  $dated");
	my ($status, @rows) = rehearsal();
	is($rows[0]{line}, 4, 'the row has moved');
	my $refused = $rows[0]{refused};
	cmp_ok($refused, '>=', 2, 'its record stays');
	$instance->stop;
	($status, @rows) = rehearsal();
	is($rows[0]{refused}, $refused, 'it is read from the files of a stopped server');
	$instance->start;
	($status, @rows) = rehearsal();
	is($rows[0]{refused}, $refused, 'and survives a restart');
	my ($text) = ($instance->tool('policy', 'rehearsal'))[1];
	like($text, qr/sites:4: 127\.0\.0\.1:$port out verify\n.* $refused would have been refused \(.*certificate-untrusted 1.*\)\n.*not ready: /,
	    'as text');
	sites("$out min=tls1.3 mode=observe $dated");
	($status, @rows) = rehearsal();
	is($rows[0]{connections}, 0, 'another row begins anew');
};

subtest 'enforced' => sub {
	sites($out);
	smarthost_is('untrusted');
	ok(!delivered(), 'the same row refuses');
	like($instance->log_text, qr/row=sites:1 .*verdict=refuse-temporary reason=certificate-untrusted/,
	    'for the reason that was rehearsed');
	is(scalar(() = $instance->log_text =~ / alarm site .*direction=out/g), 1,
	    'a site that failed before the restart raises no second alarm');
	my ($relay) = grep { $_->{'sites-failing'} }
	    values %{ $instance->status->{roles} // $instance->status };
	is($relay->{'sites-failing'}, 1, 'status counts the site');
	smarthost_is('good');
	ok(delivered(), 'a good certificate passes');
};

subtest 'coming in' => sub {
	sites($out, "$in mode=observe $dated");
	my $client = $instance->client;
	$client->starttls;
	like($client->ehlo, qr/^250/, 'a client without a certificate goes on');
	$client->close;
	my ($status, @rows);
	wait_until {
		($status, @rows) = rehearsal();
		($rows[0]{connections} // 0) > 0;
	};
	is($rows[0]{direction}, 'in', 'the row');
	cmp_ok($rows[0]{refused}, '>=', 1, 'it would have been refused');
	ok($rows[0]{reasons}{'certificate-missing'}, 'and why');
	sites($out, $in);
	$client = $instance->client;
	$client->starttls;
	like($client->ehlo, qr/^554 5\.7\.0/, 'enforced: refused');
	$client->close;
};

subtest 'ratchets' => sub {
	my ($status, $text) = $instance->tool('policy', 'ratchet');
	is($status, 0, 'the list');
	($status, $text, my $errors) = $instance->tool('policy', 'ratchet',
		'lower', 'nobody.example:25');
	is($status, 1, 'nothing to lower');
	like($errors, qr/nobody\.example:25: nothing is remembered/, 'is said');
	for (['lower'], ['lower', 'x.example:25', 'none'], ['raise', 'x'],
		['--days', 1]) {
		($status) = $instance->tool('policy', 'ratchet', @$_);
		is($status, 2, "ratchet @$_: wrong usage");
	}
	for (['x'], ['--days', 'x'], ['--days', -1]) {
		($status) = $instance->tool('policy', 'rehearsal', @$_);
		is($status, 2, "rehearsal @$_: wrong usage");
	}
	$instance->stop;
	($status, $text, $errors) = $instance->tool('policy', 'ratchet',
		'lower', 'x.example:25');
	is($status, 1, 'a stopped server lowers nothing');
	like($errors, qr/does not run/, 'and says why');
	$instance->start;
};

$instance->stop_ok;
done_testing;
