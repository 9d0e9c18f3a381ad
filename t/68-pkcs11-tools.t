#!/usr/bin/perl
# Keys in a token for the tools: an authority, certificates, requests; what
# goes wrong is told, and a wrong PIN is tried once.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::SoftHSM;
use Sallyport::Test;
use Test::More;

plan skip_all => 'needs softhsm2 and opensc' if !Sallyport::SoftHSM->available;

my $scratch = scratch();
chdir $scratch or die "chdir: $!";
my $program = program('sallyport');
my $hsm = Sallyport::SoftHSM->new("$scratch/hsm");
my $pin = '4711-secret';
$hsm->token('mail', $pin);
$hsm->key('mail', 'ca', 'EC:prime256v1');
$hsm->key('mail', 'ec', 'EC:prime256v1');
$hsm->key('mail', 'rsa', 'rsa:2048');
my $said = '';

sub cert {
	my $how = ref $_[0] ? shift : {};
	my ($status, $out, $err) = run($how, $program, 'cert', @_);
	$said .= $out . $err;
	return ($status, $out, $err);
}

sub cert_ok {
	my ($status, $out, $err) = cert(@_);
	is($status, 0, join ' ', 'cert', grep { !ref } @_) or diag $err;
	return $out;
}

sub cert_not {
	my ($text, @arguments) = @_;
	my ($status, $out, $err) = cert(@arguments);
	is($status, 1, join ' ', 'not done: cert', grep { !ref } @arguments);
	like($err, $text, 'and why');
}

sub openssl {
	my ($status, $out, $err) = run({}, 'openssl', @_);
	return $out . $err;
}

# A request with the key of that URL, which comes to nothing.
sub no_request {
	my ($text, $url) = @_;
	cert_not($text, 'request', 'x.example.org', '--role', 'server', '--out', 'x',
		'--key', $url);
	is_deeply([glob 'x.*'], [], 'and nothing is left behind');
}

subtest 'an authority' => sub {
	my @made = split /\n/, cert_ok('ca', 'ca', '--name', 'CA', '--key',
		$hsm->url('mail', 'ca'));
	is_deeply(\@made, ['ca/ca.pem', 'ca/ca.key'], 'its files');
	is(slurp('ca/ca.key'), $hsm->url('mail', 'ca') . "\n",
	    'the key file has the URL');
	is((stat 'ca/ca.key')[2] & 07777, 0600, 'and is 0600 all the same');
	for ('ec', 'rsa') {
		cert_ok('issue', "$_.example.org", '--role', 'both', '--out', $_, '--ca',
			'ca', '--key', $hsm->url('mail', $_));
		like(openssl('verify', '-x509_strict', '-purpose', 'sslserver',
			'-CAfile', 'ca/ca.pem', "$_.pem"), qr/: OK$/m, 'openssl takes it');
		my ($status, $out) = run({}, 'certtool', '--verify',
			'--load-ca-certificate', 'ca/ca.pem', '--infile', "$_.pem");
		is($status, 0, 'certtool too') or diag $out;
	}
	cert_ok('issue', 'file.example.org', '--role', 'server', '--out', 'file',
		'--ca', 'ca');
	like(slurp('file.key'), qr/BEGIN PRIVATE KEY/, 'other keys are in files');
	cert_ok('revoke', 'file.pem', '--ca', 'ca');
	like(openssl('crl', '-in', 'ca/crl.pem', '-CAfile', 'ca/ca.pem', '-noout'),
	    qr/verify OK/, 'it signs lists of revoked ones');
	cert_ok('issue', 'again.example.org', '--role', 'server', '--out', 'ec',
		'--ca', 'ca');
	like(openssl('x509', '-in', 'ec.pem', '-noout', '-ext', 'subjectAltName'),
	    qr/again/, 'a key file with a URL is used again');
	cert_not(qr/ec\.key: exists already/, 'issue', 'a.example.org', '--role',
		'server', '--out', 'ec', '--ca', 'ca', '--key',
		$hsm->url('mail', 'rsa'));
	my ($status, $out, $err) = cert('ca', 'no', '--name', 'No', '--encrypt',
		'--key', $hsm->url('mail', 'ca'));
	is($status, 2, 'no passphrase for what is in a token');
};

