#!/usr/bin/perl
# A client certificate instead of a password: EXTERNAL, and MAIL without AUTH.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(senders => { alice => ['*'] },
	options => { 'auth-failure-delay' => '"100ms"' },
	submission => { 'client-cert' => 'ask' },
	submissions => { 'client-cert' => 'ask', 'implicit-external' => 'yes' });
my $peers = Sallyport::Certs->authority($instance->{scratch}, 'peers');
my %cert = map { $_ => [$peers->issue($_, dns => ["$_.example"],
	purpose => 'client')] } qw(branch other stranger);
$cert{server} = [$peers->issue('server', dns => ['web.example'])];

sub client {
	my ($who, %o) = @_;
	return $instance->client($who ? (cert => $cert{$who}[0],
		key => $cert{$who}[1]) : (), %o);
}

sub pin {
	my ($status, $pem) = run({}, 'openssl', 'x509', '-in', $cert{$_[0]}[0],
		'-noout', '-pubkey');
	my ($base64) = $pem =~ /-----\n(.*?)-----END/s;
	require Digest::SHA;
	return 'sha256:' . Digest::SHA::sha256_hex(decode_base64($base64));
}

subtest 'binding' => sub {
	my ($status, $out, $err) = $instance->tool('user', 'add', 'branch',
		'--kind', 'server', '--sender', '*', '--certificate',
		$cert{branch}[0]);
	is($status, 0, 'a user with a certificate alone') or diag $err;
	($status, $out) = $instance->tool('user', 'show', 'branch');
	like($out, qr/^key: +\Q${\ pin('branch')}\E$/m, 'its key is shown');
	($status, $out) = $instance->tool('user', 'list');
	like($out, qr/^branch\@example\.org: EXTERNAL server$/m, 'and listed');
	($status, $out, $err) = $instance->tool('user', 'bind', 'alice',
		$cert{branch}[0]);
	is($status, 1, 'nobody else can have it');
	like($err, qr/branch\@example\.org/, 'and it is said whose it is');
	is(($instance->tool('user', 'bind', 'alice', pin('other')))[0], 0,
	    'a digest, beside a password');
	is(($instance->tool('user', 'bind', 'alice', 'sha256:12'))[0], 1,
	    'a digest of a wrong length');
	is(($instance->tool('user', 'bind', 'alice', '/nowhere.pem'))[0], 1,
	    'a file that is not there');
	is(($instance->tool('user', 'bind', 'alice'))[0], 2, 'no certificate');
	is(($instance->tool('user', 'add', 'x', '--certificate',
		$instance->{conf}))[0], 1, 'no certificate at all');
};

# A delay that failures alone may have: nobody else is to wait for it.
subtest 'at once' => sub {
	$instance->option('auth-failure-delay' => '"1m"');
	ok($instance->reload, 'reload');
	for my $implicit (0, 1) {
		my $c = client('branch', implicit => $implicit, timeout => 20);
		like($c->command($implicit ? 'MAIL FROM:<branch@example.org>'
			: 'AUTH EXTERNAL ='), qr/^2[35][05] /, 'granted without a delay');
	}
	$instance->option('auth-failure-delay' => '"100ms"');
	ok($instance->reload, 'reload');
};

subtest 'EXTERNAL' => sub {
	unlike(client('')->ehlo, qr/EXTERNAL/, 'not offered without a certificate');
	my $c = client('branch');
	like($c->ehlo, qr/^250[- ]AUTH EXTERNAL /m, 'offered first with one');
	like($c->command('AUTH EXTERNAL ='), qr/^235 2\.7\.0 /, 'granted');
	like($c->transaction(message(subject => 'by key'),
		from => 'branch@example.org'), qr/^250 /, 'and mail is taken');
	ok($instance->logged(qr/ auth .*result=ok user=branch\@example\.org mechanism=EXTERNAL /),
	    'logged');
	for (['', '334 ', 'asked for'], ['branch@example.org', '235 ', 'own name'],
	    ['branch', '235 ', 'bare name'], ['alice', '535 5\.7\.8 ', 'another']) {
		my ($identity, $reply, $what) = @$_;
		$c = client('branch');
		$c->ehlo;
		like($c->command('AUTH EXTERNAL'
			. ($identity ? ' ' . encode_base64($identity, '') : '')),
		    qr/^$reply/, "identity: $what");
		like($c->command(''), qr/^235 /, 'empty response') if !$identity;
	}
	$c = client('stranger');
	$c->ehlo;
	like($c->command('AUTH EXTERNAL ='), qr/^535 5\.7\.8 /, 'a key of nobody');
	ok($instance->logged(qr/ auth .*result=failed .*mechanism=EXTERNAL .*detail="the certificate is nobody's"/),
	    'and the log says so');
	like($c->command('MAIL FROM:<a@example.org>'), qr/^530 5\.7\.0 /, 'no MAIL');
	$c = client('');
	$c->ehlo;
	like($c->command('AUTH EXTERNAL ='), qr/^504 5\.5\.4 /, 'no certificate');
	$c = client('other');
	$c->ehlo;
	like($c->command('AUTH EXTERNAL ='), qr/^235 /, 'a user with both');
	like(client('stranger')->plain('alice', 'correct horse'), qr/^503|^235/,
	    'and the password still works');
};

