#!/usr/bin/perl
# The site table over real sockets, out and in.  Where a message is refused,
# not one octet of it (nor of its envelope) has crossed, in clear or in TLS.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' },
	submission => { 'client-cert' => 'ask', 'client-ca' => '"peers.pem"' },
	start => 0);
my $scratch = $instance->{scratch};
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;
my $authority = $instance->{authority};
my $peers = Sallyport::Certs->authority($instance->{folder}, 'peers');
my $stranger = Sallyport::Certs->authority($scratch, 'stranger');
$instance->start;

# Certificates of smarthosts, each bad in one way.
my %here = (ip => ['127.0.0.1'], dns => ['smarthost.example']);
my %show = (
	good => [$authority->issue('good', %here)],
	'self-signed' => [$authority->issue('self', %here, self => 1)],
	untrusted => [$stranger->issue('untrusted', %here)],
	expired => [$authority->issue('expired', %here, from => -86400 * 9,
		to => -3600)],
	'not yet valid' => [$authority->issue('early', %here, from => 86400)],
	'wrong name' => [$authority->issue('other', ip => ['127.0.0.2'],
		dns => ['other.example'])],
	'name in CN only' => [$authority->issue('cn', cn => '127.0.0.1')],
	'for clients' => [$authority->issue('purpose', %here,
		purpose => 'client')],
	'no purpose' => [$authority->issue('nopurpose', %here,
		purpose => 'none')],
);

sub spki_digest {
	my ($file) = @_;
	my ($status, $pem) = run({}, 'openssl', 'x509', '-in', $file, '-noout',
		'-pubkey');
	my ($base64) = $pem =~ /-----\n(.*?)-----END/s;
	require MIME::Base64;
	return sha256_hex(MIME::Base64::decode_base64($base64));
}
my $pin = spki_digest($show{good}[0]);
my $self_pin = spki_digest($show{'self-signed'}[0]);
my $old_pin = spki_digest($show{expired}[0]);
my $other_pin = spki_digest($show{untrusted}[0]);

