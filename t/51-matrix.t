#!/usr/bin/perl
# The enforcement matrix over real sockets: every level x direction x kind of
# peer.  Each cell: the verdict, what SMTP or the queue made of it, the decision
# record in the log, and from a capture at the peer that not one octet of a
# message, nor of its envelope, crossed below its level.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Sallyport::Zone;
use Test::More;

my $instance = Sallyport::Instance->new(senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"',
		'auth-failure-delay' => '"100ms"' },
	(map { $_ => { 'client-cert' => 'ask', 'client-ca' => '"peers.pem"' } }
		qw(submission submissions)),
	start => 0);
$instance->listener_option('submissions', 'implicit-external', 'yes');
my $scratch = $instance->{scratch};
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;
my $dated = 'until=2099-12-31 reason="a test"';

sub pin {
	return Sallyport::Certs->pin(@_);
}

# Next hops with something to find in the DNS, under zone.example.
my @hosts = qw(ee ta untrusted expired other mismatch none refused mx.plain
    mx.forged);

# Certificates of every kind under one authority, and a list of revoked ones.
sub certificates {
	my ($authority, $stranger, $purpose, $wrong) = @_;
	my %here = (ip => ['127.0.0.1'], purpose => $purpose,
		dns => ['peer.example', map { "$_.zone.example" } @hosts]);
	my %kinds = (
		good => [$authority, %here],
		rsa => [$authority, %here, rsa => 2048],
		'weak key' => [$authority, %here, rsa => 1024],
		'self-signed' => [$authority, %here, self => 1],
		untrusted => [$stranger, %here],
		expired => [$authority, %here, from => -86400 * 9, to => -3600],
		'not yet valid' => [$authority, %here, from => 86400],
		'wrong host' => [$authority, ip => ['127.0.0.2'],
			dns => ['other.example'], purpose => $purpose],
		'name in CN only' => [$authority, cn => 'peer.example',
			purpose => $purpose],
		'wrong purpose' => [$authority, %here, purpose => $wrong],
		'no purpose' => [$authority, %here, purpose => 'none'],
		revoked => [$authority, %here],
	);
	my %files;
	for my $kind (sort keys %kinds) {
		my ($by, %o) = @{ $kinds{$kind} };
		$files{$kind} = [$by->issue("$purpose-$kind" =~ s/ /-/gr, %o)];
	}
	return %files;
}

my $stranger = Sallyport::Certs->authority($scratch, 'stranger');
my $peers = Sallyport::Certs->authority($instance->{folder}, 'peers');
my %server = certificates($instance->{authority}, $stranger, 'server', 'client');
my %client = certificates($peers, $stranger, 'client', 'server');
$instance->{authority}->crl("$instance->{folder}/out.crl",
	revoked => [$server{revoked}[0]]);
$peers->crl("$instance->{folder}/in.crl", revoked => [$client{revoked}[0]]);
my $good_pin = pin($server{good}[0]);
my $unused_pin = 'sha256:' . '5a' x 32;

# What is wrong with a certificate: against a chain, and against the name.
my $untrusted = 'certificate-(?:untrusted|self-signed)';
my %wrong_chain = (
	'weak key' => 'certificate-weak',
	'self-signed' => $untrusted, untrusted => 'certificate-untrusted',
	expired => 'certificate-expired',
	'not yet valid' => 'certificate-not-yet-valid',
	'wrong purpose' => 'certificate-purpose',
	'no purpose' => 'certificate-no-purpose',
	revoked => 'certificate-revoked',
);
my %wrong_name = (
	'wrong host' => 'certificate-name',
	'name in CN only' => 'certificate-(?:no-san|name)',
);

