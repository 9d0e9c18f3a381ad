#!/usr/bin/perl
# policy probe and policy audit against real servers: what they see, what they
# say, that the row they offer compiles and is met, and that neither AUTH nor
# MAIL is ever said.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::IP;
use IO::Socket::SSL::Utils;
use JSON::PP;
use POSIX ();
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Smarthost;
use Sallyport::Test;
use Sallyport::Zone;
use Test::More;
use Time::HiRes qw(sleep time);

# A resolver that refuses: DNS has nothing to say, and says so at once.
my $refusing = IO::Socket::IP->new(Proto => 'udp', LocalHost => '127.0.0.1',
	LocalPort => 0) or die "socket: $@";
my $refuser = fork // die "fork: $!";
if (!$refuser) {
	my $parent = getppid();
	while (getppid() == $parent) {
		my $from = recv $refusing, my $query, 512, 0;
		next if !defined $from || length $query < 12;
		# QR, RD, RA and REFUSED (RFC 1035, section 4.1.1).
		substr $query, 2, 2, "\x81\x85";
		send $refusing, $query, 0, $from;
	}
	POSIX::_exit(0);
}
my $resolvers = '{ "127.0.0.1:' . $refusing->sockport . '" }';
# Bound and not listening: nobody else gets that port.
my $unused = IO::Socket::IP->new(Proto => 'tcp', LocalHost => '127.0.0.1',
	LocalPort => 0) or die "socket: $@";
my $nobody = $unused->sockport;
my $instance = Sallyport::Instance->new(start => 0, users => 0,
	options => { resolvers => $resolvers });
my $scratch = $instance->{scratch};
my $authority = $instance->{authority};
my $stranger = Sallyport::Certs->authority($scratch, 'stranger');
my @here = (ip => ['127.0.0.1'], dns => ['site.example']);
my %show = (
	good => [$authority->issue('good', @here)],
	'self-signed' => [$authority->issue('self', @here, self => 1)],
	untrusted => [$stranger->issue('untrusted', @here)],
	expired => [$authority->issue('expired', @here, from => -86400 * 9,
		to => -3600)],
	'soon over' => [$authority->issue('soon', @here, to => 86400 * 9)],
	'not yet valid' => [$authority->issue('early', @here, from => 86400)],
	'other name' => [$authority->issue('other', dns => ['other.example'])],
	'name in CN only' => [$authority->issue('cn', cn => 'site.example')],
	'for clients' => [$authority->issue('purpose', @here,
		purpose => 'client')],
	'no purpose' => [$authority->issue('nopurpose', @here,
		purpose => 'none')],
);
my $site = Sallyport::Smarthost->new("$scratch/site", cert => $show{good}[0],
	key => $show{good}[1]);
my $port = $site->port;

sub probe {
	my (@words) = @_;
	return $instance->tool({ timeout => 60 }, 'policy', 'probe',
		'--timeout', 3, @words);
}

# Our site by a name that DNS does not have.
sub probe_site {
	return probe("site.example:$port", '--address', '127.0.0.1', @_);
}

sub json_of {
	my ($status, $out, $err) = @_;
	my $value = eval { decode_json($out) };
	ok(ref $value, 'JSON') or diag("$out$err");
	return $value // {};
}

# The row a probe offers: the line behind the heading.
sub offered {
	my ($out) = @_;
	return $out =~ /^The strongest row.*\n(.*)$/m ? $1 : undef;
}

sub rows {
	$instance->sites(join '', map { "$_\n" } @_);
}

