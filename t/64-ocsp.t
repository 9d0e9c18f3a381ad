#!/usr/bin/perl
# OCSP responses: stapled to our certificates while they are good, demanded of
# a smarthost whose certificate says so.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";
my $conf = slurp($instance->{conf});
my $response = "$scratch/ocsp/server.der";
mkdir "$scratch/ocsp";
my %made = map { ($_ => slurp("$tls/server.$_")) } qw(pem key);

sub openssl {
	my ($status, $out, $err) = run({}, 'openssl', @_);
	die "openssl @_: $err" if $status;
	return $out;
}

my @ec = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes');

sub authority {
	my ($name) = @_;
	openssl('req', '-x509', @ec, '-keyout', "$scratch/$name.key", '-out',
		"$scratch/$name.pem", '-days', 90, '-subj', "/CN=$name",
		'-addext', 'basicConstraints=critical,CA:TRUE',
		'-addext', 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature');
}

my $serial = 0x1000;
my %serial;
# A certificate under authority ca, with its chain in NAME-chain.pem.
sub issue {
	my ($name, @extensions) = @_;
	$serial{$name} = ++$serial;
	openssl('req', @ec, '-keyout', "$scratch/$name.key", '-out',
		"$scratch/$name.csr", '-subj', "/CN=$name");
	spew("$scratch/ext", join '', map { "$_\n" } @extensions);
	openssl('x509', '-req', '-in', "$scratch/$name.csr", '-CA', "$scratch/ca.pem",
		'-CAkey', "$scratch/ca.key", '-set_serial', $serial, '-days', 60,
		'-extfile', "$scratch/ext", '-out', "$scratch/$name.pem");
	spew("$scratch/$name-chain.pem",
		slurp("$scratch/$name.pem") . slurp("$scratch/ca.pem"));
}

# What a responder says of these certificates, for three days: respond(FILE,
# [names], status => V, R or none, at => as faketime takes it, signer => ca or
# another name).
sub respond {
	my ($file, $names, %o) = @_;
	my $signer = $o{signer} // 'ca';
	my @ask = map { ('-cert', "$scratch/$_.pem") } @$names;
	spew("$scratch/index", join '', map { sprintf "%s\t300101000000Z\t%s\t%X\tunknown\t/CN=%s\n",
		$o{status} // 'V', ($o{status} // 'V') eq 'R' ? '250101000000Z' : '',
		$serial{$_}, $_ } $o{status} && $o{status} eq 'none' ? () : @$names);
	openssl('ocsp', '-issuer', "$scratch/ca.pem", @ask, '-no_nonce', '-reqout',
		"$scratch/request");
	my ($status, $out, $err) = run({}, $o{at} ? ('faketime', $o{at}) : (),
		'openssl', 'ocsp', '-index', "$scratch/index", '-rsigner',
		"$scratch/$signer.pem", '-rkey', "$scratch/$signer.key", '-CA',
		"$scratch/ca.pem", '-reqin', "$scratch/request", '-respout',
		"$file.new", '-ndays', 3);
	die "openssl ocsp: $err" if $status;
	rename "$file.new", $file or die "$file: $!";
}

authority($_) for qw(ca stranger);
issue('plain', 'subjectAltName=DNS:mail.example.org', 'extendedKeyUsage=serverAuth',
	'keyUsage=digitalSignature');
issue('must', 'subjectAltName=DNS:mail.example.org', 'extendedKeyUsage=serverAuth',
	'keyUsage=digitalSignature', 'tlsfeature=status_request');
issue('other', 'subjectAltName=DNS:other.example.org');
issue('delegate', 'extendedKeyUsage=OCSPSigning', 'keyUsage=digitalSignature',
	'noCheck=ignored');
issue('impostor', 'extendedKeyUsage=serverAuth', 'keyUsage=digitalSignature');

sub put {
	my ($name) = @_;
	spew("$tls/server.pem", slurp("$scratch/$name-chain.pem"));
	spew("$tls/server.key", slurp("$scratch/$name.key"));
}

# What a client that asks for it is told: the certificate's status, or none.
sub stapled {
	my (@options) = @_;
	my ($status, $out) = run({ in => "QUIT\r\n" }, 'openssl', 's_client',
		'-connect', "127.0.0.1:$instance->{ports}{submissions}", '-servername',
		'mail.example.org', '-status', '-ign_eof', @options);
	return 'no connection' if $out !~ /^ 0 s:/m;
	return $out =~ /Cert Status: (\w+)/ ? $1
	    : $out =~ /OCSP response: no response sent/ ? 'none' : $out;
}

# gnutls-cli verifies for itself, must-staple included.
sub trusted {
	my ($status, $out, $err) = run({ in => "QUIT\r\n" }, 'gnutls-cli',
		'--x509cafile', "$scratch/ca.pem", '--verify-hostname',
		'mail.example.org', '--sni-hostname', 'mail.example.org',
		'-p', $instance->{ports}{submissions}, '127.0.0.1');
	return $out =~ /The certificate is trusted/ ? 1 : 0;
}

sub reload_like {
	my ($expected, $what) = @_;
	like($instance->reload // '', $expected, $what);
}

subtest 'good ones' => sub {
	$instance->section_option('certificate', 'server', 'ocsp', qq("$response"));
	put('plain');
	respond($response, ['plain']);
	reload_like(qr/result=ok/, 'taken');
	is(stapled('-tls1_3'), 'good', 'and stapled under TLS 1.3');
	is(stapled('-tls1_2'), 'good', 'and under TLS 1.2');
	ok(trusted(), 'which another library finds good');
	respond($response, ['plain'], signer => 'delegate');
	reload_like(qr/result=ok/, 'one whose signer the authority has named');
	is(stapled(), 'good', 'is stapled');
	respond($response, ['other', 'plain']);
	reload_like(qr/result=ok/, 'one that begins with another certificate');
	is(stapled(), 'good', 'is stapled');
	ok(!$instance->log_lines(qr/ alarm .*ocsp/), 'without any alarm');
};

subtest 'bad ones' => sub {
	my $good = slurp($response);
	my @cases = (
		['revoked', qr/revoked by its issuer/, sub { respond($response, ['plain'], status => 'R') }],
		['unknown to the responder', qr/does not know it/, sub { respond($response, ['plain'], status => 'none') }],
		['stale', qr/its time is over/, sub { respond($response, ['plain'], at => '-4 days') }],
		['of another certificate', qr/about another certificate/, sub { respond($response, ['other']) }],
		['signed by a stranger', qr/not signed by the issuer/, sub { respond($response, ['plain'], signer => 'stranger') }],
		['signed by who may not', qr/not signed by the issuer/, sub { respond($response, ['plain'], signer => 'impostor') }],
		['cut off', qr/cannot be read/, sub { spew($response, substr $good, 0, 300) }],
		['PEM', qr/PEM, expected an OCSP response in DER/, sub { spew($response, slurp("$scratch/ca.pem")) }],
		['empty', qr/absent: empty/, sub { spew($response, '') }],
		['missing', qr/No such file/, sub { unlink $response }],
	);
	for (@cases) {
		my ($what, $why, $make) = @$_;
		$make->();
		reload_like(qr/result=ok/, "$what: no reason to be without certificate");
		ok($instance->logged(qr/ alarm configuration trouble=.*certificate server: ocsp: .*$why/),
		    "$what: but for an alarm");
		is(stapled(), 'none', "$what: not stapled");
		my ($status, $out) = $instance->tool('cert', 'check');
		like($out, qr/^warning: .*certificate server: ocsp: .*$why.* \[staple\]$/m,
		    "$what: and said by cert check");
	}
	spew($response, $good);
	reload_like(qr/result=ok/, 'put right');
	is(stapled(), 'good', 'is stapled again');
	spew("$tls/server.pem", slurp("$scratch/plain.pem"));
	ok($instance->stop && $instance->start, 'a start without the issuer in the chain');
	ok($instance->logged(qr/trouble=.*the issuer of certificate server does not follow it/),
	    'nobody can tell');
};

subtest 'must-staple' => sub {
	put('must');
	unlink $response;
	reload_like(qr/result=refused .*certificate server: ocsp: .*No such file/,
	    'without its response it is refused');
	respond($response, ['must'], at => '-4 days');
	reload_like(qr/result=refused .*its time is over/, 'with a stale one too');
	my ($answer, $said) = $instance->tool('cert', 'check');
	is($answer, 1, 'cert check says no');
	like($said, qr/^error: .*its time is over.* \[must-staple\]$/m, 'and why');
	my $without = slurp($instance->{conf});
	$instance->conf_write($without =~ s/^\s*ocsp = .*\n//mr);
	reload_like(qr/result=refused .*must-staple.*expected ocsp = /, 'and without the option');
	$instance->conf_write($without);
	respond($response, ['must']);
	reload_like(qr/result=ok/, 'with a good one it is taken');
	is(stapled($_), 'good', "and stapled, $_") for '-tls1_2', '-tls1_3';
	ok(trusted(), 'as clients demand');
	ok($instance->stop, 'at a start');
	unlink $response;
	like($instance->refused // '', qr/certificate server: ocsp: .*No such file/,
	    'it is demanded as well');
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 1, 'and by -t');
	respond($response, ['must']);
	ok($instance->start, 'with it the server starts');
	is(stapled(), 'good', 'and staples');
	kill KILL => $instance->roles->{session};
	ok(wait_until { stapled() eq 'good' }, 'a restarted role has it too');
};

subtest 'refreshed' => sub {
	put('plain');
	respond($response, ['plain']);
	reload_like(qr/result=ok/, 'a reload');
	my $before = () = $instance->log_lines(qr/ reload result=/);
	respond($response, ['plain']);
	ok($instance->logged(qr/ note ocsp certificate=server .*state=refreshed/, 150),
	    'a new one is seen without being told');
	is(stapled(), 'good', 'and stapled');
	my $after = () = $instance->log_lines(qr/ reload result=/);
	is($after, $before, 'all without a reload');

	$instance->option('watch-files', 'yes');
	reload_like(qr/result=ok/, 'with watch-files');
	$before = () = $instance->log_lines(qr/ reload result=/);
	respond($response, ['plain'], status => 'R');
	ok($instance->logged(qr/ alarm ocsp certificate=server .*state=refused .*revoked by its issuer/, 60),
	    'a bad one is told at once');
	is(stapled(), 'good', 'the one before stays as long as it is good');
	# One that ends in a moment.
	respond($response, ['plain'], at => '-' . (3 * 86400 - 40) . ' seconds');
	ok(wait_until { 2 == (() = $instance->log_lines(qr/ note ocsp .*state=refreshed/)) },
	    'another');
	ok($instance->logged(qr/ alarm ocsp certificate=server .*state=ended/, 150),
	    'whose end is told');
	is(stapled(), 'none', 'is not stapled after it');
	$after = () = $instance->log_lines(qr/ reload result=/);
	is($after, $before, 'again without a reload');
	$instance->option('watch-files', 'no');
};

subtest 'a client certificate has none' => sub {
	my $good = slurp($instance->{conf});
	$instance->section_option('certificate', 'client', 'ocsp', '"x"');
	reload_like(qr/result=refused .*certificate client: ocsp with role client/, 'to be stapled');
	$instance->conf_write($good);
};

# The other way round: the smarthost's certificate.
subtest 'of a smarthost' => sub {
	issue('smarthost', 'subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth',
		'tlsfeature=status_request');
	my $staple = "$scratch/ocsp/smarthost.der";
	my $smarthost = $instance->{smarthost};
	spew("$scratch/anchors.pem", slurp($instance->{authority}->file)
		. slurp("$scratch/ca.pem"));
	$instance->section_option('smarthost', '', 'ca', qq("$scratch/anchors.pem"));
	$instance->option('retry-first', '"1s"');
	$instance->option('retry-most', '"1s"');
	reload_like(qr/result=ok/, 'its authority is known');
	$smarthost->set(cert => "$scratch/smarthost-chain.pem",
		key => "$scratch/smarthost.key", fault => { idle => 'drop' });
	my $client = $instance->authenticated(ca => undef);
	like($client->transaction(message()), qr/^250/, 'a message for it');
	ok($instance->logged(qr/reason=certificate-revocation-unknown .*OCSP response comes with it, but no good one did/),
	    'it waits without a staple');
	respond($staple, ['smarthost'], status => 'R');
	$smarthost->set(staple => $staple);
	ok($instance->logged(qr/reason=certificate-revoked/), 'and if that says revoked');
	is($smarthost->count, 0, 'nothing went out');
	respond($staple, ['smarthost']);
	ok($instance->arrived(1), 'with a good one it goes out');
	# Whoever does not demand one is not asked, but a bad one counts.
	issue('free', 'subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth');
	respond($staple, ['free'], status => 'R');
	$smarthost->set(cert => "$scratch/free-chain.pem", key => "$scratch/free.key");
	my $lines = () = $instance->log_lines(qr/reason=certificate-revoked/);
	like($client->transaction(message()), qr/^250/, 'another');
	ok(wait_until { $lines < (() = $instance->log_lines(qr/reason=certificate-revoked/)) },
	    'revoked is revoked where no staple is demanded, too') or diag $lines;
	$smarthost->set(staple => '');
	ok($instance->arrived(2), 'without a staple it is good');
};

$instance->stop_ok(deaths => 1);
done_testing;