# The levels: what stands in the row, and what it asks of a peer.
sub levels {
	my ($name, $crl, $own, $good) = @_;
	return (
		['encrypt', 'encrypt', tls => 1],
		['encrypt, TLS 1.3', 'encrypt min=tls1.3', tls => 13],
		['verify', "verify crl=$crl", tls => 1, chain => 1],
		['lock by name', "lock match=$name crl=$crl", tls => 1,
			chain => 1, name => 1],
		['lock by the right key', "lock pin=$own crl=$crl", tls => 1,
			chain => 1],
		['lock by one key', "lock pin=$good crl=$crl", tls => 1,
			chain => 1, pin => 1],
		['lock by the right key alone', "lock chain=no pin=$own",
			tls => 1],
		['lock by one key alone', "lock chain=no pin=$good", tls => 1,
			pin => 1],
		['observe', "lock match=$name crl=$crl mode=observe $dated",
			tls => 1, chain => 1, name => 1, observe => 1],
	);
}

# Why a peer does not meet a level: a pattern for the reason; undef if it does.
sub misses {
	my ($peer, %level) = @_;
	return $peer->{no_tls} if $level{tls} && $peer->{no_tls};
	return 'protocol-too-old|handshake-failed'
	    if ($level{tls} // 0) == 13 && ($peer->{version} // 13) < 13;
	my $kind = $peer->{kind} // 'good';
	return 'certificate-missing' if $kind eq 'none' && ($level{chain}
		|| $level{name} || $level{pin} || $level{key});
	return $wrong_chain{$kind} if $level{chain} && $wrong_chain{$kind};
	return $wrong_name{$kind} if $level{name} && $wrong_name{$kind};
	return 'certificate-pin' if $level{pin} && $kind ne 'good';
	return $peer->{dane} if $level{dane};
	return;
}

# The record of RFC 8460 for a reason.
sub result_of {
	my ($reason) = @_;
	return { 'starttls-not-offered' => 'starttls-not-supported',
		'starttls-refused' => 'starttls-not-supported',
		'starttls-injected' => 'validation-failure',
		'handshake-failed' => 'validation-failure',
		'protocol-too-old' => 'validation-failure',
		'certificate-expired' => 'certificate-expired',
		'certificate-not-yet-valid' => 'certificate-not-trusted',
		'certificate-name' => 'certificate-host-mismatch',
		'certificate-no-san' => 'certificate-host-mismatch',
		'certificate-pin' => 'validation-failure',
		'certificate-missing' => 'validation-failure',
		(map { $_ => $_ } qw(tlsa-invalid dane-required dnssec-invalid)),
	}->{$reason} // 'certificate-not-trusted';
}

# --- going out ---------------------------------------------------------------

my %weak = (ciphers => 'DEFAULT@SECLEVEL=0');
my @servers = (
	{ name => 'no STARTTLS', set => { tls => 'none' },
		no_tls => 'starttls-not-offered', clear => 1 },
	{ name => 'STARTTLS stripped', clear => 1,
		set => { fault => { ehlo => '250-smarthost.example\n250 SIZE' } },
		no_tls => 'starttls-not-offered' },
	{ name => 'STARTTLS answered 454',
		set => { fault => { starttls => '454 4.7.0 no' } },
		no_tls => 'starttls-refused', clear => 1 },
	{ name => 'octets after STARTTLS',
		set => { inject => '250-evil.example\r\n250 AUTH PLAIN' },
		no_tls => 'starttls-injected' },
	{ name => 'handshake cut off',
		set => { fault => { handshake => 'drop' } },
		no_tls => 'handshake-failed', clear => 1 },
	{ name => 'TLS 1.0', set => { max => 'TLSv1', min => 'TLSv1', %weak },
		no_tls => 'handshake-failed|protocol-too-old', clear => 1 },
	{ name => 'TLS 1.1', set => { max => 'TLSv1_1', min => 'TLSv1', %weak },
		no_tls => 'handshake-failed|protocol-too-old', clear => 1 },
	{ name => 'TLS 1.2', set => { max => 'TLSv1_2' }, version => 12 },
	(map { { name => "$_, TLS 1.2", kind => $_, version => 12,
		set => { max => 'TLSv1_2' } } } 'rsa', 'expired'),
	map { { name => $_, kind => $_, set => $_ eq 'weak key' ? \%weak : {} } }
	    sort keys %server,
);

# What the log has got since; nothing before is looked at.
my $log_at = 0;

sub log_since {
	open my $f, '<:raw', $instance->{log} or return '';
	seek $f, $log_at, 0;
	local $/;
	return scalar <$f> // '';
}

# Wait for what matches there.
sub logged {
	my ($pattern, $seconds) = @_;
	my $found = wait_until {
		return log_since() =~ /$pattern/ ? $& : undef;
	} $seconds // 5;
	return $found // '';
}

sub become {
	my ($peer) = @_;
	my ($cert, $key) = @{ $server{ $peer->{kind} // 'good' } };
	$smarthost->set(tls => 'starttls', cert => $cert, key => $key,
		fault => {}, inject => undef, min => undef, max => undef,
		ciphers => undef, 'client-ca' => undef, %{ $peer->{set} });
	$smarthost->forget;
	$log_at = -s $instance->{log};
}

# A session keeps the configuration that it began with: a new one.  What waits
# would be routed by the new configuration, and go before what comes.
my ($out_client, @out_how);

sub reload {
	my ($what) = @_;
	$instance->queue_empty;
	my $said = $instance->reload // '';
	like($said, qr/result=ok/, "$what: reload")
	    or diag($instance->log_lines(qr/sites:/)) if $what;
	$out_client->command('QUIT') if $out_client;
	$out_client = $instance->authenticated(@out_how);
}

# One cell: submit, wait for the outcome, look at all four.
my $number = 0;

sub cell_out {
	my ($peer, $what, $asked, %level) = @_;
	my $name = "$what, $peer->{name}";
	my $marker = sprintf 'Marker%06d', ++$number;
	become($peer);
	my $reply = $out_client->transaction(message(subject => $marker),
		from => "from-$marker\@example.org", to => ["to-$marker\@example.net"]);
	my ($id) = logged(qr/\baccepted\b[^\n]*/) =~ /queue=(\S+)/;
	return fail("$name: accepted ($reply)") if !$id;
	my $line = logged(qr/[^\n]*\b(?:delivered|deferred|bounced)\b[^\n]*queue=$id[^\n]*/, $peer->{away} && 40);
	my $missed = misses($peer, %level);
	my $clear = $peer->{clear} && !$level{tls};
	my $passes = !$missed || ($level{observe} && !$peer->{no_tls});
	$passes = 0 if $peer->{no_tls} && !$clear;
	diag("$name\n$line\n" . log_since()) if $ENV{MATRIX};
	check_out($peer, $name, $marker, $line, $missed // $peer->{no_tls},
		$passes, $clear, $asked, %level);
	recover($name, $id) if !$passes && $what =~ /^out/;
}

# A next hop that failed is left alone for a while, unless what waits for it
# is to go at once; and then it goes.
sub recover {
	my ($name, $id) = @_;
	become({ set => {} });
	my $went;
	for (1 .. 10) {
		$instance->tool('queue', 'flush');
		last if $went = logged(qr/\bdelivered\b[^\n]*queue=$id\b/, 0.5);
	}
	ok($went, "$name: goes once all is well");
}

sub check_out {
	my ($peer, $name, $marker, $line, $missed, $passes, $clear, $asked,
		%level) = @_;
	like($line, $passes ? qr/\bdelivered\b/ : qr/\bdeferred\b/, "$name: "
	    . ($passes ? 'goes' : 'stays in the queue')) or diag(log_since());
	# The capture.
	my %got = map { $_ => $smarthost->received($_) } qw(clear tls);
	my $where = $clear ? 'clear' : 'tls';
	like($got{$where}, qr/\Qto-$marker\E.*Subject: $marker/s,
	    "$name: all of it in $where") if $passes;
	for my $layer (qw(clear tls)) {
		next if $passes && $layer eq $where;
		unlike($got{$layer}, qr/$marker|^(?:MAIL|RCPT|DATA|AUTH)\b/mi,
		    "$name: not one octet in $layer");
	}
	is($smarthost->count, $passes ? 1 : 0, "$name: kept there");
	# Without an address there is nothing to decide.
	return like($line, qr/\bstatus=4\.\S+ .*lookup failed/, "$name: says why")
	    if $peer->{away};
	# The record.  Under may a handshake that fails is no question of policy.
	if (!$passes && !$level{tls}) {
		like($line, qr/status=4\.7\.5/, "$name: a TLS failure");
		return;
	}
	my $verdict = $missed && !$clear
	    ? $level{observe} && $passes ? 'observed' : 'refuse-temporary'
	    : 'pass';
	my ($record) = grep { /\bdirection=out\b.*\bverdict=/ } $line, split /\n/, log_since();
	$record //= '';
	like($record, qr/\bdirection=out\b.* row=\S*sites:\d+/, "$name: the row");
	like($record, qr/\basked=$asked\b/, "$name: asked");
	like($record, qr/\bverdict=$verdict\b/, "$name: verdict");
	return if $verdict eq 'pass';
	like($record, qr/\breason="?(?:$missed)\b/, "$name: reason");
	my ($reason) = $record =~ /\breason="?([a-z0-9-]+)/;
	my $result = result_of($reason // '');
	like($record, qr/\bresult="?\Q$result\E\b/, "$name: result type");
}

my $own = join ',', map { pin($server{$_}[0]) } sort keys %server;
my @out = (['may', "may $dated"],
	levels('127.0.0.1', 'out.crl', $own, $good_pin));

$instance->sites("127.0.0.1:$port out encrypt\n");
$instance->start;

for my $level (@out) {
	my ($what, $row, %level) = @$level;
	$instance->sites("127.0.0.1:$port out $row reuse=no\n");
	reload($what);
	my ($asked) = $row =~ /^(\w+)/;
	cell_out($_, "out, $what", $asked, %level) for @servers;
}

# --- going out, with DANE ----------------------------------------------------

my @named = (
	{ name => 'DANE-EE', host => 'ee' },
	{ name => 'DANE-TA', host => 'ta' },
	{ name => 'DANE-EE, untrusted', host => 'untrusted', kind => 'untrusted' },
	{ name => 'DANE-EE, expired', host => 'expired', kind => 'expired' },
	{ name => 'DANE-EE, wrong host', host => 'other', kind => 'wrong host' },
	{ name => 'DANE-EE, another key', host => 'ee', kind => 'rsa',
		dane => 'tlsa-invalid' },
	{ name => 'DANE-TA, wrong host', host => 'ta', kind => 'wrong host',
		dane => 'tlsa-invalid' },
	{ name => 'a record of another key', host => 'mismatch',
		dane => 'tlsa-invalid' },
	{ name => 'no record', host => 'none', dane => 'dane-required' },
	{ name => 'no signatures', host => 'mx.plain', dane => 'dane-required' },
	{ name => 'a forged record', host => 'mx.forged',
		dane => 'dnssec-invalid' },
	{ name => 'no answer about the record', host => 'refused',
		dane => 'dnssec-invalid' },
	{ name => 'DANE-EE, STARTTLS stripped', host => 'ee',
		set => { tls => 'none' }, no_tls => 'starttls-not-offered' },
	{ name => 'resolver away', host => 'ee', away => 1, no_tls => 'lookup' },
);

sub zones {
	my $dns = Sallyport::Zone->new("$scratch/dns");
	my $tlsa = sub {
		my ($host, $kind, @how) = @_;
		my $file = $kind ? $server{$kind}[0] : $instance->{authority}->file;
		return "$host A 127.0.0.1\n_$port._tcp.$host "
		    . $dns->tlsa($file, @how) . "\n";
	};
	$dns->zone('plain.zone.example', signed => 0,
		records => $tlsa->('mx', 'good', 3, 1, 1));
	my ($wrong, $right) = map { $dns->tlsa($server{$_}[0], 3, 1, 1)
	    =~ /(\w+)\z/ } 'rsa', 'good';
	$dns->zone('forged.zone.example',
		records => $tlsa->('mx', 'rsa', 3, 1, 1), forge => sub {
			s/\b\Q$wrong\E\b/$right/ or die 'no record to forge';
		});
	$dns->zone('zone.example', records => "none A 127.0.0.1\n"
	    . "refused A 127.0.0.1\n_$port._tcp.refused CNAME not.served.example.\n"
	    . $tlsa->('ee', 'good', 3, 1, 1) . $tlsa->('ta', undef, 2, 0, 0)
	    . $tlsa->('mismatch', 'rsa', 3, 1, 1)
	    . $tlsa->('untrusted', 'untrusted', 3, 1, 1)
	    . $tlsa->('expired', 'expired', 3, 0, 1)
	    . $tlsa->('other', 'wrong host', 3, 1, 2));
	return $dns->start;
}

sub cell_dane {
	my ($dns, $peer, $row, %level) = @_;
	$dns->stop if $peer->{away};
	$instance->section_option('smarthost', '', 'address',
		qq("$peer->{host}.zone.example:$port"));
	become($peer);
	reload();
	cell_out($peer, "dane, $row", $row =~ /(\w+)/, dane => 1, %level);
	$dns->run_nsd if $peer->{away};
}

SKIP: {
	my @missing = Sallyport::Zone->missing;
	skip "not installed: @missing", 1 if @missing;
	my $dns = zones();
	$instance->option(resolvers => $dns->resolvers);
	$instance->option('trust-anchor' => '"' . $dns->trust_anchor . '"');
	for (['encrypt dane', tls => 1], ['verify dane', tls => 1, chain => 1],
		['lock dane', tls => 1, chain => 1, name => 1]) {
		my ($row, %level) = @$_;
		$instance->sites(join '', map {
			"$_.zone.example out $row reuse=no\n" } @hosts);
		# That it is away takes seconds to find out: once.
		cell_dane($dns, $_, $row, %level) for grep { !$_->{away}
		    || $row =~ /encrypt/ } @named;
	}
	$instance->section_option('smarthost', '', 'address',
		qq("127.0.0.1:$port"));
}

# --- rcpt: over a lesser row for the next hop --------------------------------

# A next hop of its own for each peer: of one that is known to fail, RCPT itself
# would be refused.
sub move {
	my ($peer) = @_;
	$smarthost->restart(port => undef);
	my $text = slurp($instance->{conf});
	$text =~ s/^(smarthost \{\n\s*address = "127\.0\.0\.1):\d+/"$1:" . $smarthost->port/me;
	$instance->conf_write($text);
	become($peer);
	reload();
	$log_at = -s $instance->{log};
}

# One message for all levels: each recipient is a cell.
sub cells_rcpt {
	my ($peer, @levels) = @_;
	my $marker = sprintf 'Marker%06d', ++$number;
	move($peer);
	$out_client->transaction(message(subject => $marker),
		from => "from-$marker\@example.org",
		to => [map { "to-$marker\@level$_.example" } 0 .. $#levels]);
	my $passed = 0;
	for my $i (0 .. $#levels) {
		my ($what, $row, %level) = @{ $levels[$i] };
		my $name = "rcpt, $what, $peer->{name}";
		my $to = "to-$marker\@level$i.example";
		my $line = logged(qr/[^\n]*\b(?:delivered|deferred|bounced)\b[^\n]*\Q$to\E[^\n]*/);
		my $missed = misses($peer, %level);
		my $passes = !$missed || ($level{observe} && !$peer->{no_tls});
		$passed += $passes;
		like($line, $passes ? qr/\bdelivered\b/ : qr/\bdeferred\b/, "$name: "
		    . ($passes ? 'goes' : 'stays in the queue')) or diag(log_since());
		unlike($smarthost->received('clear'), qr/$marker/,
		    "$name: not one octet in clear");
		my $got = $smarthost->received('tls');
		$passes ? like($got, qr/\Q$to\E/, "$name: all of it in TLS")
		    : unlike($got, qr/\Q$to\E/, "$name: not one octet in TLS");
		# An injection is found by whoever goes on after a 220.
		next if $passes && !$missed;
		my $sites = 2 + $i;
		my ($asked) = $row =~ /^(\w+)/;
		my ($record) = grep { /\brow=\S*sites:$sites\b/ } split /\n/, log_since();
		like($record // '', qr/\bdirection=out\b.*\basked=$asked\b.*\bverdict=@{[
			$passes ? 'observed' : 'refuse-temporary' ]}\b.*\breason="?(?:$missed)\b/,
		    "$name: the record");
	}
	unlike($smarthost->received('tls'), qr/$marker/,
	    "rcpt, $peer->{name}: nothing of the message in TLS") if !$passed;
	is($smarthost->count, $passed ? 1 : 0, "rcpt, $peer->{name}: kept once");
}

# A row that observes adds its demand to one that does not: enforced.
my @rcpt = map { [@$_, observe => 0] }
    levels('127.0.0.1', 'out.crl', $own, $good_pin);
$instance->sites("127.0.0.1 out encrypt reuse=no\n" . join '', map {
	"level$_.example rcpt $rcpt[$_][1]\n" } 0 .. $#rcpt);
reload('rcpt');
cells_rcpt($_, @rcpt) for @servers;

# --- coming in ---------------------------------------------------------------

my @clients = (
	{ name => 'no TLS', how => { clear => 1 }, no_tls => 'cleartext' },
	{ name => 'TLS 1.1', how => { version => 'TLSv1_1' },
		no_tls => 'handshake-failed' },
	{ name => 'no certificate', kind => 'none' },
	{ name => 'no certificate, TLS 1.2', kind => 'none', version => 12 },
	{ name => 'good, TLS 1.2', kind => 'good', version => 12 },
	{ name => 'octets after STARTTLS', reply => qr/^554 5\.5\.0 /,
		logged => 'cause=early-input', attack => sub {
			my ($c, $more) = @_;
			$c->send("STARTTLS\r\n$more");
			return $c->reply;
		} },
	{ name => 'handshake cut off', reply => qr/^220 /,
		logged => 'reason=handshake-failed', attack => sub {
			my ($c) = @_;
			my $reply = $c->command('STARTTLS');
			$c->send("\x16\x03\x01\x02\x00\x01");
			return $reply;
		} },
	# An alert, if anything.
	{ name => 'clear text for a handshake', reply => qr/^(?:torn: \x15|$)/,
		logged => 'reason=handshake-failed', attack => sub {
			my ($c, $more) = @_;
			$c->command('STARTTLS');
			$c->send($more);
			return $c->reply;
		} },
	map { { name => $_, kind => $_, how => $_ eq 'weak key' ? \%weak : {} } }
	    sort keys %client,
);

# Where TLS goes wrong, nobody is let in at any level.
sub cell_attack {
	my ($peer, $name, $marker) = @_;
	my $c = $instance->client(clear => 1);
	$c->ehlo;
	my $reply = $peer->{attack}->($c, join '', map { "$_\r\n" } 'EHLO evil.example',
		'AUTH PLAIN ' . encode_base64("\0alice\0correct horse", ''),
		"MAIL FROM:<from-$marker\@example.org>",
		"RCPT TO:<to-$marker\@example.net>", 'DATA', "Subject: $marker",
		'', '.');
	$c->close;
	like($reply, $peer->{reply}, "$name: reply");
	my ($id) = logged(qr/\bsession=\w+\b[^\n]*\b$peer->{logged}\b/)
	    =~ /session=(\w+)/;
	ok($id, "$name: the log says why") or diag(log_since());
	my @more = grep { /\bsession=\Q$id\E\b.*\b(?:auth|policy|accepted)\b/
		|| /\b$marker\b/ } split /\n/, log_since() if $id;
	ok(!@more, "$name: nobody is let in, and nothing accepted")
	    or diag("@more");
}

sub cell_in {
	my ($peer, $what, $asked, %level) = @_;
	my $name = "in, $what, $peer->{name}";
	my $missed = misses($peer, %level, key => $level{own});
	my $passes = !$missed || $level{observe};
	my $marker = sprintf 'Marker%06d', ++$number;
	my ($cert, $key) = @{ $client{ $peer->{kind} // '' } // [] };
	$log_at = -s $instance->{log};
	return cell_attack($peer, $name, $marker) if $peer->{attack};
	my $c = $instance->client(silent => 1, $cert ? (cert => $cert, key => $key)
		: (), $peer->{version} ? (version => 'TLSv1_2') : (),
		%{ $peer->{how} // {} });
	if ($peer->{no_tls} && !$peer->{how}{clear}) {
		ok(!$c, "$name: no TLS, no session");
		unlike(log_since(), qr/\baccepted\b.*$marker/, "$name: nothing is accepted");
		return;
	}
	return fail("$name: no session") if !$c;
	my $refused = $peer->{no_tls} ? qr/^5(?:30 5\.7\.0|38 5\.7\.11) /
	    : $passes ? qr/^250/ : qr/^554 5\.7\.0 /;
	my $ehlo = $c->ehlo;
	like($ehlo, $peer->{no_tls} ? qr/^250/ : $refused, "$name: EHLO");
	if (!$passes || $peer->{no_tls}) {
		like($c->plain('alice', 'correct horse'), $refused, "$name: AUTH");
		like($c->command("MAIL FROM:<from-$marker\@example.org>"), $refused,
		    "$name: MAIL");
		like($c->command("RCPT TO:<to-$marker\@example.net>"), $refused,
		    "$name: RCPT");
		like($c->command('DATA'), $refused, "$name: DATA");
		unlike(log_since(), qr/\baccepted\b.*$marker/, "$name: nothing is accepted");
	} else {
		like($c->plain('alice', 'correct horse'), qr/^235/, "$name: AUTH");
		like($c->transaction(message(subject => $marker),
			from => "from-$marker\@example.org"), qr/^250/, "$name: accepted");
	}
	return if $peer->{no_tls} || !$missed;
	my $verdict = $passes ? 'observed' : 'refuse-permanent';
	my $record = logged(qr/[^\n]*\bdirection=in\b[^\n]*\bverdict=$verdict\b[^\n]*/);
	like($record, qr/\brow=\S*sites:[12]\b.*\basked=$asked\b.*\bverdict=$verdict\b.*\breason="?(?:$missed)\b/,
	    "$name: the record");
	my ($reason) = $record =~ /\breason="?([a-z0-9-]+)/;
	my $result = result_of($reason // '');
	like($record, qr/\bresult="?\Q$result\E\b/, "$name: result type");
	like($ehlo, qr/\Q$reason\E|certificate|TLS/i, "$name: the reply says why")
	    if !$passes;
}

my $own_in = join ',', map { pin($client{$_}[0]) } sort keys %client;
become($servers[-1]);
@out_how = (cert => $client{good}[0], key => $client{good}[1]);
for my $level (levels('peer.example', 'in.crl', $own_in,
		pin($client{good}[0]))) {
	my ($what, $row, %level) = @$level;
	$instance->sites("127.0.0.1 out encrypt\n127.0.0.0/8 in $row\n");
	reload("in, $what");
	my ($asked) = $row =~ /^(\w+)/;
	cell_in($_, $what, $asked, %level,
		own => scalar $row =~ /pin=/) for @clients;
}

# --- coming in, by names that are claimed: at MAIL, without a password ----------

my @keys = sort keys %client;
for my $i (0 .. $#keys) {
	# No user has more than four.
	my $user = 'branch' . int $i / 4;
	my $file = $client{ $keys[$i] }[0];
	my ($status, undef, $err) = $instance->tool('user', $i % 4
		? ('bind', $user, $file)
		: ('add', $user, '--kind', 'server', '--sender', '*',
			'--certificate', $file));
	die "user: $err" if $status;
}

sub cell_claimed {
	my ($c, $peer, $what, $asked, $claimed, %level) = @_;
	my ($ehlo, $domain, $line) = @$claimed;
	my $name = "claimed, $what, $peer->{name}, $ehlo, $domain";
	my $missed = misses($peer, %level, observe => 0);
	my $marker = sprintf 'Marker%06d', ++$number;
	$log_at = -s $instance->{log};
	like($c->ehlo($ehlo), qr/^250/, "$name: EHLO");
	my $from = "from-$marker\@$domain";
	if (!$missed) {
		like($c->transaction(message(subject => $marker), from => $from),
		    qr/^250/, "$name: accepted");
		return;
	}
	my $reply = $c->command("MAIL FROM:<$from>");
	like($reply, qr/^554 5\.7\.0 .*(?:certificate|TLS)/, "$name: MAIL");
	like($c->command("RCPT TO:<to-$marker\@example.net>"), qr/^5/,
	    "$name: RCPT");
	like($c->command('DATA'), qr/^5/, "$name: DATA");
	my $record = logged(qr/[^\n]*\bdirection=in\b[^\n]*\bverdict=refuse[^\n]*/);
	like($record, qr/\brow=\S*sites:$line\b.*\basked=$asked\b.*\bverdict=refuse-permanent\b.*\breason="?(?:$missed)\b/,
	    "$name: the record");
	my ($reason) = $record =~ /\breason="?([a-z0-9-]+)/;
	my $result = result_of($reason // '');
	like($record, qr/\bresult="?\Q$result\E\b/, "$name: result type");
	unlike(log_since(), qr/\baccepted\b.*$marker/, "$name: nothing is accepted");
}

for my $level (levels('peer.example', 'in.crl', $own_in,
		pin($client{good}[0]))) {
	my ($what, $row, %level) = @$level;
	$instance->sites("127.0.0.1 out encrypt\n127.0.0.0/8 in encrypt\n"
	    . "peer.example in $row\nsender.example from $row\n");
	reload("claimed, $what");
	my ($asked) = $row =~ /^(\w+)/;
	for my $peer (grep { !$_->{attack} && !$_->{no_tls} } @clients) {
		my ($cert, $key) = @{ $client{ $peer->{kind} } // [] };
		my $c = $instance->client(implicit => 1,
			$cert ? (cert => $cert, key => $key) : (),
			$peer->{version} ? (version => 'TLSv1_2') : (),
			%{ $peer->{how} // {} })
		    or fail("claimed, $what, $peer->{name}: no session"), next;
		if (!$cert) {
			$c->ehlo('peer.example');
			like($c->command('MAIL FROM:<a@sender.example>'),
			    qr/^530 5\.7\.0 /, "claimed, $what, $peer->{name}: "
			    . 'no claim lets anybody in');
			next;
		}
		cell_claimed($c, $peer, $what, $asked, $_, %level)
		    for ['peer.example', 'other.example', 3],
		    ['other.example', 'sender.example', 4];
	}
}

# --- both: one row for either side -------------------------------------------

for (['encrypt', tls => 1], ['verify', tls => 1, chain => 1],
	['lock match=127.0.0.1', tls => 1, chain => 1, name => 1]) {
	my ($row, %level) = @$_;
	my ($asked) = $row =~ /^(\w+)/;
	$instance->sites("127.0.0.1 both $row\n");
	# The chain is judged without a list of what is revoked.
	# Such a row has no reuse=no: each peer has a port of its own.
	for my $peer (grep { ($_->{kind} // '') ne 'revoked' } @servers) {
		move($peer);
		cell_out($peer, "both, out, $row", $asked, %level);
	}
	cell_in($_, "both, in, $row", $asked, %level)
	    for grep { ($_->{kind} // '') ne 'revoked' } @clients;
	$instance->queue_empty;
}

$instance->stop_ok;
done_testing;