# What is shown, the site's settings, its row, exit status, the row offered,
# what else is said.
my $pinned = qr/lock pin=sha256:[0-9a-f]{64} chain=no/;
my @cases = (
	['good', {}, 'encrypt', 0, qr/^site\.example out lock min=tls1\.3$/,
		qr/TLS 1\.3.*serverAuth.*good, by .*lock|good/s],
	['good', {}, 'lock min=tls1.3', 0,
		qr/^site\.example out lock min=tls1\.3$/,
		qr/lock asked, lock reached: met/],
	['good', { max => 'TLSv1_2' }, 'encrypt', 0,
		qr/^site\.example out lock$/, qr/min=tls1\.3: it speaks TLS 1\.2/],
	['good', { max => 'TLSv1_2' }, 'lock min=tls1.3', 1,
		qr/^site\.example out lock$/, qr/protocol-too-old.*not met/s],
	['good', {}, 'lock ca=stranger.pem', 1,
		qr/^site\.example out lock min=tls1\.3$/,
		qr/untrusted, by .*stranger\.pem\n.*good, by/],
	['untrusted', {}, 'lock ca=stranger.pem', 0,
		qr{^site\.example out lock ca=/.*stranger\.pem min=tls1\.3$},
		qr/good, by .*stranger\.pem/],
	['self-signed', {}, 'encrypt', 0,
		qr/^site\.example out $pinned min=tls1\.3$/,
		qr/verify: it is self-signed and not among/],
	['self-signed', {}, 'verify', 1, qr/$pinned/,
		qr/certificate-self-signed/],
	['untrusted', {}, 'verify', 1, qr/$pinned/,
		qr/verify: it does not chain to/],
	['expired', {}, 'verify', 1, qr/$pinned/, qr/, expired\n/],
	['not yet valid', {}, 'verify', 1, qr/$pinned/, qr/, not yet valid\n/],
	['for clients', {}, 'verify', 1, qr/$pinned/,
		qr/purpose +without serverAuth.*lacks serverAuth/s],
	['no purpose', {}, 'verify', 1, qr/$pinned/,
		qr/no extended key usage at all/],
	['other name', {}, 'lock', 1,
		qr/^site\.example out lock pin=sha256:[0-9a-f]{64} min=tls1\.3$/,
		qr/it names other\.example, not site\.example/],
	['other name', {}, 'lock match=other.example', 0,
		qr/^site\.example out lock match=other\.example min=tls1\.3$/,
		qr/lock asked, lock reached/],
	['name in CN only', {}, 'lock', 1, qr/lock pin=sha256:[0-9a-f]{64} min/,
		qr/no name in its\s+subjectAltName/],
	['good', {}, 'may until=2099-12-31 reason="a test"', 0,
		qr/^site\.example out lock min=tls1\.3$/, qr/if enforced .*encrypt/],
	['untrusted', {},
		'lock mode=observe until=2099-12-31 reason="a test"', 1,
		qr/$pinned/, qr/verdict=observed.*if enforced .*refuse/s],
	['good', { tls => 'none' }, 'encrypt', 1,
		qr/^site\.example out may until=\d{4}-\d\d-\d\d reason="/,
		qr/STARTTLS +not offered.*encrypt: STARTTLS is not offered/s],
	['good', { fault => { starttls => '454 4.7.0 no' } }, 'encrypt', 1,
		qr/out may/, qr/starttls-refused/],
	['good', { fault => { ehlo => '502 5.5.1 what?' } }, 'encrypt', 1,
		qr/out may/, qr/starttls-not-offered.*EHLO: 502/],
	['good', { fault => { handshake => 'drop' } }, 'encrypt', 1,
		qr/out may/, qr/handshake-failed/],
	['good', {}, 'lock cert=client auth=isp sni=site.example reuse=no'
			. ' fail=permanent', 0,
		qr/ lock min=tls1\.3 cert=client auth=isp sni=site\.example reuse=no fail=permanent$/,
		qr/we showed +client/],
);

