#!/usr/bin/perl
# Files that are looked at one by one: "cert check FILE"; and what is said of
# those that are broken, by whatever reads them.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
chdir $scratch or die "chdir: $!";
my @tool = (program('sallyport'), '-c', "$scratch/nowhere.conf", 'cert');

sub cert {
	return run({}, @tool, @_);
}

sub cert_ok {
	my ($status, $out, $err) = cert(@_);
	die "cert @_: $err$out" if $status;
	return $out;
}

sub openssl {
	my ($status, $out, $err) = run({}, 'openssl', @_);
	die "openssl @_: $err" if $status;
	return $out;
}

# The words of what "cert check" finds.
sub words {
	my ($status, $out, $err) = cert('check', @_, '--json');
	my $list = eval { decode_json($out) };
	diag("cert check @_: $out$err") if !$list;
	is($status, @{ $list // [1] } ? 1 : 0, "check @_: the status is for scripts");
	return join ' ', sort map { $_->{word} } @{ $list // [] };
}

cert_ok('ca', 'ca', '--name', 'CA');
cert_ok('issue', 'mail.example.org', '192.0.2.7', '--role', 'server', '--out', 'server',
	'--ca', 'ca');
cert_ok('issue', 'c.example.org', '--role', 'client', '--out', 'client', '--ca', 'ca');
cert_ok('crl', '--ca', 'ca');

subtest 'one file' => sub {
	my @ca = ('--ca', 'ca');
	is(words('server.pem', @ca), '', 'a good one');
	like(cert_ok('check', 'server.pem', @ca), qr/^no problem found$/, 'in words');
	is(words('server.pem', '--ca', 'ca/ca.pem'), '', '--ca may be the file');
	is(words('server.pem', @ca, '--role', 'server', '--name', 'mail.example.org'), '',
	    'for what it is');
	is(words('server.pem', @ca, '--name', '192.0.2.7'), '', 'for an address');
	is(words('server.pem', @ca, '--name', '192.0.2.8'), 'name-other', 'for another');
	is(words('server.pem', @ca, '--name', 'mx.example.org'), 'name-other',
	    'for another name');
	is(words('server.pem', @ca, '--role', 'client'), 'purpose-client', 'for another role');
	is(words('server.pem', @ca, '--role', 'both'), 'purpose-client', 'for both');
	is(words('client.pem', @ca, '--role', 'server'), 'purpose-server', 'a client\'s');
	is(words('server.pem', @ca, '--key', 'client.key'), 'key-mismatch', 'another\'s key');
	my ($leaf) = slurp('server.pem') =~ /\A(.*?-END CERT\S+\n)/s;
	spew('leaf.pem', $leaf);
	is(words('leaf.pem', @ca), '', 'the authority need not be in it');
	is(words('leaf.pem'), 'chain-incomplete', 'but known');
	spew('turned.pem', slurp('ca/ca.pem') . $leaf);
	is(words('turned.pem', '--role', 'server'), 'chain-order name-missing purpose-server',
	    'the wrong way round');
	spew('beside.pem', slurp('server.pem'));
	spew('beside.key', slurp('client.key'));
	chmod 0644, 'beside.key';
	is(words('beside.pem', @ca), 'key-mode', 'the key beside it is looked at');
	chmod 0600, 'beside.key';
	is(words('beside.pem', @ca), 'key-mismatch', 'and has to belong to it');
	is(words('ca/ca.pem'), '', 'an authority is one');
	is(words('ca/crl.pem', @ca), '', 'a list');
	is(words('ca/crl.pem'), 'crl-issuer', 'of somebody unknown');
	is(words('client.key'), '', 'a key');
	chmod 0644, 'client.key';
	is(words('client.key'), 'key-mode', 'that others read');
	chmod 0600, 'client.key';
	chmod 0666, 'leaf.pem';
	is(words('leaf.pem', @ca), 'file-mode', 'a file that others write');
	openssl('req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-keyout', 'weak.key', '-out',
		'weak.pem', '-days', 10, '-subj', '/CN=weak', '-addext', 'basicConstraints=CA:FALSE');
	is(words('weak.pem', '--role', 'server'),
	    'key-unusable name-missing near-end purpose-server self-signed weak-key',
	    'all that is wrong at once');
};

# How a file of text is broken, and what is said.
my @broken = (
	['empty', sub { '' }, qr/the file is empty/],
	['cut off', sub { substr $_[0], 0, length($_[0]) * 2 / 3 }, qr/in line 1 has no line/],
	['without its beginning', sub { $_[0] =~ s/\A[^\n]*\n//r }, qr/beginning is missing/],
	['no base64', sub { $_[0] =~ s/\n(.{20})./\n$1*/r }, qr/line 2 is damaged/],
	['with an octet less', sub { $_[0] =~ s/\n(.{20})./\n$1/r }, qr/some of its base64 is missing/],
	['with octets turned round', sub { $_[0] =~ s/\n(.{4})(.{4})/\n$2$1/r },
		qr/damaged, though its base64 is whole/],
	['in UTF-16', sub { "\xff\xfe" . join '', map { "$_\0" } split //, $_[0] }, qr/UTF-16/],
	['a shell script', sub { "#!/bin/sh\nrm -rf /\n" }, qr/there is no line/],
	['a picture', sub { "\x89PNG\r\n\x1a\n" . join '', map { chr } 0 .. 255 }, qr/there is no line/],
	['oversized', sub { $_[0] . '#' x (1 << 21) }, qr/octets, expected at most|is none/],
);

sub first_block {
	return slurp($_[0]) =~ /\A(.*?-----END [A-Z0-9 ]+-----\n)/s ? $1 : die $_[0];
}

sub has_one_line {
	my ($text, $pattern, $name) = @_;
	is($text =~ tr/\n//, 1, "$name: one line") or diag($text);
	like($text, $pattern, "$name: it is clear");
	unlike($text, qr/[^ -~\n]/, "$name: and printable");
}

cert_ok('request', 'r.example.org', '--role', 'server', '--out', 'request');
spew('good.pem', first_block('server.pem'));
openssl('x509', '-in', 'good.pem', '-outform', 'DER', '-out', 'good.der');
openssl('pkcs12', '-export', '-in', 'good.pem', '-inkey', 'server.key', '-passout', 'pass:x',
	'-out', 'good.p12');
openssl('pkey', '-in', 'server.key', '-aes128', '-passout', 'pass:x', '-out', 'locked.key');
openssl('pkey', '-in', 'server.key', '-outform', 'DER', '-out', 'key.der');

# Whoever reads a certificate.
my @readers = (
	['check', sub { ('check', $_[0]) }],
	['show', sub { ('show', $_[0]) }],
	['install', sub { ('install', $_[0], '--out', 'server') }],
	['revoke', sub { ('revoke', $_[0], '--ca', 'ca') }],
);
for my $reader (@readers) {
	my ($name, $words) = @$reader;
	subtest "a broken certificate: $name" => sub {
		for (@broken) {
			my ($how, $break, $said) = @$_;
			# Where the rest is left out it is no trouble.
			next if $how eq 'oversized' && $name ne 'check';
			spew('bad', $break->(slurp('good.pem')));
			my ($status, $out, $err) = cert($words->('bad'));
			is($status, 1, "$how: no");
			has_one_line("$out$err", $said, $how);
			like("$out$err", qr/\bbad: /, "$how: the file is named");
		}
		# A serial number is looked for first.
		for ($name eq 'revoke' ? () : ['nowhere', qr/No such file/], ['server.key', qr/it holds a private key|mode/], ['request.csr',
				qr/it holds a certificate request/], ['good.der', qr/it is DER: "openssl x509/],
			['good.p12', qr/it is PKCS#12/], ['ca', qr/a regular file/], ['/dev/null', qr/a regular file/]) {
			my ($file, $said) = @$_;
			next if $name eq 'check' && $file eq 'server.key';
			my ($status, $out, $err) = cert($words->($file));
			is($status, 1, "$file: no");
			has_one_line("$out$err", $said, $file);
		}
	};
}

subtest 'a broken key' => sub {
	for (@broken) {
		my ($how, $break, $said) = @$_;
		spew('bad.key', $break->(slurp('server.key')));
		chmod 0600, 'bad.key';
		my ($status, $out, $err) = cert('check', 'good.pem', '--key', 'bad.key', '--ca', 'ca');
		is($status, 1, "$how: no");
		has_one_line("$out$err", $said, $how);
		next if $how eq 'empty' || $how eq 'oversized';
		($status, $out, $err) = cert('issue', 'x.example.org', '--role', 'client', '--out', 'bad',
			'--ca', 'ca');
		is($status, 1, "issue with a key $how: no");
		has_one_line("$out$err", $said, "issue, $how");
		ok(!-e 'bad.pem', 'and nothing is made');
	}
	for (['locked.key', qr/it is encrypted: "openssl pkey/], ['key.der', qr/it is DER: "openssl pkey/],
		['good.pem', qr/mode 0644|it holds a certificate/]) {
		my ($file, $said) = @$_;
		spew('copy.key', slurp($file));
		chmod 0600, 'copy.key';
		my ($status, $out, $err) = cert('check', 'good.pem', '--key', 'copy.key', '--ca', 'ca');
		is($status, 1, "$file: no");
		has_one_line("$out$err", $said, $file);
	}
};

subtest 'an export' => sub {
	my $in = { in => "secret\n" };
	for (['server.pem', 'client.key', qr/does not belong/], ['server.key', 'client.key',
			qr/out\.pem .*it holds a private key/], ['good.pem', 'good.pem',
			qr/out\.key: .*it holds a certificate/], ['good.pem', 'locked.key',
			qr/out\.key: .*it is encrypted/]) {
		my ($pem, $key, $said) = @$_;
		spew('out.pem', slurp($pem));
		spew('out.key', slurp($key));
		chmod 0600, 'out.key';
		my ($status, $out, $err) = run($in, @tool, 'export', 'out', '--out', 'out.p12',
			'--password-stdin');
		is($status, 1, "$pem with $key: no");
		has_one_line("$out$err", $said, "$pem with $key");
		ok(!-e 'out.p12', 'nothing is made');
	}
};

subtest 'a broken request, a broken list, a broken authority' => sub {
	my $ca = slurp('ca/ca.pem');
	for (@broken) {
		my ($how, $break, $said) = @$_;
		next if $how eq 'oversized';
		spew('bad.csr', $break->(slurp('request.csr')));
		my ($status, $out, $err) = cert('issue', '--request', 'bad.csr', '--role', 'server',
			'--out', 'none', '--ca', 'ca');
		is($status, 1, "a request $how: no");
		has_one_line("$out$err", $said, "a request $how");
		like($err, qr/\bbad\.csr: /, 'the file is named');
		spew('ca/ca.pem', $break->($ca));
		($status, $out, $err) = cert('issue', 'x.example.org', '--role', 'client', '--out',
			'none', '--ca', 'ca');
		is($status, 1, "an authority $how: no");
		has_one_line("$out$err", $said, "an authority $how");
		spew('ca/ca.pem', $ca);
	}
	for (@broken[1, 3, 4, 5]) {
		my ($how, $break, $said) = @$_;
		spew('bad.crl', $break->(slurp('ca/crl.pem')));
		my ($status, $out, $err) = cert('check', 'bad.crl', '--ca', 'ca');
		is($status, 1, "a list $how: no");
		has_one_line("$out$err", $said, "a list $how");
	}
	ok(!-e 'none.pem' && !-e 'none.key', 'nothing is made');
};

subtest 'wrong usage' => sub {
	for (['a', 'b'], ['--role', 'server'], ['--name', 'x'], ['--key', 'x'], ['--ca', 'x'],
		['server.pem', '--role', 'mail'], ['server.pem', '--days', 3]) {
		my ($status, $out, $err) = cert('check', @$_);
		is($status, 2, "check @$_: wrong usage");
		like($err, qr/\Asallyport cert: /, 'is said');
	}
	my ($status, $out, $err) = cert('check', 'server.pem', '--ca', 'nowhere');
	is($status, 1, 'an authority that is none: no');
	like($err, qr/nowhere: No such file/, 'is said');
	($status, $out, $err) = cert('check');
	is($status, 1, 'without a configuration: no');
	like($err, qr/nowhere\.conf: /, 'is said');
};

chdir '/';
done_testing;
