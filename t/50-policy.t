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

my $instance = Sallyport::Instance->new(senders => { alice => ['*'] },
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

# Certificates of clients: each is judged for clientAuth by the row's anchors.
my %name = (dns => ['peer.example'], purpose => 'client');
my %client = (
	nothing => [],
	good => [$peers->issue('peer', %name)],
	'one for servers' => [$peers->issue('peerserver', %name,
		purpose => 'server')],
	'one for both' => [$peers->issue('peerboth', %name, purpose => 'both')],
	'one without purpose' => [$peers->issue('bare', %name, purpose => 'none')],
	'a stranger\'s' => [$stranger->issue('foreign', %name)],
	'one of its own' => [$stranger->issue('own', self => 1,
		purpose => 'none')],
	'the name in CN only' => [$peers->issue('cnonly', cn => 'peer.example',
		purpose => 'client')],
	'another name' => [$peers->issue('another', cn => 'peer.example',
		purpose => 'client', dns => ['other.example'])],
	'its address' => [$peers->issue('address', ip => ['127.0.0.1'],
		purpose => 'client')],
	expired => [$peers->issue('old', %name, from => -86400 * 3,
		to => -3600)],
	'not yet valid' => [$peers->issue('young', %name, from => 86400)],
	revoked => [$peers->issue('revoked', %name)],
);
my $peers_crl = $peers->crl("$instance->{folder}/peers.crl",
	revoked => [$client{revoked}[0]]);
$stranger->crl("$instance->{folder}/stranger.crl");
my %peer_pin = map { $_ => spki_digest($client{$_}[0]) }
    grep { $_ ne 'nothing' } keys %client;

# Connect from 127.0.0.1 showing one of them; greeted, but no EHLO said.
sub showing {
	my ($shown, %o) = @_;
	my ($cert, $key) = @{ $client{$shown} };
	return $instance->client(silent => 1, cert => $cert, key => $key, %o);
}

sub in_rows {
	my (@rows) = @_;
	$instance->sites("127.0.0.1:$port out lock match=127.0.0.1 cert=client\n"
	    . join '', map { "$_\n" } @rows);
	my $line = $instance->reload // '';
	like($line, qr/result=ok/, "table: @rows") or diag($line);
}

subtest 'in rows: every certificate' => sub {
	my $judged = qr/\bpolicy session=\w+ .*\bsite=127\.0\.0\.1 /;
	my $own = "lock chain=no pin=sha256:$peer_pin{'one of its own'}";
	my %pinned = map { $_ => "lock pin=sha256:$peer_pin{$_}" }
	    'good', 'expired', 'a stranger\'s';
	for (['encrypt', 'nothing'], ['encrypt', 'a stranger\'s'],
		['encrypt', 'expired'],
		['verify', 'good'], ['verify', 'one for both'],
		['verify', 'another name'], ['verify', 'revoked'],
		['verify', 'nothing', 'certificate-missing'],
		['verify', 'a stranger\'s', 'certificate-untrusted'],
		['verify', 'one of its own', 'certificate-(self-signed|untrusted)'],
		['verify', 'one for servers', 'certificate-purpose'],
		['verify', 'one without purpose', 'certificate-no-purpose'],
		['verify', 'expired', 'certificate-expired'],
		['verify', 'not yet valid', 'certificate-not-yet-valid'],
		["verify eku=any $dated", 'one without purpose'],
		["verify eku=any $dated", 'one for servers'],
		["verify eku=any $past", 'one without purpose',
			'certificate-no-purpose'],
		['verify ca=stranger.pem', 'good', 'certificate-untrusted'],
		['verify ca=stranger.pem', 'a stranger\'s'],
		['verify crl=peers.crl', 'good'],
		['verify crl=peers.crl', 'revoked', 'certificate-revoked'],
		['verify crl=stranger.crl', 'good',
			'certificate-revocation-unknown'],
		['lock match=peer.example', 'good'],
		['lock match=peer.example match=x.example', 'good'],
		['lock match=.example', 'good'],
		['lock match=127.0.0.1', 'its address'],
		['lock match=127.0.0.2', 'its address', 'certificate-name'],
		['lock match=other.example', 'good', 'certificate-name'],
		['lock match=peer.example', 'nothing', 'certificate-missing'],
		['lock match=peer.example', 'the name in CN only',
			'certificate-no-san'],
		['lock match=peer.example', 'another name', 'certificate-name'],
		['lock match=peer.example', 'a stranger\'s', 'certificate-untrusted'],
		['lock match=peer.example', 'expired', 'certificate-expired'],
		['lock match=peer.example crl=peers.crl', 'revoked',
			'certificate-revoked'],
		['lock match=peer.example', 'one for servers', 'certificate-purpose'],
		[$pinned{good}, 'good'],
		[$pinned{good}, 'one for both', 'certificate-pin'],
		["$pinned{expired} pin=sha256:$peer_pin{good}", 'good'],
		[$pinned{expired}, 'expired', 'certificate-expired'],
		[$pinned{'a stranger\'s'}, 'a stranger\'s', 'certificate-untrusted'],
		["$pinned{good} match=other.example", 'good', 'certificate-name'],
		[$own, 'one of its own'],
		[$own, 'good', 'certificate-pin'],
		[$own, 'nothing', 'certificate-missing'],
		['lock issuer="CN=peers test authority"', 'good'],
		['lock issuer="CN=stranger test authority"', 'good',
			'certificate-issuer'],
		['lock org="Nobody"', 'good', 'certificate-organisation']) {
		my ($row, $shown, $reason) = @$_;
		my $name = "$row: $shown";
		in_rows("127.0.0.0/8 in $row");
		my $before = () = $instance->log_lines($judged);
		my $c = showing($shown) or fail("$name: no handshake"), next;
		my $record = wait_until {
			my @lines = $instance->log_lines($judged);
			@lines > $before ? $lines[-1] : undef } 5;
		if (!$reason) {
			like($c->ehlo, qr/^250/, "$name is served");
			like($c->plain('alice', 'correct horse'), qr/^235/,
			    "$name: AUTH");
			like($record, qr/row=sites:2 .*verdict=pass/, "$name: record");
			next;
		}
		like($record, qr/row=sites:2 .*verdict=refuse-permanent
			.*reason=(?:$reason)\ /x, "$name: record");
		for my $command ('EHLO client.example', 'NOOP', 'RSET',
			'AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=',
			'MAIL FROM:<alice@example.org>', 'RCPT TO:<bob@example.net>',
			'DATA', 'STARTTLS', 'FROB') {
			like($c->command($command), qr/^554 5\.7\.0 [ -~]+\z/,
			    "$name is refused at $command");
		}
		like($c->command('QUIT'), qr/^221/, "$name: but QUIT is served");
	}
};

subtest 'in rows: what is refused may be so for the time being' => sub {
	in_rows('127.0.0.0/8 in verify fail=temporary');
	my $c = showing('nothing');
	like($c->$_, qr/^454 4\.7\.0 /, '454') for 'ehlo', 'ehlo';
	like($c->plain('alice', 'correct horse'), qr/^454 4\.7\.0 /, 'at AUTH');
	like($c->command('QUIT'), qr/^221/, 'QUIT');
	like(showing('good')->ehlo, qr/^250/, 'a good one is served');
};

subtest 'in rows: which row speaks' => sub {
	in_rows('127.0.0.0/8 in verify', '127.0.0.1 in encrypt');
	like(showing('nothing')->ehlo, qr/^250/, 'the address before its network');
	in_rows('* both encrypt', '127.0.0.0/30 in verify',
		'127.0.0.0/8 in encrypt');
	like(showing('nothing')->ehlo, qr/^554/, 'the longest prefix');
	in_rows('* both verify', '127.0.0.0/8 in encrypt');
	like(showing('nothing')->ehlo, qr/^250/, 'a prefix before *');
	in_rows('192.0.2.0/24 in verify', '::/0 in verify');
	like(showing('nothing')->ehlo, qr/^250/, 'no row: encrypt is enough');
	in_rows("127.0.0.0/8 in lock match=x.example mode=observe $dated");
	my $c = showing('good');
	like($c->ehlo, qr/^250/, 'mode=observe lets it go on');
	ok($instance->logged(qr/ verdict=observed reason=certificate-name /),
	    'and logs what enforcing would do');
	in_rows("127.0.0.1 in none");
	$c = $instance->client(clear => 1);
	$c->ehlo;
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^530 5\.7\.0 /,
	    'a row of level none does not open a submission listener');
};