mkdir "$scratch/tmp";
$ENV{TMPDIR} = "$scratch/tmp";
spew("$instance->{folder}/stranger.pem", slurp($stranger->file));
my %plain = map { $_ => undef } qw(inject max fault client-ca);
for (@cases) {
	my ($shown, $settings, $row, $expect, $line, $said) = @$_;
	my $name = join ' ', "$shown,", (map { "$_," } grep { $_ ne 'fault' }
		sort keys %$settings), (keys %{ $settings->{fault} // {} }), $row;
	subtest $name => sub {
		rows("site.example out $row");
		$site->set(%plain, tls => 'starttls', %$settings,
			cert => $show{$shown}[0], key => $show{$shown}[1]);
		$site->forget;
		my ($status, $out, $err) = probe_site();
		is($status, $expect, 'exit status');
		like($out, $said, 'what it says');
		my $offered = offered($out);
		like($offered, $line, 'the row it offers') or diag("$out$err");
		is($out =~ /; it gives up / ? 1 : 0, $expect,
			'a row that is not met is not replaced in silence');
		unlike($site->received('clear') . $site->received('tls'),
			qr/^(?!EHLO |STARTTLS|QUIT)[A-Z]/m,
			'it said EHLO, STARTTLS and QUIT alone');
		unlike($site->received('clear'), qr/mail\.example\.org/,
			'our name does not cross in clear');
		rows($offered);
		($status, undef, $err) = run({}, program('sallyport'), '-c',
			"$scratch/none", 'policy', 'check',
			"$instance->{folder}/sites");
		is($status, 0, 'that row compiles') or diag($err);
		($status, $out, $err) = probe_site();
		is($status, 0, 'and is met') or diag("$out$err");
		is(offered($out), $offered, 'and nothing stronger is offered')
		    if $offered !~ / may /;
	};
}

$site->set(%plain, tls => 'starttls', cert => $show{good}[0],
	key => $show{good}[1]);

sub pin_of {
	my ($name) = @_;
	return 'pin=sha256:' . (split / /,
		Sallyport::Zone->tlsa($show{$name}[0], 3, 1, 1))[-1];
}

subtest 'what the offered row gives up' => sub {
	$authority->crl("$instance->{folder}/gone.crl",
		revoked => [$show{good}[0]]);
	my $kept = pin_of('good') . ' ' . pin_of('expired');
	for (["lock pin=sha256:${\('0' x 64)}", 'pin='],
		['verify ca=stranger.pem', 'ca='],
		['verify crl=gone.crl', 'crl='],
		['lock issuer="CN=somebody"', 'issuer='],
		['lock org=Somebody', 'org='],
		['lock match=else.example', 'the name'],
		['encrypt dane', 'dane'],
		["lock issuer=\"CN=somebody\" pin=sha256:${\('0' x 64)} dane",
			'pin=, issuer=, dane'],
		['lock', undef],
		["lock $kept chain=no", undef,
			qr/ lock match=site\.example \Q$kept\E min=tls1\.3$/]) {
		my ($row, $lost, $line) = @$_;
		rows("site.example out $row");
		my ($status, $out, $err) = probe_site();
		is($status, $lost ? 1 : 0, "$row: exit status") or diag("$out$err");
		my $seen = json_of(probe_site('--json'));
		is(join(', ', @{ $seen->{gives_up} }), $lost // '', 'as JSON');
		like($out, $lost
			? qr/^The .* in place of line 1; it gives up \Q$lost\E:$/m
			: qr/^The strongest .* in place of line 1:$/m, 'as text')
		    or diag($out);
		like(offered($out), $line, 'what it had is kept') if $line;
	}
	rows("site.example both lock match=site.example");
	my ($status, $out) = probe_site();
	like($out, qr/in place of line 1 \(make that one "in"\):$/m,
		'what it says of the other direction is not to be lost');
	$site->set(cert => $show{'self-signed'}[0],
		key => $show{'self-signed'}[1]);
	$kept = pin_of('self-signed') . ' ' . pin_of('good');
	rows("site.example out lock $kept chain=no");
	($status, $out) = probe_site();
	is(offered($out), "site.example out lock $kept chain=no min=tls1.3",
		'a pin that is there for the next key is kept');
	$site->set(cert => $show{good}[0], key => $show{good}[1]);
};

# The relay stays silent there even if the row says may.
subtest 'no TLS, and no clear text either' => sub {
	for my $row ('encrypt', 'may until=2099-12-31 reason="a test"') {
		rows("site.example out $row");
		$site->set(inject => '250 evil');
		my ($status, $out) = probe_site();
		is($status, 1, "injected, $row: exit status");
		like($out, qr/octets between the STARTTLS reply/, 'why');
		ok(!offered($out), 'no row is offered') or diag($out);
		$site->set(%plain);
		($status, $out) = probe_site('--tls', 'implicit');
		is($status, 1, "implicit TLS without TLS, $row: exit status");
		ok(!offered($out), 'no row is offered') or diag($out);
		like($out, qr/may: the relay does not go on in clear/, 'why');
	}
};

subtest 'as JSON' => sub {
	rows('site.example out lock');
	my ($status, $out, $err) = probe_site('--json');
	is($status, 0, 'exit status');
	my $seen = json_of($status, $out, $err);
	is($seen->{host}, 'site.example', 'host');
	is($seen->{port}, $port, 'port');
	ok($seen->{met} && $seen->{would_be_met}, 'met');
	is($seen->{tls}{protocol}, 'TLS1.3', 'protocol');
	is_deeply($seen->{names}, ['dns:site.example', 'ip:127.0.0.1'], 'names');
	is($seen->{certificates}[0]{issuer}, 'CN=upstream test authority',
		'issuer');
	cmp_ok($seen->{certificates}[0]{days_left}, '>', 80, 'days left');
	like($seen->{certificates}[0]{pin}, qr/^sha256:[0-9a-f]{64}$/, 'pin');
	is($seen->{purpose}, 'serverAuth', 'purpose');
	is($seen->{chain}[0]{state}, 'good', 'chain');
	is($seen->{ocsp}{state}, 'absent', 'OCSP');
	is($seen->{dane}{state}, 'failed', 'DANE: nobody answers');
	ok((grep { /^SIZE / } @{ $seen->{extensions}{keywords} }), 'SIZE');
	is($seen->{decision}{verdict}, 'pass', 'verdict');
	like($seen->{decision}{record}, qr/^direction=out site=site\.example /,
		'the record');
	like($seen->{strongest}, qr/^site\.example out lock/, 'strongest');
};

subtest 'the smarthost, as it is configured' => sub {
	$instance->sites("127.0.0.1 out lock match=127.0.0.1 cert=client\n");
	my ($status, $out, $err) = probe('127.0.0.1');
	is($status, 0, 'exit status') or diag("$out$err");
	my $own = $instance->{smarthost};
	like($out, qr/^127\.0\.0\.1:\Q$own->{settings}{port}\E, STARTTLS$/m,
		'its port');
	like($out, qr/we showed +client/, 'our certificate with its real key');
	like($out, qr/in TLS +.*PIPELINING/, 'which it wants to see');
	like($own->received('tls'), qr/^EHLO mail\.example\.org\r\n/m,
		'inside TLS it hears our name, for the row is met');
	is(offered($out),
		'127.0.0.1 out lock match=127.0.0.1 min=tls1.3 cert=client',
		'the row it offers');
	chmod 0644, "$instance->{folder}/tls/client.key";
	($status, $out) = probe('127.0.0.1');
	like($out, qr/we showed +none: client: .*client\.key/,
		'a key that others can read is not used, and that is said');
	chmod 0600, "$instance->{folder}/tls/client.key";
};

subtest 'implicit TLS' => sub {
	rows('* out encrypt');
	$site->set(tls => 'implicit');
	my ($status, $out, $err) = probe_site('--tls', 'implicit');
	is($status, 0, 'exit status') or diag("$out$err");
	like($out, qr/, implicit TLS\n.*greeting +220 .*TLS +TLS 1\.3/s,
		'all is seen');
	like(offered($out), qr/^site\.example out lock/, 'a row of its own');
	($status, $out) = probe_site('--tls', 'starttls', '--timeout', 1);
	is($status, 1, 'STARTTLS asked of it: no');
	like($out, qr/not reached/, 'because it does not greet');
	$site->set(tls => 'starttls');
	($status, $out) = probe_site('--tls', 'implicit');
	is($status, 1, 'implicit TLS where there is STARTTLS: no');
	like($out, qr/TLS +none: TLS handshake/, 'because of the handshake');
};

subtest 'who stalls is left at the deadline' => sub {
	rows('* out encrypt');
	for my $step (qw(connect ehlo starttls handshake)) {
		$site->fault($step => 'stall');
		my $begun = time;
		my ($status, $out) = probe_site('--timeout', 1);
		my $seconds = time - $begun;
		is($status, 1, "at $step: exit status");
		like($out, qr/timed out/, 'the reason');
		cmp_ok($seconds, '<', sanitized() ? 20 : 6, 'in time');
	}
	$site->set(fault => undef);
};

# A server of ours that says what it is told to, whatever it hears.
sub parrot {
	my ($octets, $again) = @_;
	my $listener = IO::Socket::IP->new(Listen => 8,
		LocalHost => '127.0.0.1', LocalPort => 0) or die "listen: $@";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		$SIG{PIPE} = 'IGNORE';
		while (my $s = $listener->accept) {
			my $end = time + 20;
			do {
				last if !syswrite $s, $octets;
			} while ($again && time < $end);
			1 while !$again && sysread $s, my $heard, 4096;
			close $s;
		}
		POSIX::_exit(0);
	}
	return ($pid, $listener->sockport);
}

subtest 'garbage' => sub {
	rows('* out encrypt');
	for (['control characters', "220 \e[31mred\e]0;x\a \xff\r\n250 \e[2J\r\n"],
		['no reply code', "hello\r\n"],
		['bare LF', "220 a\n220 b\n"],
		['a reply without end', "220-more\r\n", 1],
		['a line without end', 'x' x 1000, 1],
		['codes that differ', "220-a\r\n250 b\r\n"]) {
		my ($name, $octets, $again) = @$_;
		my ($pid, $at) = parrot($octets, $again);
		my ($status, $out, $err) = probe("127.0.0.1:$at", '--timeout', 2);
		is($status, 1, "$name: exit status");
		unlike($out . $err, qr/[^\n\x20-\x7e]/,
			'nothing reaches the terminal as it came');
		my $seen = json_of(probe("127.0.0.1:$at", '--timeout', 2,
			'--json'));
		ok(!$seen->{met}, 'not met');
		kill KILL => $pid;
		waitpid $pid, 0;
	}
};

subtest 'a hostile certificate' => sub {
	rows('site.example out verify');
	my @files = $stranger->issue('hostile', self => 1,
		cn => "\e[2J\r\n* out none\x07", to => 86400 * 3,
		dns => ["\e[31m.example", 'a b', ('n' x 60 . '.example')
			x 200]);
	$site->set(cert => $files[0], key => $files[1]);
	spew("$scratch/hostile", "127.0.0.1:$port\n");
	for ([probe_site()], [probe_site('--json')],
		[$instance->tool('policy', 'audit', '--list',
			"$scratch/hostile")]) {
		my ($status, $out, $err) = @$_;
		unlike($out . $err, qr/[^\n\x20-\x7e]|^\*/m,
			'nothing reaches the terminal as it came');
		like($out, qr/n{60}\.example|ends/, 'but it is shown');
	}
	ok(json_of(probe_site('--json'))->{certificates}[0], 'in JSON, too');
	$site->set(cert => $show{good}[0], key => $show{good}[1]);
};

subtest 'not reached' => sub {
	rows('* out encrypt');
	my ($status, $out) = probe("127.0.0.1:$nobody");
	is($status, 1, 'nobody listens: exit status');
	like($out, qr/127\.0\.0\.1: connect: .*refused.*not reached/s, 'why');
	ok(!offered($out), 'no row is offered');
	($status, $out) = probe("none.example:$port");
	is($status, 1, 'no such host: exit status');
	like($out, qr/not reached/, 'and said');
	ok(!json_of(probe("127.0.0.1:$nobody", '--json'))->{reached}, 'false');
};

subtest 'wrong usage' => sub {
	for ([], ['a', 'b'], ['--tls', 'maybe', 'a'], ['--timeout', '0', 'a'],
		['--timeout', '301', 'a'], ['--timeout', '1x', 'a'],
		['--address', 'site.example', 'a'], ['--colour', 'a'],
		['site.example:0'], ['site.example:70000'], ['-bad-'], ['a b'],
		['site.example:']) {
		my ($status, $out, $err) = $instance->tool('policy', 'probe', @$_);
		is($status, 2, "probe @$_");
		isnt($err, '', 'says why');
	}
	for (['x'], ['--jobs', '0'], ['--jobs', '65'], ['--timeout', 'x'],
		['--list']) {
		my ($status) = $instance->tool('policy', 'audit', @$_);
		is($status, 2, "audit @$_");
	}
	for my $word (qw(probe audit)) {
		my ($status, $out) = $instance->tool('policy', $word, '--help');
		is($status, 0, "$word --help");
		like($out, qr/--timeout/, 'tells of its options');
	}
};

subtest 'on a terminal' => sub {
	plan skip_all => 'script(1) is not there' if !in_path('script');
	rows('site.example out lock');
	my $command = join ' ', program('sallyport'), '-c', $instance->{conf},
	    'policy probe --timeout 3 --address 127.0.0.1', "site.example:$port";
	my $shown = sub {
		my ($words, %env) = @_;
		my (undef, $out) = run({ env => { TERM => 'xterm', %env } },
			'script', '-qec', $words, '/dev/null');
		return $out;
	};
	like($shown->($command), qr/\e\[32mmet\e\[0m/, 'met is green');
	unlike($shown->($command, NO_COLOR => 1), qr/\e/, 'not with NO_COLOR');
	unlike($shown->($command, TERM => 'dumb'), qr/\e/,
		'nor where it cannot be');
	unlike($shown->("$command | cat"), qr/\e/, 'nor into a pipe');
	spew("$scratch/one", "127.0.0.1:$port\n");
	$command = join ' ', program('sallyport'), '-c', $instance->{conf},
	    'policy audit --list', "$scratch/one";
	like($shown->($command), qr/\r\[[#.]{30}\] \d of 1.*\r1 site probed/s,
		'audit has a progress bar, which goes away');
	like($shown->("$command 2>/dev/null"), qr/\A1 site probed/,
		'on standard error');
};

# Files for a server that staples: the response, made by the authority.
sub staple {
	my ($cert, $status, $issuer) = @_;
	my $ca = $issuer // $authority;
	my $folder = "$scratch/ocsp";
	mkdir $folder;
	PEM_key2file($ca->{key}, "$folder/ca.key");
	my (undef, $serial) = run({}, qw(openssl x509 -noout -serial -in), $cert);
	$serial =~ s/^serial=|\n//g;
	spew("$folder/index", "$status\t350101000000Z\t"
	    . ($status eq 'R' ? '260101000000Z' : '')
	    . "\t$serial\tunknown\t/CN=x\n");
	my ($bad, undef, $err) = run({}, qw(openssl ocsp -no_nonce -issuer),
		$ca->file, '-cert', $cert, '-reqout', "$folder/request");
	($bad, undef, $err) = run({}, qw(openssl ocsp -index), "$folder/index",
		'-CA', $ca->file, '-rsigner', $ca->file, '-rkey',
		"$folder/ca.key", '-reqin', "$folder/request", '-respout',
		"$folder/response", '-ndays', 2) if !$bad;
	die "openssl ocsp: $err" if $bad;
	return "$folder/response";
}

sub openssl_server {
	my ($cert, $key, $response) = @_;
	my $at = free_port();
	pipe my $read, my $write or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<&', $read;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		close $write;
		exec qw(openssl s_server -quiet -naccept 1 -accept),
		    "127.0.0.1:$at", '-cert', $cert, '-key', $key,
		    defined $response ? ('-status_file', $response) : ()
		    or POSIX::_exit(127);
	}
	# Said once there is a client, who is answered before he asks.
	syswrite $write, "220 here\r\n250 OK\r\n221 bye\r\n";
	sleep 0.3;
	return ($pid, $at, $write);
}

subtest 'OCSP' => sub {
	rows('* out encrypt');
	my ($cert, $key) = @{ $show{good} };
	my @must = CERT_create(CA => 0, key => KEY_create_ec('prime256v1'),
		subject => { commonName => 'must' },
		subjectAltNames => [['IP', '127.0.0.1']],
		not_before => time - 86400, not_after => time + 86400 * 40,
		ext => [{ sn => 'extendedKeyUsage', data => 'serverAuth' },
			{ sn => 'tlsfeature', data => 'status_request' }],
		issuer => [$authority->{cert}, $authority->{key}]);
	my @files = ("$scratch/must.pem", "$scratch/must.key");
	PEM_cert2file($must[0], $files[0]);
	PEM_key2file($must[1], $files[1]);
	for (['good', $cert, $key, staple($cert, 'V'), 'good', 0],
		['revoked', $cert, $key, sub { staple($cert, 'R') }, 'revoked',
			0],
		['of another certificate', $cert, $key,
			sub { staple($show{'other name'}[0], 'V') }, 'invalid',
			0],
		['by another authority', $cert, $key,
			sub { staple($cert, 'V', $stranger) }, 'invalid', 0],
		['demanded and there', @files,
			sub { staple($files[0], 'V') }, 'good', 1],
		['demanded and absent', @files, sub { undef }, 'absent', 1]) {
		my ($name, $c, $k, $response, $state, $demanded) = @$_;
		$response = $response->() if ref $response;
		my ($pid, $at, $keep) = openssl_server($c, $k, $response);
		my $seen = json_of(probe("127.0.0.1:$at", '--tls', 'implicit',
			'--json'));
		is($seen->{ocsp}{state}, $state, "$name: $state");
		is(!!$seen->{ocsp}{must_staple}, !!$demanded, 'must-staple');
		ok(defined $seen->{ocsp}{next_update}, 'its time')
		    if $state eq 'good';
		kill TERM => $pid;
		waitpid $pid, 0;
	}
};

subtest 'DANE' => sub {
	my @missing = Sallyport::Zone->missing;
	plan skip_all => "not installed: @missing" if @missing;
	my $other = Sallyport::Smarthost->new("$scratch/dane",
		cert => $show{'self-signed'}[0], key => $show{'self-signed'}[1]);
	my $at = $other->port;
	my $zone = Sallyport::Zone->new("$scratch/zone");
	my %tlsa = map { $_ => Sallyport::Zone->tlsa($show{$_}[0], 3, 1, 1) }
	    qw(self-signed good);
	$zone->zone('example', records => "site A 127.0.0.1\n"
	    . "_$at._tcp.site $tlsa{'self-signed'}\n"
	    . "wrong A 127.0.0.1\n_$at._tcp.wrong $tlsa{good}\n"
	    . "none A 127.0.0.1\n");
	$zone->start;
	$instance->option(resolvers => $zone->resolvers);
	$instance->option('trust-anchor' => '"' . $zone->trust_anchor . '"');
	rows('* out encrypt');
	my ($status, $out, $err) = probe("site.example:$at");
	is($status, 0, 'found by DNS') or diag("$out$err");
	like($out, qr/DANE +good, 1 TLSA record/, 'the record matches');
	my $offered = offered($out) // '';
	like($offered, qr/$pinned min=tls1\.3 dane$/, 'the row says dane');
	rows($offered);
	($status, $out) = probe("site.example:$at");
	is($status, 0, 'and it is met');
	for (['wrong', 'mismatch', 'tlsa-invalid'],
		['none', 'none', 'dane-required']) {
		my ($host, $state, $reason) = @$_;
		rows("$host.example out encrypt dane");
		my ($refused, $text) = probe("$host.example:$at");
		is($refused, 1, "$host: exit status");
		like($text, qr/DANE +$state/, $state);
		like($text, qr/ (?:reason|result)=$reason/, $reason);
		like($text, qr/^  dane: /m, 'stands in the way');
		unlike(offered($text) // ' dane', qr/dane/, 'not offered');
	}
	$zone->stop;
	$instance->option(resolvers => $resolvers);
};

subtest 'audit of the table' => sub {
	my $soon = POSIX::strftime('%Y-%m-%d', gmtime time + 86400 * 5);
	my $over = Sallyport::Smarthost->new("$scratch/over",
		cert => $show{'soon over'}[0], key => $show{'soon over'}[1]);
	my $bad = Sallyport::Smarthost->new("$scratch/bad",
		cert => $show{untrusted}[0], key => $show{untrusted}[1]);
	my $clear = Sallyport::Smarthost->new("$scratch/clear", tls => 'none');
	my @at = map { '127.0.0.1:' . $_->port } $over, $bad, $clear;
	rows("$at[0] out lock match=127.0.0.1",
		"$at[1] out verify mode=observe until=2099-12-31 reason=\"a test\"",
		"$at[2] out may until=$soon reason=\"a test\"",
		"127.0.0.1:$nobody out encrypt",
		'.example out encrypt', '10.0.0.0/8 out encrypt',
		'bank.example rcpt lock', '127.0.0.1 out verify cert=client',
		'* both encrypt');
	my ($status, $out, $err) = $instance->tool('policy', 'audit',
		'--timeout', 3);
	is($status, 1, 'exit status') or diag("$out$err");
	is($err, '', 'no progress bar where there is no terminal');
	my @lines = split /\n/, $out;
	like($lines[0], qr/^sites:1 .* notice .*certificate .* ends .* days left/,
		'a certificate near its end');
	like($lines[1], qr/^sites:2 .* would fail .*verify asked.*untrusted/,
		'an observed row that would refuse');
	like($lines[2], qr/^sites:3 .* would fail .*verify asked by sites:8/,
		'an exception, were it over: then the next row speaks');
	like($lines[3], qr/^sites:3 .* notice .*exception ends $soon/,
		'which is soon');
	like($lines[4], qr/^sites:4 .* would fail .*not reached/,
		'one that does not answer');
	like($lines[5], qr/^sites:5 .*\.example .*not probed/, 'a suffix');
	like($lines[6], qr/^sites:6 .*not probed/, 'a network');
	like($lines[7], qr/^sites:9 .*not probed/, 'the rest');
	is($lines[8], '5 sites probed: 3 would fail, 2 with notices; '
	    . '3 rows not probed', 'the summary');
	my $seen = json_of($instance->tool('policy', 'audit', '--json'));
	is($seen->{summary}{failing}, 3, 'JSON: failing');
	is($seen->{sites}[1]{status}, 'fails', 'JSON: a site');
	is($seen->{sites}[6]{probe}{met}, JSON::PP::true,
		'JSON: the smarthost is met');
	rows('127.0.0.1 out lock match=127.0.0.1 cert=client');
	($status, $out) = $instance->tool('policy', 'audit');
	is($status, 0, 'all is well: exit status');
	is($out, "1 site probed: 0 would fail, 0 with notices; 0 rows not "
	    . "probed\n", 'and little is said');
	rows('127.0.0.1 out lock match=127.0.0.1 cert=client',
		'provider.example out lock');
	spew("$instance->{folder}/routes",
		'partner.example rcpt 127.0.0.1:2,srv:provider.example');
	my $conf = slurp($instance->{conf});
	$instance->option(routes => '"routes"');
	($status, $out) = $instance->tool('policy', 'audit');
	is($status, 0, 'found by SRV records of a route: exit status') or diag($out);
	like($out, qr/^1 site probed: .* 1 row not probed$/m, 'not probed');
	$seen = json_of($instance->tool('policy', 'audit', '--json'));
	like(join(' ', map { $_->{detail} // "" } @{ $seen->{sites} }),
		qr/SRV records/, 'and why');
	$instance->conf_write($conf);
};

subtest 'audit of a list' => sub {
	rows('* out encrypt');
	my @stalling = map { Sallyport::Smarthost->new("$scratch/stall$_",
		cert => $show{good}[0], key => $show{good}[1],
		fault => { connect => 'stall' }) } 1 .. 6;
	my $list = join '', "# ours\n", "\n", "127.0.0.1:$port\n",
	    (map { "  127.0.0.1:" . $_->port . "  # stalls\n" } @stalling),
	    "127.0.0.1:$nobody\n", "127.0.0.1:$port\n";
	spew("$scratch/list", $list);
	my $begun = time;
	my ($status, $out, $err) = $instance->tool({ timeout => 60 }, 'policy',
		'audit', '--list', "$scratch/list", '--timeout', 2, '--jobs', 8);
	my $seconds = time - $begun;
	is($status, 1, 'exit status');
	cmp_ok($seconds, '<', sanitized() ? 20 : 7, 'many at once');
	like($out, qr/^8 sites probed: 7 would fail.*1 row not probed/m,
		'the summary') or diag($out . $err);
	my @places = $out =~ /^\S+:(\d+) /mg;
	is("@places", join(' ', sort { $a <=> $b } @places), 'in its order');
	($status, $out) = $instance->tool({ in => "127.0.0.1:$port\n" },
		'policy', 'audit', '--list', '-');
	is($status, 0, 'from standard input');
	like($out, qr/^1 site probed: 0 would fail/m, 'the summary');
	for (["127.0.0.1\n-bad-\n", qr/^stdin:2: -bad-: .*expected HOST/],
		["a.example:0\n", qr/^stdin:1: .*expected 1 to 65535/],
		['a' x 2000, qr/^stdin:1: line too long/]) {
		my ($in, $said) = @$_;
		($status, $out, $err) = $instance->tool({ in => $in }, 'policy',
			'audit', '--list', '-');
		is($status, 1, 'a bad list: exit status');
		like($err, $said, 'file, line, what was expected');
	}
	($status, $out, $err) = $instance->tool('policy', 'audit', '--list',
		"$scratch/nowhere");
	is($status, 1, 'no list: exit status');
	like($err, qr/nowhere: No such file/, 'and why');

	# Few descriptors: fewer at once, but all of them.
	spew("$scratch/many", join '', map { "h$_.example\n" } 1 .. 200);
	for my $limit ('120:120', '256:4096') {
		($status, $out, $err) = run({ timeout => 60 }, 'prlimit',
			"--nofile=$limit", '--', program('sallyport'), '-c',
			$instance->{conf}, 'policy', 'audit', '--list',
			"$scratch/many", '--jobs', 64, '--timeout', 5);
		like($out, qr/^200 sites probed: 200 would fail/m,
			"descriptors $limit: all probed");
		is($err, '', 'and nothing is wrong');
	}

	# Interrupted: soon over, by that signal, and nothing printed.
	for (['audit', '--list', "$scratch/list"],
		['probe', '127.0.0.1:' . $stalling[0]->port]) {
		my ($word, @rest) = @$_;
		$begun = time;
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			open STDOUT, '>', "$scratch/interrupted";
			exec program('sallyport'), '-c', $instance->{conf},
			    'policy', $word, @rest, '--timeout', 60
			    or POSIX::_exit(127);
		}
		sleep 1;
		kill INT => $pid;
		waitpid $pid, 0;
		is($? & 127, POSIX::SIGINT(), "$word: SIGINT ends it");
		cmp_ok(time - $begun, '<', 10, 'at once');
		is(-s "$scratch/interrupted", 0, 'nothing half is printed');
	}
};

subtest 'without a configuration' => sub {
	plan skip_all => 'there is one' if -e '/etc/sallyport/sallyport.conf';
	my ($status, $out, $err) = run({ timeout => 60 }, program('sallyport'),
		'policy', 'probe', "127.0.0.1:$port", '--timeout', 3);
	is($status, 0, 'encrypt is met') or diag("$out$err");
	like($err, qr/no row speaks/, 'and that is said');
	like($out, qr/row +none speaks: encrypt/, 'here too');
	($status, $out, $err) = run({}, program('sallyport'), 'policy', 'audit');
	is($status, 1, 'there is no table to audit');
	like($err, qr/expected one or --list/, 'as is said');
};

is(join(' ', glob "$scratch/tmp/sallyport-p*"), '', 'no scratch file is left');

kill KILL => $refuser;
waitpid $refuser, 0;
done_testing;