# What the smarthost is like, the row, whether mail goes, the reason logged.
my $dated = 'until=2099-12-31 reason="a test"';
my $past = 'until=2020-12-31 reason="a test"';
my @cases = (
	['no TLS', { tls => 'none' }, 'encrypt', 0, 'starttls-not-offered'],
	['STARTTLS answered 454', { fault => { starttls => '454 4.7.0 no' } },
		'encrypt', 0, 'starttls-refused'],
	['STARTTLS answered 500', { fault => { starttls => '500 5.5.1 no' } },
		'encrypt', 0, 'starttls-refused'],
	['octets after the reply to STARTTLS',
		{ inject => '250-evil.example\r\n250 AUTH PLAIN' },
		'encrypt', 0, 'starttls-injected'],
	['handshake cut off', { fault => { handshake => 'drop' } }, 'encrypt', 0,
		'handshake-failed'],
	['self-signed', {}, 'encrypt', 1],
	['expired', {}, 'encrypt', 1],
	['good', {}, 'encrypt', 1],
	['good', { max => 'TLSv1_2' }, 'encrypt', 1],
	['good', { max => 'TLSv1_2' }, 'encrypt min=tls1.3', 0,
		'protocol-too-old|handshake-failed'],
	['no TLS', { tls => 'none' }, 'verify', 0, 'starttls-not-offered'],
	['self-signed', {}, 'verify', 0, 'certificate-(self-signed|untrusted)'],
	['untrusted', {}, 'verify', 0, 'certificate-untrusted'],
	['expired', {}, 'verify', 0, 'certificate-expired'],
	['not yet valid', {}, 'verify', 0, 'certificate-not-yet-valid'],
	['for clients', {}, 'verify', 0, 'certificate-purpose'],
	['no purpose', {}, 'verify', 0, 'certificate-no-purpose'],
	['wrong name', {}, 'verify', 1],
	['good', {}, 'verify', 1],
	['good', {}, 'verify ca=stranger.pem', 0, 'certificate-untrusted'],
	['untrusted', {}, 'verify ca=stranger.pem', 1],
	['no TLS', { tls => 'none' }, 'lock match=127.0.0.1', 0,
		'starttls-not-offered'],
	['untrusted', {}, 'lock match=127.0.0.1', 0, 'certificate-untrusted'],
	['wrong name', {}, 'lock match=127.0.0.1', 0, 'certificate-name'],
	['name in CN only', {}, 'lock match=127.0.0.1', 0,
		'certificate-(no-san|name)'],
	['expired', {}, 'lock match=127.0.0.1', 0, 'certificate-expired'],
	['for clients', {}, 'lock match=127.0.0.1', 0, 'certificate-purpose'],
	['good', {}, 'lock match=127.0.0.1', 1],
	['good', {}, 'lock match=smarthost.example', 1],
	['good', {}, 'lock match=other.example', 0, 'certificate-name'],
	['good', {}, "lock pin=sha256:$pin", 1],
	['good', {}, "lock pin=sha256:$other_pin", 0, 'certificate-pin'],
	['good', {}, "lock pin=sha256:$other_pin pin=sha256:$pin", 1],
	['self-signed', {}, "lock pin=sha256:$self_pin", 0,
		'certificate-(self-signed|untrusted)'],
	['self-signed', {}, "lock chain=no pin=sha256:$self_pin", 1],
	['self-signed', {}, "lock chain=no pin=sha256:$pin", 0,
		'certificate-pin'],
	['expired', {}, "lock chain=no pin=sha256:$old_pin", 1],
	['no purpose', {}, "verify eku=any $dated", 1],
	['no purpose', {}, "verify eku=any $past", 0, 'certificate-no-purpose'],
	['untrusted', {}, "lock match=127.0.0.1 mode=observe $dated", 1],
	['untrusted', {}, "lock match=127.0.0.1 mode=observe $past", 0,
		'certificate-untrusted'],
	['no TLS', { tls => 'none' }, "verify mode=observe $dated", 0,
		'starttls-not-offered'],
	['no TLS', { tls => 'none' }, "may $past", 0, 'starttls-not-offered'],
	['no TLS', { tls => 'none' }, "may $dated", 1, undef, 'clear'],
	['good', {}, "may $dated", 1],
	['good', { 'client-ca' => undef }, 'none', 1, undef, 'clear'],
);
spew("$instance->{folder}/stranger.pem", slurp($stranger->file));