subtest 'another authority' => sub {
	cert_ok('ca', 'other', '--name', 'Other');
	cert_ok('request', 'mail.example.org', '--role', 'server', '--out', 'mail',
		'--key', $hsm->url('mail', 'rsa'));
	like(openssl('req', '-in', 'mail.csr', '-verify', '-noout'), qr/OK/,
	    'openssl takes the request');
	cert_ok('issue', '--request', 'mail.csr', '--role', 'server', '--out',
		'answer', '--ca', 'other');
	cert_ok('install', 'answer.pem', '--out', 'mail');
	cert_not(qr/none of the 2 certificates is for the key/, 'install', 'ec.pem', '--out', 'mail');
	cert_not(qr/mail\.key: in a token, where a new key has to be made; expected its PKCS#11 URL in mail\.key\.next/,
		'request', 'mail.example.org', '--role', 'server', '--out', 'mail',
		'--new-key');
	cert_ok('request', 'mail.example.org', '--role', 'server', '--out', 'mail',
		'--new-key', '--key', $hsm->url('mail', 'ec'));
	cert_ok('issue', '--request', 'mail.csr', '--role', 'server', '--out',
		'answer', '--ca', 'other');
	cert_ok('install', 'answer.pem', '--out', 'mail');
	is(slurp('mail.key'), $hsm->url('mail', 'ec') . "\n",
	    'the next key becomes the key');
	cert_ok('request', 'mail.example.org', '--role', 'server', '--out', 'fresh',
		'--key', $hsm->url('mail', 'rsa'));
	cert_ok('issue', '--request', 'fresh.csr', '--role', 'server', '--out',
		'answer', '--ca', 'other');
	cert_not(qr/none of the 2 certificates is for the key/, 'install',
		'answer.pem', '--out', 'mail', '--key', $hsm->url('mail', 'ca'));
	cert_ok('install', 'answer.pem', '--out', 'mail', '--key',
		$hsm->url('mail', 'rsa'));
	is(slurp('mail.key'), $hsm->url('mail', 'rsa') . "\n",
	    'a key that comes with it may be in the token');
	cert_not(qr/mail\.key: the key is in a token, which does not give it away/,
		{ in => "open sesame\n" }, 'export', 'mail', '--out', 'mail.p12',
		'--password-stdin');
	ok(!-e 'mail.p12', 'nothing comes of that');
};

