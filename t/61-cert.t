#!/usr/bin/perl
# The authority, what it issues and takes back, and certificates of others:
# judged by openssl and certtool.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
chdir $scratch or die "chdir: $!";
my $program = program('sallyport');

sub cert {
	my $how = ref $_[0] ? shift : {};
	return run($how, $program, 'cert', @_);
}

sub cert_ok {
	my ($status, $out, $err) = cert(@_);
	is($status, 0, join ' ', 'cert', grep { !ref } @_) or diag $err;
	return $out;
}

# Not done, and why.
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

sub said_of {
	return openssl('x509', '-in', $_[0], '-noout', '-text');
}

# The files of a prefix, and what is in them.
sub state_of {
	return { map { ($_ => slurp($_)) } glob "$_[0].*" };
}

subtest 'authorities' => sub {
	for (['ecdsa', qr/Public-Key: \(256 bit\)/], ['ed25519', qr/ED25519/i],
	    ['rsa', qr/Public-Key: \(3072 bit\)/]) {
		my ($algorithm, $text) = @$_;
		cert_ok('ca', "ca-$algorithm", '--name', "CA $algorithm",
			'--algorithm', $algorithm);
		like(said_of("ca-$algorithm/ca.pem"), $text, 'is of its kind');
		cert_ok('issue', 'mail.example.org', '--role', 'both', '--out',
			"of-$algorithm", '--ca', "ca-$algorithm");
		for my $purpose (qw(sslserver sslclient)) {
			like(openssl('verify', '-purpose', $purpose, '-CAfile',
				"ca-$algorithm/ca.pem", "of-$algorithm.pem"), qr/: OK$/m,
			    "$purpose: openssl takes what it issues");
		}
		my ($status, $out) = run({}, 'certtool', '--verify',
			'--load-ca-certificate', "ca-$algorithm/ca.pem", '--infile',
			"of-$algorithm.pem", '--verify-hostname', 'mail.example.org');
		is($status, 0, 'certtool too') or diag $out;
	}
	is((stat 'ca-ecdsa/ca.key')[2] & 07777, 0600, 'its key is nobody else\'s');
	cert_not(qr/exists already/, 'ca', 'ca-ecdsa', '--name', 'again');
	my ($serial) = said_of('of-ecdsa.pem') =~ /Serial Number:\s+([0-9a-f:]+)/;
	is(length($serial =~ s/://gr), 32, 'serial numbers are of 16 octets');
};

subtest 'a passphrase' => sub {
	cert_ok({ in => "open sesame\n" }, 'ca', 'locked', '--name', 'Locked',
		'--encrypt', '--password-stdin');
	like(slurp('locked/ca.key'), qr/BEGIN ENCRYPTED PRIVATE KEY/, 'encrypts its key');
	unlike(openssl('pkey', '-in', 'locked/ca.key', '-passin', 'pass:x', '-noout'),
	    qr/^$/, 'openssl does not read it with another one');
	is(openssl('pkey', '-in', 'locked/ca.key', '-passin', 'pass:open sesame',
		'-noout'), '', 'and reads it with that one');
	my @issue = ('issue', 'a.example.org', '--role', 'client', '--out', 'a',
		'--ca', 'locked');
	cert_not(qr/locked\/ca\.key: wrong passphrase/, { in => "wrong\n" }, @issue,
		'--password-stdin');
	cert_not(qr/empty/, { in => "\n" }, @issue, '--password-stdin');
	ok(!-e 'a.pem' && !-e 'a.key', 'nothing comes of that');
	cert_ok({ in => "open sesame\n" }, @issue, '--password-stdin');
	unlike(slurp('a.key'), qr/ENCRYPTED/, 'the keys of servers open by themselves');
};

subtest 'one below another' => sub {
	cert_ok('ca', 'root', '--name', 'Root', '--path-length', 1);
	cert_not(qr/path length/, 'ca', 'deep', '--name', 'Deep', '--parent', 'root',
		'--path-length', 1);
	cert_not(qr/path length/, 'ca', 'deep', '--name', 'Deep', '--parent',
		'ca-ecdsa');
	ok(!-e 'deep/ca.pem', 'nothing is made');
	cert_ok('ca', 'sub', '--name', 'Sub', '--parent', 'root', '--permit',
		'example.org', '--permit', '192.0.2.0/24', '--permit', '@example.org',
		'--exclude', 'secret.example.org');
	like(said_of('sub/ca.pem'), qr/Name Constraints: critical.*DNS:example\.org.*192\.0\.2\.0/s,
	    'is kept to names');
	my @issue = ('--role', 'both', '--out', 'x', '--ca', 'sub');
	for ('mail.example.com', 'a.secret.example.org', '192.0.3.1',
	    'a@example.com') {
		cert_not(qr/\Q$_\E.*name constraints/, 'issue', 'ok.example.org', $_,
			@issue);
	}
	ok(!-e 'x.pem' && !-e 'x.key', 'nothing comes of that');
	cert_ok('issue', 'mail.example.org', '192.0.2.7', 'a@example.org', @issue);
	is(scalar(() = slurp('x.pem') =~ /BEGIN CERT/g), 3, 'the whole chain is there');
	spew('above.pem', slurp('sub/ca.pem'));
	like(openssl('verify', '-x509_strict', '-CAfile', 'root/ca.pem', '-untrusted',
		'above.pem', 'x.pem'), qr/: OK$/m, 'openssl takes it');
	my ($status, $out) = run({}, 'certtool', '--verify-chain', '--infile', 'x.pem');
	is($status, 0, 'certtool takes the chain in its order') or diag $out;
	for ('', 'exa mple', '192.0.2.0/33', 'a@b@c') {
		cert_not(qr/expected a domain, a network/, 'ca', 'no', '--name', 'No',
			'--permit', $_);
	}
};

subtest 'revoked' => sub {
	cert_ok('issue', "r$_.example.org", '--role', 'server', '--out', "r$_", '--ca',
		'ca-ecdsa') for 1 .. 3;
	my ($serial) = map { $_->{serial} } grep { $_->{names}[0] eq 'r2.example.org' }
	    @{ decode_json(cert_ok('list', '--json', '--ca', 'ca-ecdsa')) };
	my $check = sub {
		return openssl('verify', '-crl_check', '-CAfile', 'ca-ecdsa/ca.pem',
			'-CRLfile', 'ca-ecdsa/crl.pem', $_[0]);
	};
	my $number = sub {
		return hex(openssl('crl', '-in', 'ca-ecdsa/crl.pem', '-noout',
			'-crlnumber') =~ s/.*=(?:0x)?|\n//gr);
	};
	cert_ok('crl', '--ca', 'ca-ecdsa');
	my $first = $number->();
	like($check->('r1.pem'), qr/: OK/, 'none is');
	cert_ok('revoke', 'r1.pem', $serial, '--ca', 'ca-ecdsa');
	like($check->('r1.pem'), qr/certificate revoked/, 'by its file');
	like($check->('r2.pem'), qr/certificate revoked/, 'by its number');
	like($check->('r3.pem'), qr/: OK/, 'another is not');
	cmp_ok($number->(), '>', $first, 'lists have growing numbers');
	cert_not(qr/revoked already/, 'revoke', 'r3.pem', 'r1.pem', '--ca', 'ca-ecdsa');
	like($check->('r3.pem'), qr/certificate revoked/, 'what came before that is');
	cert_not(qr/has issued no such/, 'revoke', 'f' x 32, '--ca', 'ca-ecdsa');
	cert_not(qr/has issued no such/, 'revoke', 'of-rsa.pem', '--ca', 'ca-ecdsa');
	cert_not(qr/expected a certificate's file or its serial/, 'revoke', 'nowhere',
		'--ca', 'ca-ecdsa');
	is_deeply([map { $_->{state} } grep { $_->{names}[0] =~ /^r/ }
		@{ decode_json(cert_ok('list', '--json', '--ca', 'ca-ecdsa')) }],
	    [('revoked') x 3], 'the list says so');
	like(cert_ok('list', '--ca', 'ca-ecdsa'),
	    qr/^$serial  revoked  server  until \d{4}-\d\d-\d\d  r2\.example\.org$/m, 'in words');
	my $ledger = slurp('ca-ecdsa/issued');
	spew('ca-ecdsa/issued', "${ledger}serial=12");
	cert_ok('issue', 'after.example.org', '--role', 'client', '--out', 'after', '--ca',
		'ca-ecdsa');
	like(cert_ok('list', '--ca', 'ca-ecdsa'), qr/after\.example\.org$/m,
	    'half a line of a crash is passed over');
	spew('ca-ecdsa/issued', "${ledger}rubbish\n");
	cert_not(qr/ca-ecdsa\/issued:\d+: not a line of/, 'list', '--ca', 'ca-ecdsa');
	spew('ca-ecdsa/issued', $ledger);
};

subtest 'of another authority' => sub {
	cert_ok('request', 'mail.example.org', '2001:db8::1', '--role', 'server',
		'--out', 'mine');
	is((stat 'mine.key')[2] & 07777, 0600, 'a key of our own');
	like(openssl('req', '-in', 'mine.csr', '-noout', '-verify', '-text'),
	    qr/DNS:mail\.example\.org, IP Address:2001:DB8.*Server Auth.*verify OK/si,
	    'openssl reads the request');
	spew('ext', "subjectAltName=DNS:mail.example.org\nextendedKeyUsage=serverAuth\n");
	openssl('x509', '-req', '-in', 'mine.csr', '-CA', 'sub/ca.pem', '-CAkey',
		'sub/ca.key', '-extfile', 'ext', '-days', 30, '-out', 'leaf.pem');
	my ($leaf, $sub, $root) = map { slurp($_) } 'leaf.pem', 'sub/ca.pem',
	    'root/ca.pem';
	# In no order, with one that has nothing to do with it.
	spew('answer', $root . slurp('ca-rsa/ca.pem') . $sub . $leaf);
	cert_ok('install', 'answer', '--out', 'mine');
	is(slurp('mine.pem') =~ tr/\n//dr, ($leaf . $sub . $root) =~ tr/\n//dr,
	    'is put in order');
	my $before = state_of('mine');
	cert_not(qr/none of the 1 certificates is for the key/, 'install', 'r1.pem'
		=~ s/r1/ca-rsa\/ca/r, '--out', 'mine');
	openssl('x509', '-req', '-in', 'mine.csr', '-CA', 'sub/ca.pem', '-CAkey',
		'sub/ca.key', '-days', -1, '-out', 'late');
	cert_not(qr/has expired/, 'install', 'late', '--out', 'mine');
	spew('cut', substr $leaf, 0, 300);
	cert_not(qr/begins in line 1 .* cut off/, 'install', 'cut', '--out', 'mine');
	cert_not(qr/nowhere: /, 'install', 'nowhere', '--out', 'mine');
	is_deeply(state_of('mine'), $before, 'what is wrong changes nothing');
	# With a new key: the old one is in use until the answer is there.
	my $old = slurp('mine.key');
	cert_ok('request', 'mail.example.org', '--role', 'server', '--out', 'mine',
		'--new-key');
	is(slurp('mine.key'), $old, 'the next key waits');
	openssl('x509', '-req', '-in', 'mine.csr', '-CA', 'sub/ca.pem', '-CAkey',
		'sub/ca.key', '-extfile', 'ext', '-days', 30, '-out', 'leaf.pem');
	cert_ok('install', 'leaf.pem', '--out', 'mine');
	isnt(slurp('mine.key'), $old, 'and is the key then');
	ok(!-e 'mine.key.next', 'no longer the next one');
	is(openssl('x509', '-in', 'mine.pem', '-noout', '-pubkey'),
	    openssl('pkey', '-in', 'mine.key', '-pubout'), 'they belong together');
};

subtest 'for another key' => sub {
	openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'their.key',
		'-out', 'their.csr', '-subj', '/CN=theirs', '-addext',
		'subjectAltName=DNS:theirs.example.org,DNS:more.example.org', '-addext',
		'basicConstraints=CA:TRUE');
	like(cert_ok('issue', '--request', 'their.csr', '--role', 'client', '--out',
		'their', '--ca', 'ca-ecdsa'), qr/^for theirs\.example\.org, more\.example\.org$/m,
	    'says for what names');
	like(said_of('their.pem'), qr/CA:FALSE/, 'what else it asks for is not given');
	cert_ok('issue', 'other.example.org', '--request', 'their.csr', '--role',
		'client', '--out', 'their', '--ca', 'ca-ecdsa');
	unlike(said_of('their.pem'), qr/DNS:theirs/, 'nor the names, if others are given');
	openssl('req', '-new', '-newkey', 'rsa:1024', '-nodes', '-keyout', 'weak.key',
		'-out', 'weak.csr', '-subj', '/CN=w', '-addext',
		'subjectAltName=DNS:w.example.org');
	cert_not(qr/too weak/, 'issue', '--request', 'weak.csr', '--role', 'client',
		'--out', 'weak', '--ca', 'ca-ecdsa');
	my $broken = slurp('their.csr');
	spew('broken.csr', $broken =~ s/^(M.{40})(.)/$1 . ($2 eq 'A' ? 'B' : 'A')/mer);
	cert_not(qr/request/, 'issue', '--request', 'broken.csr', '--role', 'client',
		'--out', 'broken', '--ca', 'ca-ecdsa');
	spew('empty', '');
	cert_not(qr/expected a certificate request/, 'issue', '--request', $_, '--role',
		'client', '--out', 'broken', '--ca', 'ca-ecdsa') for 'empty', 'their.key';
	ok(!-e 'weak.pem' && !-e 'broken.pem', 'nothing comes of those');
};

subtest 'PKCS#12' => sub {
	cert_ok({ in => "for the phone\n" }, 'export', 'of-ecdsa', '--out', 'phone.p12',
		'--name', 'My phone', '--password-stdin');
	is((stat 'phone.p12')[2] & 07777, 0600, 'nobody else\'s');
	like(openssl('pkcs12', '-in', 'phone.p12', '-passin', 'pass:for the phone',
		'-nodes'), qr/friendlyName: My phone.*BEGIN PRIVATE KEY/s, 'openssl reads it');
	cert_not(qr/exists/, { in => "x\n" }, 'export', 'of-ecdsa', '--out', 'phone.p12',
		'--password-stdin');
};

# Two at once never issue one number twice, and the ledger has them all.
subtest 'many at once' => sub {
	my @pids;
	for my $n (1 .. 12) {
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			open STDOUT, '>', '/dev/null';
			exec $program, 'cert', 'issue', "p$n.example.org", '--role',
			    'client', '--out', "p$n", '--ca', 'ca-ecdsa';
		}
		push @pids, $pid;
	}
	my $failed = 0;
	for (@pids) {
		waitpid $_, 0;
		$failed++ if $?;
	}
	is($failed, 0, 'all are issued');
	my %serials = map { ($_->{serial} => 1) } grep { $_->{names}[0] =~ /^p\d/ }
	    @{ decode_json(cert_ok('list', '--json', '--ca', 'ca-ecdsa')) };
	is(scalar keys %serials, 12, 'each with a number of its own');
	is("@{[glob '*.new ca-ecdsa/*.new']}", '', 'nothing is left aside');
};

subtest 'wrong usage' => sub {
	for (['ca', 'x'], ['ca', '--name', 'x'], ['issue', 'a.example'],
	    ['issue', 'a.example', '--role', 'mail', '--out', 'x'],
	    ['issue', 'a.example', '--role', 'client', '--out', 'x', '--days', 0],
	    ['issue', 'a.example', '--role', 'client', '--out', 'x', '--next'],
	    ['list', 'x'], ['revoke'], ['crl', 'x'], ['request', 'x'], ['install', 'x'],
	    ['export', 'x'], ['tlsa', '--port', 0], ['renew', '--due', -1],
	    ['ca', 'x', '--name', 'x', '--algorithm', 'dsa'],
	    ['ca', 'x', '--name', 'x', '--path-length', 9], ['show'], ['frobnicate']) {
		my ($status, $out, $err) = cert(@$_);
		is($status, 2, "wrong usage: @$_");
		like($err, qr/\Asallyport cert: /, 'is said');
	}
	ok(!-e 'x', 'nothing is made');
};

chdir '/';
done_testing;