for my $case (@cases) {
	my ($peer, $settings, $row, $goes, $reason, $layer) = @$case;
	my $name = "$peer, $row";
	my ($cert, $key) = @{ $show{$peer} // $show{good} };
	$smarthost->restart(tls => 'starttls', cert => $cert, key => $key,
		fault => {}, inject => undef, max => undef,
		'client-ca' => "$instance->{folder}/tls/ca.pem", %$settings);
	my $options = $row eq 'none' ? '' : 'cert=client';
	$instance->sites("# the table of this case\n127.0.0.1:$port out $row $options\n");
	my $reloaded = $instance->reload;
	my $c = $instance->authenticated;
	my $marker = 'Marker' . int rand 1e9;
	my $reply = $c->transaction(message(subject => $marker),
		from => "from-$marker\@example.org", to => ["to-$marker\@example.net"]);
	my ($id) = ($instance->logged(qr/\baccepted\b.*from="?<?from-$marker/) // '')
	    =~ /queue=(\S+)/;
	if (!$id) {
		fail("$name: accepted ($reply; reload: "
			. ($reloaded // 'nothing') . ')');
		next;
	}
	my $line = $instance->logged(qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/)
	    // '';
	if ($goes) {
		like($line, qr/\bdelivered\b/, "$name: delivered");
		like($smarthost->received($layer // 'tls'), qr/to-$marker/,
		    "$name: in " . ($layer // 'tls'));
		unlike($smarthost->received('clear'), qr/$marker/,
		    "$name: nothing in clear") if !$layer;
	} else {
		like($line, qr/\bdeferred\b/, "$name: stays in the queue");
		for my $where (qw(clear tls)) {
			unlike($smarthost->received($where),
			    qr/$marker|MAIL|RCPT|DATA/i,
			    "$name: not one octet of the message in $where");
		}
		like($instance->log_text, qr/reason=(?:$reason)\b/,
		    "$name: the reason in the log");
	}
	$instance->queue_empty;
}

subtest 'our certificate is shown where the row says so' => sub {
	my ($cert, $key) = @{ $show{good} };
	$smarthost->restart(tls => 'starttls', cert => $cert, key => $key,
		fault => {}, 'client-ca' => "$instance->{folder}/tls/ca.pem");
	$instance->sites("127.0.0.1:$port out lock match=127.0.0.1 cert=client\n");
	$instance->reload;
	like($instance->authenticated->transaction(message()), qr/^250/, 'accepted');
	ok($instance->arrived(1), 'a smarthost that demands it is satisfied');
	my ($tls) = $smarthost->events('tls');
	like($tls->{client} // '', qr/CN=/, 'it saw the certificate');
	$smarthost->restart;
	$instance->sites("127.0.0.1:$port out lock match=127.0.0.1\n");
	$instance->reload;
	like($instance->authenticated->transaction(message()), qr/^250/, 'accepted');
	ok(wait_until { $smarthost->events('handshake failed') },
	    'without cert= none is shown');
	is($smarthost->count, 0, 'and nothing is delivered');
	$instance->queue_empty;
};

subtest 'a table that does not compile' => sub {
	my ($cert, $key) = @{ $show{good} };
	$smarthost->restart(cert => $cert, key => $key);
	$instance->sites("127.0.0.1:$port out lock match=127.0.0.1 cert=client\n");
	$instance->reload;
	for my $bad ('* out frobnicate', '* out encrypt frob=1', '* sideways encrypt',
		'192.0.2.1 out none', '* out may', "127.0.0.1 out lock cert=nobody",
		"* out lock pin=sha256:abcd", "* out verify ca=nowhere.pem") {
		$instance->sites("127.0.0.1:$port out lock match=127.0.0.1 cert=client\n$bad\n");
		my ($status, $out, $err) = $instance->tool('policy', 'check');
		is($status, 1, "$bad: policy check says no");
		like("$out$err", qr/sites:2: \S/, "$bad: names the line");
		$instance->reload;
	}
	ok($instance->log_lines(qr/sites:2: /), 'the log names the line');
	$smarthost->forget;
	like($instance->authenticated->transaction(message()), qr/^250/, 'accepted');
	ok($instance->arrived(1), 'the running table stays in force');
};

subtest 'explain' => sub {
	$instance->sites("# nobody\n\nsmarthost.example out verify\n"
	    . ".partner.example out lock\n* out encrypt\n");
	my ($status, $out, $err) = $instance->tool('policy', 'build');
	is($status, 0, 'policy build') or diag($err);
	for (['smarthost.example', 3, 'verify'], ['mx.partner.example', 4, 'lock'],
		['elsewhere.example', 5, 'encrypt']) {
		my ($host, $line, $level) = @$_;
		($status, $out, $err) = $instance->tool('policy', 'explain', 'out', $host);
		is($status, 0, "explain out $host") or diag($err);
		like($out, qr/sites:$line\b/, 'the row that decides');
		like($out, qr/\b$level\b/, 'its level');
		($status, $out, $err) = $instance->tool('policy', 'explain', '--json',
			'out', $host);
		my $json = eval { decode_json($out) };
		ok($json, 'as JSON') or diag($out, $err);
		like($out, qr/sites:$line\b|"line":\s*$line\b/, 'with the line');
	}
	for (['in', '300.1.1.1'], ['in', '192.0.2.0/24'], ['in', 'no host'],
		['out', 'x.example:'], ['out', 'x.example:0'], ['out', '*'],
		['out', ''], ['rcpt', 'nobody@'], ['rcpt', 'no domain']) {
		($status, $out, $err) = $instance->tool('policy', 'explain', @$_);
		is($status, 1, "explain @$_: no");
		is($out, '', 'no answer that could be taken for one');
	}
	for (['both', 'x.example'], ['out', 'x.example', '--ehlo', 'y.example'],
		['in', '192.0.2.1', '--port', 25], ['out']) {
		($status) = $instance->tool('policy', 'explain', @$_);
		is($status, 2, "explain @$_: wrong usage");
	}
	($status, $out) = $instance->tool('policy', 'explain', '--json',
		'in', '[::ffff:192.0.2.1]');
	like($out, qr/"site": "192\.0\.2\.1"/, 'an address in whatever form');
	($status, $out) = $instance->tool('policy', 'list');
	is($status, 0, 'policy list');
	like($out, qr/smarthost\.example.*verify/, 'shows the rows');
	($status, $out) = $instance->tool('policy', 'list', '--json');
	ok(eval { decode_json($out); 1 }, 'as JSON') or diag($out);
};

subtest 'in rows' => sub {
	my $refused = qr/^554 5\.7\.0 /;
	my ($cert, $key) = $peers->issue('peer', dns => ['peer.example'],
		purpose => 'client');
	my ($wrong_purpose, $wrong_key) = $peers->issue('peerserver',
		dns => ['peer.example'], purpose => 'server');
	my ($foreign, $foreign_key) = $stranger->issue('foreign',
		dns => ['peer.example'], purpose => 'client');
	my ($own, $own_key) = $stranger->issue('own', self => 1, purpose => 'none');
	my $own_pin = spki_digest($own);
	my ($cn, $cn_key) = $peers->issue('cnonly', cn => 'peer.example',
		purpose => 'client');
	my ($bare, $bare_key) = $peers->issue('bare', dns => ['peer.example'],
		purpose => 'none');
	my ($old, $old_key) = $peers->issue('old', dns => ['peer.example'],
		purpose => 'client', from => -86400 * 3, to => -3600);
	my $out = "127.0.0.1:$port out lock match=127.0.0.1 cert=client\n";
	my %with = (nothing => [], good => [cert => $cert, key => $key],
		'server certificate' => [cert => $wrong_purpose, key => $wrong_key],
		'foreign certificate' => [cert => $foreign, key => $foreign_key],
		'certificate of its own' => [cert => $own, key => $own_key],
		'name in CN only' => [cert => $cn, key => $cn_key],
		'certificate without purpose' => [cert => $bare, key => $bare_key],
		'expired certificate' => [cert => $old, key => $old_key]);
	for (['encrypt', 'nothing', 1], ['encrypt', 'foreign certificate', 1],
		['verify', 'nothing', 0], ['verify', 'foreign certificate', 0],
		['verify', 'server certificate', 0],
		['verify', 'expired certificate', 0], ['verify', 'good', 1],
		['lock match=peer.example', 'good', 1],
		['lock match=other.example', 'good', 0],
		['lock match=peer.example', 'nothing', 0],
		['lock match=peer.example', 'name in CN only', 0],
		['verify', 'certificate without purpose', 0],
		['verify ca=stranger.pem', 'good', 0],
		['verify ca=stranger.pem', 'foreign certificate', 1],
		['verify', 'certificate of its own', 0],
		["lock chain=no pin=sha256:$own_pin", 'certificate of its own', 1],
		["lock chain=no pin=sha256:$own_pin", 'good', 0]) {
		my ($row, $shown, $served) = @$_;
		$instance->sites("${out}127.0.0.0/8 in $row\n");
		$instance->reload;
		my $c = $instance->client(silent => 1, @{ $with{$shown} });
		my $reply = $c ? $c->ehlo : '';
		if ($served) {
			like($reply, qr/^250/, "$row: $shown is served");
			like($c->plain('alice', 'correct horse'), qr/^235/, 'AUTH');
			next;
		}
		like($reply, $refused, "$row: $shown is refused at EHLO");
		next if !$c;
		like($c->plain('alice', 'correct horse'), $refused, 'and at AUTH');
		like($c->command('MAIL FROM:<alice@example.org>'), $refused, 'and at MAIL');
		like($c->command('QUIT'), qr/^221/, 'but QUIT is served');
	}
	$instance->sites("${out}127.0.0.1 in none\n");
	my $c = $instance->client(clear => 1);
	$c->ehlo;
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^530 5\.7\.0 /,
	    'a row of level none does not open a submission listener');
};

$instance->stop_ok;
done_testing;