subtest 'URLs that will not do' => sub {
	no_request(@$_) for
	    [qr/no such token, .*there: mail$/, $hsm->url('nobody', 'ec')],
	    [qr/no such private key/, $hsm->url('mail', 'nothing')],
	    [qr{module /nowhere\.so: No such file}, $hsm->url('mail', 'ec',
		'module-path' => '/nowhere.so')],
	    [qr/module \Q$hsm->{pin_file}\E: /, $hsm->url('mail', 'ec',
		'module-path' => $hsm->{pin_file})],
	    [qr/expected an absolute path/, $hsm->url('mail', 'ec',
		'module-path' => 'lib.so')],
	    [qr/a PIN in it \(pin-value\)/, $hsm->url('mail', 'ec',
		'pin-value' => $pin)],
	    [qr/expected the absolute path/, $hsm->url('mail', 'ec',
		'pin-source' => 'pin')],
	    [qr/expected the absolute path/, $hsm->url('mail', 'ec',
		'pin-source' => '|/bin/echo')],
	    [qr{/nowhere: No such file}, $hsm->url('mail', 'ec',
		'pin-source' => '/nowhere')],
	    [qr/no token in it/, 'pkcs11:object=ec'],
	    [qr/no key in it/, 'pkcs11:token=mail'],
	    [qr/expected type=private/, 'pkcs11:token=mail;object=ec;type=cert'],
	    [qr/not known/, 'pkcs11:token=mail;object=ec;colour=red'],
	    [qr/PKCS#11 URL/, 'pkcs11:token=%zz;object=ec'],
	    [qr/PKCS#11 URL/, 'http://www.example.org/'],
	    [qr/longer than/, 'pkcs11:token=mail;object=' . 'x' x 4000];
	spew("$scratch/readable", "$pin\n");
	chmod 0644, "$scratch/readable";
	no_request(qr/readable: mode 0644, expected 0600/, $hsm->url('mail', 'ec',
		'pin-source' => "$scratch/readable"));
	$hsm->pin('', "$scratch/none");
	no_request(qr/none: empty, expected a PIN/, $hsm->url('mail', 'ec',
		'pin-source' => "file:$scratch/none"));
	$hsm->pin('1' x 300, "$scratch/long");
	no_request(qr/long: a PIN of 300 octets/, $hsm->url('mail', 'ec',
		'pin-source' => "file://$scratch/long"));
	no_request(qr/wants a PIN, expected pin-source/, $hsm->url('mail', 'ec',
		'pin-source' => undef));
};

subtest 'a wrong PIN is tried once' => sub {
	my $file = $hsm->pin('12345678', "$scratch/wrong");
	my $url = $hsm->url('mail', 'ec', 'pin-source' => $file);
	ok(!$hsm->was_guessed('mail'), 'the token has heard none');
	no_request(qr/token=mail: wrong PIN/, $url);
	ok($hsm->was_guessed('mail'), 'now it has');
	ok(-s "$file.refused", 'which is remembered');
	$hsm->tool('mail', '--list-objects');
	ok(!$hsm->was_guessed('mail'), 'the right one makes it forget');
	no_request(qr/wrong: the token has refused this PIN: not tried again/, $url);
	ok(!$hsm->was_guessed('mail'), 'it is not asked again');
	my ($status) = cert('issue', 'a.example.org', '--role', 'server', '--out',
		'a', '--ca', 'ca', '--key', $url);
	is($status, 1, 'nor for anything else');
	$hsm->pin($pin, $file);
	cert_ok('request', 'x.example.org', '--role', 'server', '--out', 'x', '--key',
		$url);
	ok(!-e "$file.refused", 'another one is tried, and does');
	unlink glob 'x.*';
};

subtest 'a PIN that is typed' => sub {
	my $url = $hsm->url('mail', 'ca', 'pin-source' => undef);
	cert_ok({ in => "$pin\n" }, 'ca', 'typed', '--name', 'Typed', '--key', $url,
		'--password-stdin');
	my @issue = ('issue', 'a.example.org', '--role', 'client', '--out', 'a',
		'--ca', 'typed');
	cert_not(qr/wrong PIN/, { in => "12345678\n" }, @issue, '--password-stdin');
	cert_not(qr/no terminal/, @issue);
	is_deeply([glob 'a.*'], [], 'nothing comes of that');
	cert_ok({ in => "$pin\n" }, @issue, '--password-stdin');
	like(openssl('verify', '-CAfile', 'typed/ca.pem', 'a.pem'), qr/: OK$/m,
	    'and with the right one it signs');
};

subtest 'the private half alone' => sub {
	my $id = $hsm->key('mail', 'alone', 'rsa:2048');
	$hsm->tool('mail', '--delete-object', '--type', 'pubkey', '--id', $id);
	cert_ok('request', 'x.example.org', '--role', 'server', '--out', 'x', '--key',
		$hsm->url('mail', 'alone'));
	unlink glob 'x.*';
	$id = $hsm->key('mail', 'lonely', 'EC:prime256v1');
	$hsm->tool('mail', '--delete-object', '--type', 'pubkey', '--id', $id);
	no_request(qr/the token has no public key beside it/,
		$hsm->url('mail', 'lonely'));
};

unlike($said, qr/\Q$pin\E|12345678/, 'no PIN is printed');
done_testing;