subtest 'MAIL without AUTH' => sub {
	my $c = client('branch', implicit => 1);
	$c->ehlo;
	like($c->transaction(message(subject => 'implicit'),
		from => 'branch@example.org'), qr/^250 /, 'by the certificate alone');
	ok($instance->arrived(2), 'delivered');
	like($c->command('AUTH EXTERNAL ='), qr/^503 /, 'authenticated already');
	$c = client('branch', implicit => 1);
	$c->ehlo;
	$c->send("MAIL FROM:<branch\@example.org>\r\nRCPT TO:<b\@example.net>\r\n");
	like($c->reply, qr/^250 /, 'pipelined: MAIL');
	like($c->reply, qr/^250 /, 'pipelined: RCPT');
	for (['stranger', 1, 'a key of nobody'], ['', 1, 'no certificate'],
	    ['branch', 0, 'a listener that does not']) {
		my ($who, $implicit, $what) = @$_;
		$c = client($who, implicit => $implicit);
		$c->ehlo;
		like($c->command('MAIL FROM:<branch@example.org>'),
		    qr/^530 5\.7\.0 /, $what);
	}
	$c = client('stranger', implicit => 1);
	$c->ehlo;
	$c->command('MAIL FROM:<x@example.org>');
	like($c->plain('alice', 'correct horse'), qr/^235 /,
	    'a password after a certificate of nobody');
};

# Rows by EHLO and sender speak to sessions without a password, and no claim
# lets anybody in.
subtest 'claimed names' => sub {
	spew("$instance->{folder}/peers.pem", slurp($peers->file));
	$instance->listener_option($_, 'client-ca', '"peers.pem"')
	    for qw(submission submissions);
	$instance->sites(slurp("$instance->{folder}/sites") . <<'SITES');
hq.example in lock
bank.example from lock match=branch.example
SITES
	ok($instance->reload, 'reload');
	my $c = client('branch', implicit => 1);
	$c->ehlo('hq.example');
	like($c->command('MAIL FROM:<branch@example.org>'), qr/^554 5\.7\.0 .*hq\.example/,
	    'claims the name of a row it does not meet');
	like($c->ehlo('branch.example'), qr/^250/, 'EHLO again');
	like($c->command('MAIL FROM:<x@bank.example>'), qr/^250 /,
	    'a from row that it meets');
	$c->command('RSET');
	$c = client('other', implicit => 1);
	$c->ehlo;
	like($c->command('MAIL FROM:<x@bank.example>'), qr/^554 5\.7\.0 /,
	    'a from row that it does not meet');
	$c = client('stranger', implicit => 1);
	$c->ehlo('branch.example');
	like($c->command('MAIL FROM:<x@example.org>'), qr/^530 /,
	    'the right name with the wrong key is nobody');
	$c = $instance->client;
	$c->ehlo('hq.example');
	$c->plain('alice', 'correct horse');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^250 /,
	    'a password is not locked out by what EHLO claims');
};

subtest 'a certificate near its end' => sub {
	$cert{short} = [$peers->issue('short', dns => ['short.example'],
		purpose => 'client', to => 86400 * 10 - 3600)];
	is(($instance->tool('user', 'add', 'short', '--certificate',
		$cert{short}[0]))[0], 0, 'one of ten days');
	$instance->sites(slurp("$instance->{folder}/sites")
	    . "short.example in verify\n");
	ok($instance->reload, 'reload');
	for (1 .. 2) {
		my $c = client('short', implicit => 1);
		$c->ehlo('short.example');
		like($c->command('MAIL FROM:<short@example.org>'), qr/^250 /, 'is good');
	}
	ok($instance->logged(qr{ alarm peer-certificate direction=in site=short\.example .*days=9 .*CN=short}),
	    'and is told to the operator');
	is(scalar(my @told = $instance->log_lines(qr/peer-certificate/)), 1, 'once');
};

subtest 'taken away at once' => sub {
	is(($instance->tool('user', 'disable', 'branch'))[0], 0, 'disable');
	my $c = client('branch', implicit => 1);
	$c->ehlo;
	like($c->command('AUTH EXTERNAL ='), qr/^535 /, 'disabled');
	is(($instance->tool('user', 'enable', 'branch'))[0], 0, 'enable');
	is(($instance->tool('user', 'unbind', 'branch', 'all'))[0], 0, 'unbind');
	$c = client('branch', implicit => 1);
	$c->ehlo;
	like($c->command('MAIL FROM:<branch@example.org>'), qr/^530 /, 'unbound');
	is(($instance->tool('user', 'unbind', 'branch', $cert{branch}[0]))[0], 1,
	    'there is none to take');
	is(($instance->tool('user', 'bind', 'branch', $cert{branch}[0]))[0], 0,
	    'bind again');
	$c = client('branch', implicit => 1);
	$c->ehlo;
	like($c->command('MAIL FROM:<branch@example.org>'), qr/^250 /, 'bound');
};

$instance->stop_ok;
done_testing;