# The submissions listener asks nobody by itself.
subtest 'in rows: who is asked for a certificate' => sub {
	my ($cert, $key) = @{ $client{good} };
	for (['192.0.2.1 in verify ca=peers.pem', 0],
		['127.0.0.1 in encrypt', 0],
		['127.0.0.1 in verify ca=peers.pem', 1],
		['127.0.0.1 in lock match=peer.example ca=peers.pem', 1]) {
		my ($row, $asked) = @$_;
		in_rows($row);
		my $tls = qr/\btls\b.*result=ok/;
		my $before = () = $instance->log_lines($tls);
		my $c = $instance->client(implicit => 1, cert => $cert, key => $key);
		ok($c, "$row: served") or next;
		my $line = wait_until { ($instance->log_lines($tls))[$before] };
		like($line, $asked ? qr/certificate=\S*peer/ : qr/certificate=-/,
		    $asked ? 'asked' : 'not asked');
	}
};

# RFC 5321 lets a client say anything at EHLO and MAIL.
subtest 'in rows: what a client claims' => sub {
	# A roaming user: alice, by password, from anywhere.
	in_rows('peer.example in lock', '.partner.example in lock match=x.example',
		'alice.example from verify', 'example.org from lock match=x.example');
	for my $claim ('peer.example', 'PEER.EXAMPLE', 'mx.partner.example',
		'[127.0.0.1]') {
		my $c = showing('nothing');
		like($c->ehlo($claim), qr/^250/, "EHLO $claim does not lock out");
		like($c->plain('alice', 'correct horse'), qr/^235/, 'AUTH');
		for my $from ('alice@example.org', 'alice@alice.example', '') {
			like($c->command("MAIL FROM:<$from>"), qr/^250/,
			    "nor does MAIL FROM:<$from>");
			$c->command('RSET');
		}
		is(scalar($c->transaction(message())) =~ /^250/, 1, 'mail is taken');
	}
	# An attacker in a network that is locked: no claim opens it.
	in_rows('127.0.0.0/8 in lock match=peer.example', 'peer.example in encrypt',
		'open.example in encrypt', 'alice.example from encrypt',
		'* both encrypt');
	for my $claim ('peer.example', 'open.example', 'client.example',
		'[192.0.2.1]') {
		my $c = showing('a stranger\'s');
		like($c->ehlo($claim), qr/^554 5\.7\.0 /, "EHLO $claim opens nothing");
		like($c->plain('alice', 'correct horse'), qr/^554/, 'nor AUTH');
		like($c->command('MAIL FROM:<alice@alice.example>'), qr/^554/,
		    'nor MAIL FROM');
	}
	# His certificate names what he claims, and that is not what is asked.
	in_rows('127.0.0.0/8 in lock match=peer.example');
	my $c = showing('another name');
	like($c->ehlo('other.example'), qr/^554/,
	    'a certificate for the claimed name is not one for the row');
	# Outside TLS there is nothing to claim with.
	$c = $instance->client(clear => 1);
	like($c->ehlo('peer.example'), qr/^250/, 'EHLO before TLS');
	like($c->command('MAIL FROM:<alice@alice.example>'), qr/^530/,
	    'MAIL is not served');
	# Nobody is let in by a row alone.
	in_rows('127.0.0.0/8 in lock match=peer.example');
	$c = showing('good');
	$c->ehlo('peer.example');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^530 5\.7\.0 /,
	    'who meets his row still has to authenticate');
};

$instance->stop_ok;
done_testing;
