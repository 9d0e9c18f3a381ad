#!/usr/bin/perl
# The store as text and back, users of other servers, and who would answer.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use MIME::Base64;
use POSIX ();
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(time sleep);

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch,
	options => { 'auth-failure-delay' => '"100ms"',
		'auth-free-failures' => 50, 'auth-tries' => 20,
		'pam-realms' => '{ "unix.example" }' },
	submission => { 'client-cert' => 'ask',
		backends => '{ "store", "pam" }' });
my $peers = Sallyport::Certs->authority($scratch, 'peers');
my ($cert) = $peers->issue('branch', dns => ['branch.example'],
	purpose => 'client');

sub import_text {
	my ($text, @options) = @_;
	return $instance->tool({ in => $text }, 'user', 'import', @options, '-');
}

sub plain {
	my ($user, $password) = @_;
	return $instance->client->plain($user, $password);
}

sub login {
	my ($user, $password) = @_;
	my $c = $instance->client;
	$c->command('AUTH LOGIN');
	$c->command(encode_base64($user, ''));
	return $c->command(encode_base64($password, ''));
}

# Exit status of a SCRAM login by gsasl.
sub scram {
	my ($mechanism, $user, $password) = @_;
	return (run({}, 'gsasl', '--smtp', '--quiet', '--no-cb',
		"--connect=127.0.0.1:$instance->{ports}{submission}",
		"--x509-ca-file=$instance->{folder}/tls/ca.pem",
		'-m', $mechanism, '-a', $user, '-p', $password))[0];
}

# What "gsasl --mkpasswd" and Dovecot's doveadm pw make alike.
sub verifier {
	my ($mechanism, $password) = @_;
	my ($status, $out) = run({}, 'gsasl', '--mkpasswd',
		"--mechanism=$mechanism", "--password=$password",
		'--iteration-count=4096');
	chomp $out;
	return $out;
}

sub show {
	my ($status, $out) = $instance->tool('user', 'show', $_[0], '--json');
	return $status ? undef : decode_json($out);
}

# The export's lines that are users, by name.
sub users {
	my @lines = map { decode_json($_) } split /\n/, $_[0];
	return { map { $_->{name} => $_ } grep { $_->{name} } @lines };
}

subtest 'Dovecot' => sub {
	my $sha512 = crypt 'secret512', '$6$abcdefgh$';
	my $bcrypt = crypt 'secretblf', '$2y$05$abcdefghijklmnopqrstuu';
	my $sha256 = crypt 'secret256', '$5$rounds=1000$abcdefgh$';
	my $huge = crypt 'x', '$5$rounds=1000$abcdefgh$';
	$huge =~ s/rounds=1000/rounds=999999999/;
	my $text = join '', map { "$_\n" }
	    '# comment', '',
	    'scram256:' . verifier('SCRAM-SHA-256', 'one'),
	    'scram1@example.com:' . verifier('SCRAM-SHA-1', 'two')
	    . ':1000:1000::/home/x::userdb_mail=maildir:~/mail',
	    'clear:{PLAIN}three-secret', "blf:{BLF-CRYPT}$bcrypt",
	    "sha512:{SHA512-CRYPT}$sha512", "sha256:$sha256",
	    'off:{CLEAR}four-secret::::::nologin=y',
	    'net:{CLEAR}five-secret::::::allow_nets=192.0.2.0/24',
	    'argon:{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$aGFzaA',
	    'ssha:{SSHA}c2VjcmV0', "huge:{SHA256-CRYPT}$huge",
	    'locked:!', 'scram256:{PLAIN}again-secret', 'bad name:{PLAIN}six-secret',
	    'few:{SCRAM-SHA-256}10,c2FsdA==,' . encode_base64('x' x 32, '') . ','
	    . encode_base64('x' x 32, ''), 'broken:{SCRAM-SHA-256}4096,a,b,c',
	    'wrong:{SHA512-CRYPT}' . $sha256, 'nul:{PLAIN}a' . "\0" . 'b',
	    'long:' . 'x' x 9000;
	my ($status, $out, $err) = import_text($text, '--format', 'dovecot');
	is($status, 1, 'some lines are refused');
	like($out, qr/^7 users imported, 12 lines refused$/m, 'and counted');
	for ([10, 'allow_nets'], [11, '\{ARGON2ID\}'], [12, '\{SSHA\}'],
	    [13, 'rounds'], [14, 'locked'], [15, 'already'], [16, 'login name|SASLprep|expected'],
	    [17, '10 iterations'], [18, 'SCRAM-SHA-256'], [19, 'SHA512-CRYPT'],
	    [20, 'NUL'], [21, 'too long']) {
		like($err, qr/^stdin:$_->[0]: .*(?:$_->[1])/m, "line $_->[0] is named");
	}
	unlike($err, qr/secret|maildir|\$6\$|saltsalt|xxxx/, 'without a secret');
	is(scram('SCRAM-SHA-256', 'scram256', 'one'), 0, 'SCRAM-SHA-256 as it was');
	isnt(scram('SCRAM-SHA-256', 'scram256', 'not'), 0, 'not by another password');
	is(scram('SCRAM-SHA-1', 'scram1@example.com', 'two'), 0, 'SCRAM-SHA-1 alone');
	like(plain('scram1@example.com', 'two'), qr/^235 /, 'which does for PLAIN');
	is(scram('SCRAM-SHA-256', 'clear', 'three-secret'), 0, 'made of a clear one');
	is(show('off')->{enabled}, JSON::PP::false, 'nologin is disabled');
	is(show('blf')->{hash}, 'BLF-CRYPT', 'a hash is kept');
	is_deeply(show('blf')->{mechanisms}, [], 'without a verifier');
	($status, $out) = $instance->tool('user', 'list');
	like($out, qr/^blf\@example\.org: hash:BLF-CRYPT$/m, 'and listed');
	unlike($out, qr/\Q$bcrypt\E/, 'not itself');
	isnt(scram('SCRAM-SHA-256', 'blf', 'secretblf'), 0, 'SCRAM has to wait');
	like(plain('blf', 'wrong'), qr/^535 5\.7\.8 /, 'a wrong password');
	is(show('blf')->{hash}, 'BLF-CRYPT', 'replaces nothing');
	like(plain('blf', 'secretblf'), qr/^235 /, 'PLAIN');
	is(show('blf')->{hash}, undef, 'replaces it');
	is(scalar @{ show('blf')->{mechanisms} }, 2, 'by verifiers');
	is(scram('SCRAM-SHA-256', 'blf', 'secretblf'), 0, 'with which SCRAM works');
	like(plain('blf', 'secretblf'), qr/^235 /, 'and PLAIN again');
	like(login('sha512', 'secret512'), qr/^235 /, 'LOGIN');
	is(show('sha512')->{hash}, undef, 'does that too');
	ok($instance->logged(qr/ user action=replace-hash user=sha512\@example\.org result=ok/),
	    'it is logged');
	$instance->tool('user', 'disable', 'sha256');
	like(plain('sha256', 'secret256'), qr/^535 5\.7\.8 /, 'disabled with a hash');
	is(show('sha256')->{hash}, 'SHA256-CRYPT', 'which stays');
	like(plain('sha256', 'x' x 2000), qr/^535 /, 'a password beyond measure');
	$instance->tool('user', 'enable', 'sha256');
	$instance->tool({ in => "new one\n" }, 'user', 'passwd', 'sha256',
		'--password-stdin');
	is(show('sha256')->{hash}, undef, 'passwd forgets the hash');
	like(plain('sha256', 'secret256'), qr/^535 /, 'and what it stood for');
	like(plain('sha256', 'new one'), qr/^235 /, 'for the new one');
	unlike($instance->log_text, qr/three-secret|secretblf/, 'no secret is logged');
};

subtest 'slow hashes hold up nobody' => sub {
	import_text("slow:" . crypt('slow secret', '$2y$13$abcdefghijklmnopqrstuu')
	    . "\n", '--format', 'htpasswd');
	plain('alice', 'correct horse');
	my @slow = map { $instance->client } 1 .. 4;
	my $plain = encode_base64("\0slow\0guess", '');
	my $start = time;
	$_->send("AUTH PLAIN $plain\r\n") for @slow;
	my $c = $instance->client;
	my $before = time;
	like($c->plain('alice', 'correct horse'), qr/^235 /, 'another login');
	my $took = time - $before;
	cmp_ok($took, '<', sanitized() ? 3 : 0.4, 'is not held up');
	like($_->reply // 'timeout', qr/^(535|454) /, 'a guess is answered') for @slow;
	note(sprintf 'four checks took %.2f s, a login meanwhile %.3f s',
	    time - $start, $took);
	# More than may wait: the others are told so, and nobody is forgotten.
	my @many = map { $instance->client(local => '127.0.9.' . $_) } 1 .. 40;
	$plain = encode_base64("\0fast\0guess", '');
	import_text("fast:" . crypt('fast secret', '$2y$10$abcdefghijklmnopqrstuu')
	    . "\n", '--format', 'htpasswd');
	$_->send("AUTH PLAIN $plain\r\n") for @many;
	my @replies = map { $_->reply // 'timeout' } @many;
	is(scalar(grep { /^(535 5\.7\.8|454 4\.7\.0) / } @replies), 40,
	    'forty at once are all answered');
	cmp_ok(scalar(grep { /^454 / } @replies), '>', 0, 'some are to come later');
	# Two at once: the second one finds the hash replaced.
	my @both = map { $instance->client } 1 .. 2;
	$plain = encode_base64("\0slow\0slow secret", '');
	$_->send("AUTH PLAIN $plain\r\n") for @both;
	like($_->reply // 'timeout', qr/^235 /, 'one of two at once') for @both;
	is(scalar $instance->log_lines(qr/replace-hash user=slow/), 1,
	    'it is replaced once');
};

subtest 'htpasswd' => sub {
	my ($status, $out, $err) = import_text(
		"web:" . crypt('web secret', '$2y$05$abcdefghijklmnopqrstuu') . "\n"
		. "apr:\$apr1\$abcdefgh\$" . 'x' x 22 . "\nsha:{SHA}c2VjcmV0\n"
		. "des:" . crypt('x', 'ab') . "\nnothing\n", '--format', 'htpasswd');
	is($status, 1, 'some are refused');
	like($err, qr/^stdin:2: .*\$apr1\$/m, 'Apache MD5 by name');
	like($err, qr/^stdin:3: .*\{SHA\}/m, '{SHA} by name');
	like($err, qr/^stdin:4: .*DES/m, 'DES by name');
	like($err, qr/^stdin:5: expected USER:HASH/m, 'no line at all');
	like(plain('web', 'web secret'), qr/^235 /, 'bcrypt logs in');
};

subtest 'Cyrus' => sub {
	my $dump = "VERSION=3\nformat=print\ntype=hash\ndb_pagesize=4096\nHEADER=END\n"
	    . " cyr\\00example.org\\00userPassword\n sec\\\\ret\\c3\\a9\n"
	    . " other\\00example.com\\00userPassword\n second secret\n"
	    . " cyr\\00example.org\\00cmusaslsecretOTP\n md5\\00x\n"
	    . " odd\n password\n";
	my ($status, $out, $err) = import_text("${dump}DATA=END\n", '--format',
		'cyrus');
	is($status, 1, 'a property that is none is refused');
	like($err, qr/^stdin:10: property/m, 'by its line');
	like($err, qr/^stdin:12: key/m, 'and a key that is none');
	like($out, qr/^2 users imported, 2 lines/m, 'the others are in');
	like(plain('cyr', "sec\\ret\xc3\xa9"), qr/^235 /, 'with their octets');
	is(scram('SCRAM-SHA-256', 'other@example.com', 'second secret'), 0,
	    'by SCRAM at once');
	my $hex = unpack 'H*', "hex\0example.org\0userPassword";
	($status) = import_text("VERSION=3\nformat=bytevalue\ntype=hash\n"
	    . "HEADER=END\n $hex\n " . unpack('H*', 'hex secret') . "\nDATA=END\n",
	    '--format', 'cyrus');
	is($status, 0, 'a dump without -p');
	like(plain('hex', 'hex secret'), qr/^235 /, 'is the same');
	($status, $out, $err) = import_text($dump, '--format', 'cyrus');
	like($err, qr/cut off/, 'a dump that is cut off');
	($status, $out, $err) = import_text("cyr\@example.org: userPassword\n",
		'--format', 'cyrus');
	like($err, qr/^stdin:1: .*prints no passwords.*db_dump/m,
	    'sasldblistusers2 is told from it');
};

# Every setting that a user can have.
subtest 'settings' => sub {
	my $user = sub {
		my ($status, $out, $err) = $instance->tool(@_);
		is($status, 0, join ' ', grep { !ref } @_) or diag $err;
		return $out;
	};
	$user->({ in => "old secret\n" }, 'user', 'add', 'full', '--kind', 'server',
		'--password-stdin', '--legacy-secret', '--sender', '@Example.ORG',
		'--sender', 'full+*@example.net');
	$user->('user', 'limit', 'full', '--network', '192.0.2.0/24', '--network',
		'2001:db8::/32', '--rate', 100, '--until', '2099-12-31',
		'--binding', 'required', '--legacy-until', '2098-01-02T03:04:05Z');
	$user->('user', 'bind', 'full', $cert);
	$user->('user', 'bind', 'full', '--ca', $peers->file, '--san',
		'dns:Full.Example.org');
	$user->('user', 'disable', 'full');
	my $shown = show('full');
	my $pin = delete $shown->{sans}[0]{ca};
	like($pin, qr/^sha256:[0-9a-f]{64}$/, 'an authority');
	is_deeply($shown->{sans}, [{ name => 'dns:full.example.org' }], 'and its name');
	is_deeply($shown->{rights}, ['@example.org', 'full+*@example.net'], 'rights');
	is_deeply($shown->{networks}, ['192.0.2.0/24', '2001:db8::/32'], 'networks');
	is("$shown->{rate} $shown->{until} $shown->{legacy_until}",
	    '100 2099-12-31 2098-01-02T03:04:05Z', 'limits');
	ok($shown->{binding_required} && $shown->{legacy_secret} && !$shown->{enabled},
	    'flags');
	my $text = $user->('user', 'show', 'full');
	like($text, qr/^$_$/m, "in words: $_") for 'kind: +server', 'legacy: +yes.*',
	    'san: +dns:full\.example\.org, .*', 'binding: +required',
	    'old ways: +until 2098-01-02T03:04:05Z', 'sender: +\@example\.org',
	    'sender: +full\+\*\@example\.net', 'network: +2001:db8::/32',
	    'rate: +100 messages an hour', 'until: +2099-12-31';
	unlike($text . encode_json($shown), qr/old secret/, 'not the secret');
	like($user->('user', 'list'),
	    qr/^full\@example\.org: EXTERNAL SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 DIGEST-MD5 disabled server binding until=2099-12-31$/m,
	    'listed');
	# Out and in again, nothing is lost.
	my $line = users($user->('user', 'export'))->{'full@example.org'};
	is($line->{legacy}, 'old secret', 'the export has it');
	is("$line->{until} $line->{legacy_until}", '4102444800 4039470245',
	    'a day is meant to its end, a second as it is');
	my $export = $user->('user', 'export');
	$user->('user', 'remove', 'full');
	$user->({ in => $export }, 'user', 'import', '--replace', '-');
	is_deeply(users($user->('user', 'export'))->{'full@example.org'}, $line,
	    'an export comes back whole');
	# And each changes back.
	$user->('user', 'limit', 'full', '--any-network', '--rate', 'none', '--until',
		'none', '--binding', 'optional', '--legacy-until', 'never');
	$shown = show('full');
	is_deeply([@$shown{qw(networks rate until legacy_until)}],
	    [[], undef, undef, 'never'], 'no limits');
	$user->('user', 'limit', 'full', '--legacy-until', 'default', '--network',
		'192.0.2.1', '--network', '192.0.2.2');
	$user->('user', 'limit', 'full', '--network', '192.0.2.3');
	$shown = show('full');
	is_deeply([@$shown{qw(networks legacy_until)}], [['192.0.2.3/32'], undef],
	    'networks take the place of those there');
	$user->('user', 'unbind', 'full', '--ca', $pin, '--san',
		'dns:full.example.org');
	is_deeply(show('full')->{sans}, [], 'the name is gone');
	is(scalar @{ show('full')->{keys} }, 1, 'the key is not');
	$user->('user', 'unbind', 'full', 'all');
	$user->({ in => "new secret\n" }, 'user', 'passwd', 'full', '--password-stdin');
	ok(!show('full')->{legacy_secret}, 'passwd drops the legacy secret');
	$user->({ in => "new secret\n" }, 'user', 'passwd', 'full', '--password-stdin',
		'--legacy-secret');
	ok(show('full')->{legacy_secret}, 'or keeps one');
	my ($status, undef, $err) = $instance->tool({ in => 'x' x 129 . "\n" },
		'user', 'passwd', 'full', '--password-stdin', '--legacy-secret');
	is($status, 1, 'one that is too long');
	like($err, qr/129 octets, expected at most 128/, 'is refused');
	$user->('user', 'add', 'nopass', '--no-password', '--sender', '*');
	is_deeply([@{ show('nopass') }{qw(mechanisms keys sans)}], [[], [], []],
	    'nothing to log in with');
	like(plain('nopass', ''), qr/^[45]/, 'and it does not');
	$user->('user', 'remove', $_) for qw(full nopass);
};

subtest 'rights' => sub {
	my $is = sub {
		my ($name, $address, $status, $text) = @_;
		my ($got, $out) = $instance->tool('user', 'rights', $name, '--explain',
			$address);
		is($got, $status, "$name, $address") or diag $out;
		like($out, $text, 'and why') if $text;
	};
	$instance->user_add('rita', 'secret');
	is(($instance->tool('user', 'rights', 'rita'))[1],
	    "none: rita\@example.org alone\n", 'its own address');
	$is->('rita', 'RITA@Example.org', 0, qr/^yes: rita\@example\.org by rita\@example\.org$/);
	$is->('rita', 'bob@example.org', 1, qr/^no: rita\@example\.org may not use bob/);
	$is->('rita', '<>', 0, qr/null reverse-path/);
	my @change = qw(user rights rita --add @Example.COM --add rita+*@example.org);
	is(($instance->tool(@change))[0], 0, 'patterns');
	is(($instance->tool('user', 'rights', 'rita'))[1],
	    "\@example.com\nrita+*\@example.org\n", 'are canonical');
	$is->('rita', 'any@example.com', 0, qr/by \@example\.com$/);
	$is->('rita', 'rita@example.org', 1);
	my ($status, $out, $err) = $instance->tool(@change);
	is($status, 1, 'once');
	like($err, qr/has "\@example\.com" already/, 'each');
	($status, $out) = $instance->tool(qw(user rights rita --json --explain
		rita+x@example.org));
	is_deeply(decode_json($out), { name => 'rita@example.org',
		address => 'rita+x@example.org', allowed => JSON::PP::true,
		pattern => 'rita+*@example.org', owner => undef,
		owner_pattern => undef }, 'as JSON');
	is(($instance->tool(qw(user rights rita --remove @example.com)))[0], 0,
	    'one less');
	is(($instance->tool(qw(user rights rita --remove @example.com)))[0], 1,
	    'which is not there any more');
	is(($instance->tool(qw(user rights rita --clear --add @.example.net)))[0], 0,
	    'all others');
	is(($instance->tool(qw(user rights rita --json)))[1],
	    qq({"name":"rita\@example.org","rights":["\@.example.net"]}\n), 'is it');
	# A device may what both may.
	import_text(join '', map { "$_\n" }
	    ($instance->tool('user', 'export'))[1] =~ /\A([^\n]*)/,
	    '{"name":"rita+tab@example.org","kind":"device","enabled":true,'
	    . '"created":1,"changed":1,"verifiers":[],"keys":[],'
	    . '"rights":["a@x.example.net","b@example.org"],"owner":"rita@example.org"}',
	    '{"users":1}');
	$is->('rita+tab', 'a@x.example.net', 0,
	    qr/by a\@x\.example\.net, and its owner rita\@example\.org by \@\.example\.net$/);
	$is->('rita+tab', 'b@example.org', 1, qr/its owner rita\@example\.org may not/);
	$is->('rita+tab', 'c@x.example.net', 1, qr/no: rita\+tab\@example\.org may not/);
	for (['--add', '@'], ['--add', 'x'], ['--explain', 'a@b', '--add', '*'],
	    ['--json', '--clear'], ['--rate', 1]) {
		is(($instance->tool('user', 'rights', 'rita', @$_))[0], 2,
		    "wrong usage: @$_");
	}
	for ([], ['--rate', 0], ['--rate', '1x'], ['--until', '2099-02-30'],
	    ['--until', ' 2099-02-2'], ['--binding', 'yes'], ['--network', 'x'],
	    ['--network', '192.0.2.1/24'], ['--legacy-until', 'none']) {
		is(($instance->tool('user', 'limit', 'rita', @$_))[0], 2,
		    "wrong usage of limit: @$_");
	}
	for (['--san', 'dns:x'], ['--ca', $cert], [$cert, '--ca', $cert, '--san',
		'dns:x']) {
		is(($instance->tool('user', 'bind', 'rita', @$_))[0], 2,
		    "wrong usage of bind: @$_");
	}
	for (['--no-password', '--password-stdin'], ['--kind', 'device'],
	    ['--certificate', $cert, '--legacy-secret'], ['--sender', 'x']) {
		is(($instance->tool('user', 'add', 'nobody', @$_))[0], 2,
		    "wrong usage of add: @$_");
	}
	is(($instance->tool('user', 'limit', 'zoe', '--rate', 5))[0], 1, 'nobody');
	$instance->tool('user', 'remove', $_) for qw(rita+tab rita);
};

my $export = "$scratch/export";
my %before;
is((import_text(''))[2], "stdin: cut off: its last line is missing\n", 'nothing is no export');

# What is wrong is said before how it is right.
for ([qr/"device": expected person or server/, 'add', 'x', '--kind', 'device'],
    [qr/"shadow": expected dovecot, htpasswd or cyrus/, 'import', '--format', 'shadow', '-'],
    [qr/"b": expected one, "a" was given/, 'rights', 'x', '--explain', 'a', '--explain', 'b'],
    [qr/more than 256 settings/, 'rights', 'x', ('--add', '@a.example') x 257]) {
	my ($said, @words) = @$_;
	my ($status, $out, $err) = $instance->tool('user', @words);
	is($status, 2, "user @words[0 .. 2]");
	like($err, qr/\Asallyport: user: .*$said.*\nusage: /, 'and why');
}

subtest 'export' => sub {
	is(($instance->tool('user', 'add', 'branch', '--kind', 'server',
		'--certificate', $cert))[0], 0, 'a certificate');
	import_text('waits:' . crypt('waiting', '$6$abcdefgh$') . "\n",
	    '--format', 'htpasswd');
	my ($status, $out, $err) = $instance->tool('user', 'export', $export);
	is($status, 0, 'while it runs') or diag $err;
	is((stat $export)[2] & 07777, 0600, 'nobody else can read it');
	is("@{[glob qq($export.*)]}", '', 'nothing is left beside it');
	%before = %{ users(slurp($export)) };
	is(scalar keys %before, (() = ($instance->tool('user', 'list'))[1] =~ /\n/g),
	    'everybody is in it');
	($status, $out) = $instance->tool('user', 'export');
	is($status, 0, 'to standard output');
	is_deeply(users($out), \%before, 'the same');
	is_deeply(users(($instance->tool('user', 'export', '-'))[1]), \%before, 'by its name, too');
	POSIX::mkfifo("$scratch/pipe", 0600) or die "mkfifo: $!";
	($status, $out, $err) = $instance->tool('user', 'export', "$scratch/pipe");
	is($status, 1, 'not in the place of what is no file');
	like($err, qr/not a regular file/, 'which is said');
	ok(-p "$scratch/pipe", 'and stays');
	ok($instance->logged(qr/ user action=export users=\d+/), 'it is logged');
	($status, $out, $err) = $instance->tool('user', 'export',
		"$scratch/nowhere/x");
	is($status, 1, 'a folder that is not there');
	SKIP: {
		skip 'no script(1)', 1 unless in_path('script');
		($status, $out) = run({}, 'script', '-qec', program('sallyport')
		    . " -c $instance->{conf} user export", '/dev/null');
		like($out, qr/not shown at a terminal/, 'a terminal is refused');
	}
};

subtest 'import of an export' => sub {
	my $text = slurp($export);
	my ($status, $out, $err) = import_text($text);
	is($status, 1, 'those that are there are refused');
	is(scalar(() = $err =~ /there is such a user already/g), scalar keys %before,
	    'each by name');
	$instance->tool('user', 'remove', 'web');
	$instance->tool('user', 'disable', 'alice');
	($status, $out, $err) = import_text($text, '--replace');
	is($status, 0, 'and replaced with --replace') or diag $err;
	like(plain('alice', 'correct horse'), qr/^235 /, 'as it was');
	like(plain('web', 'web secret'), qr/^235 /, 'and what was removed is back');
	my $cut = $text =~ s/[^\n]*\n\z//r;
	($status, $out, $err) = import_text($cut, '--replace');
	is($status, 1, 'a text that is cut off');
	like($err, qr/cut off/, 'is said to be');
	($status, $out, $err) = import_text($text =~ s/"kind"/"kinds"/r, '--replace');
	like($err, qr/^stdin:2: .*not known/m, 'a member that is not known');
	($status, $out, $err) = import_text($text =~ s/"version":1/"version":2/r);
	like($err, qr/^stdin:1: export of version 2/m, 'another version');
	($status, $out, $err) = import_text("hello\n$text");
	like($err, qr/^stdin:1: not an export/m, 'not an export');
	($status, $out, $err) = import_text($text, '--into-empty');
	is($status, 1, 'no store is empty while the server runs');
	like($err, qr/server runs/, 'which is said');
	is(($instance->tool('user', 'import', '--into-empty', '--replace', $export))[0],
	    2, 'wrong usage');
	is(($instance->tool('user', 'import', '--format', 'ldif', $export))[0], 2,
	    'unknown format');
};

# The salt that a client is shown for a name.
sub salt {
	my $c = $instance->client;
	my $reply = $c->command('AUTH SCRAM-SHA-256 '
	    . encode_base64("n,,n=$_[0],r=abcdef", ''));
	return decode_base64($reply =~ s/^334 //r) =~ /,s=([^,]+)/ ? $1 : undef;
}

subtest 'the store made anew' => sub {
	my $salt = salt('nobody-here');
	ok($salt, 'a salt for a name that is not there');
	$instance->tool('user', 'export', $export);
	my $then = slurp($export);
	$instance->stop;
	my ($status, $out, $err) = $instance->tool('user', 'export', "$export.off");
	is($status, 0, 'export without the server') or diag $err;
	is_deeply(users(slurp("$export.off")), users($then), 'is the same');
	is((stat "$export.off")[4], $>, 'and the caller\'s own');
	($status, $out, $err) = $instance->tool('user', 'import', '--into-empty',
		$export);
	like($err, qr/holds \d+ users/, 'a store with users is not empty');
	unlink glob "$instance->{folder}/state/store/users.kch*";
	($status, $out, $err) = $instance->tool('user', 'import', '--into-empty',
		$export);
	is($status, 0, 'an absent store is made') or diag $err;
	($status, $out) = $instance->tool('user', 'export');
	is_deeply(users($out), users($then), 'with all that was in it');
	$instance->start;
	is(salt('nobody-here'), $salt, 'and its secret');
	like(plain('waits', 'waiting'), qr/^235 /, 'hashes wait as before');
	like(plain('alice', 'correct horse'), qr/^235 /, 'alice logs in');
};

subtest 'SIGKILL in the middle' => sub {
	my $n = sanitized() ? 1000 : 10000;
	my $bcrypt = crypt 'x', '$2y$05$abcdefghijklmnopqrstuu';
	my $running = 1;
	my $import = sub {
		my ($file, $kill_after) = @_;
		my $pid = fork // die;
		if (!$pid) {
			open STDERR, '>', '/dev/null';
			open STDOUT, '>', '/dev/null';
			exec program('sallyport'), '-c', $instance->{conf}, 'user',
			    'import', '--format', 'htpasswd', $file;
		}
		sleep $kill_after;
		kill KILL => $pid;
		waitpid $pid, 0;
		return $? == 0;
	};
	my $there = sub {
		my ($status, $out, $err) = $instance->tool('user', 'list');
		is($status, 0, 'the store is whole') or diag $err;
		return sort { $a <=> $b } $out =~ /^$_[0](\d+)@/mg;
	};
	spew("$scratch/many", join '', map { "many$_:$bcrypt\n" } 1 .. $n);
	for my $round (1 .. 3) {
		my $done = $import->("$scratch/many", 0.06 * $round);
		my @there = $there->('many');
		is("@there", join(' ', 1 .. @there),
		    "with the server, up to where it was: " . @there);
	}
	$instance->stop;
	spew("$scratch/much", join '', map { "much$_:$bcrypt\n" } 1 .. $n);
	my $rounds = 0;
	# Ever later, until one gets to its end.
	for (my ($after, $done) = (0.02, 0); !$done; $after *= 1.5, $rounds++) {
		$done = $import->("$scratch/much", $after);
		my $count = () = $there->('much');
		# It may have been in place already when it was killed.
		ok($count == $n || (!$done && $count == 0),
		    sprintf 'without it, after %.2f s, nothing or all: %d',
		    $after, $count);
		$done ||= $count == $n;
	}
	cmp_ok($rounds, '>', 1, 'some were killed');
	is((stat)[2] & 07777, 0600, "$_: what is left is nobody else's")
	    for glob "$instance->{folder}/state/store/*";
	$instance->start;
};

sub check {
	my ($name) = @_;
	my ($status, $out) = $instance->tool('user', 'check', $name, '--json');
	my $answer = decode_json($out);
	my %by = map { ("$_->{listener} $_->{backend}" => $_) }
	    @{ $answer->{backends} };
	return ($status, \%by, $answer);
}

subtest 'check' => sub {
	my ($status, $by, $all) = check('alice');
	is($status, 0, 'alice is answered');
	ok($all->{known}, 'and known');
	is_deeply([grep { !/PLUS/ } @{ $by->{'submission store'}{mechanisms} }],
	    [qw(SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN)], 'by the store');
	like($by->{'submission pam'}{not}{PLAIN}, qr/the store has/, 'not by PAM');
	like($by->{'submission certificate'}{not}{EXTERNAL}, qr/no certificate/,
	    'nor by a certificate');
	($status, $by) = check('branch');
	is_deeply($by->{'submission certificate'}{mechanisms}, ['EXTERNAL'],
	    'branch is, by its certificate');
	is_deeply($by->{'submission store'}{mechanisms}, [], 'alone');
	($status, $by) = check('scram1@example.com');
	like($by->{'submission store'}{not}{'SCRAM-SHA-256'}, qr/no verifier/,
	    'no verifier of that hash');
	($status, $by) = check('many1');
	is_deeply($by->{'submission store'}{mechanisms}, [qw(PLAIN LOGIN)],
	    'a foreign hash does for PLAIN and LOGIN');
	like($by->{'submission store'}{not}{'SCRAM-SHA-1'}, qr/waits/, 'alone');
	($status, $by) = check('off');
	is($status, 1, 'disabled');
	like($by->{'submission store'}{not}{PLAIN}, qr/disabled/, 'which is why');
	($status, $by, $all) = check('root@unix.example');
	is($status, 0, 'a realm of PAM');
	is_deeply($by->{'submission pam'}{mechanisms}, [qw(PLAIN LOGIN)], 'by PAM');
	is($by->{'submissions pam'}, undef, 'where a listener has it');
	($status, $by) = check('nobody@example.com');
	is($status, 1, 'nobody');
	like($by->{'submission pam'}{not}{PLAIN}, qr/not assigned/, 'not PAM\'s realm');
	($status, my $out) = $instance->tool('user', 'check', 'many1');
	like($out, qr/^submission: store: PLAIN LOGIN\n    not by SCRAM.*waits/m,
	    'in words');
	is(($instance->tool('user', 'check', 'not a name'))[0], 1, 'no name');
	# What forbids old ways, and what a device may not since its owner may not.
	my $limit = sub {
		is(($instance->tool('user', 'limit', 'alice', @_))[0], 0, "limit @_");
	};
	is(($instance->tool('device', 'enrol', 'alice', 'phone'))[0], 0, 'a device');
	$limit->('--legacy-until', '2026-01-31');
	($status, $by) = check('alice');
	is_deeply([grep { !/PLUS/ } @{ $by->{'submission store'}{mechanisms} }],
	    [qw(SCRAM-SHA-256 PLAIN)], 'old ways are over');
	is($by->{'submission store'}{not}{LOGIN},
	    'an old way, not taken after 2026-01-31', 'since when is said');
	($status, $by) = check('alice+phone');
	is($by->{'submission store'}{not}{LOGIN},
	    'its owner: an old way, not taken after 2026-01-31', 'for her device, too');
	$limit->('--legacy-until', 'default', '--until', '2026-01-31');
	($status, $by) = check('alice+phone');
	is($status, 1, 'whose owner\'s time is over');
	is($by->{'submission store'}{not}{PLAIN}, 'its owner: its time is over', 'which is why');
	$limit->('--until', 'none');
	is((check('alice+phone'))[0], 0, 'and is not, any longer');
	is(($instance->tool('device', 'revoke', 'alice', 'phone'))[0], 0, 'lost');
	($status, $by) = check('alice+phone');
	like($by->{'submission store'}{not}{PLAIN}, qr/no such name/, 'nobody');
};

# A tool that has the file until what it reads has its end, which is when $over
# says so.  Looked at from outside: a second tool, asked whether the file is
# taken, would have it itself for a moment.
sub holder {
	my ($over) = @_;
	my $held = "$scratch/held";
	unlink $held;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDERR, '>', '/dev/null';
		open STDOUT, '>&', \*STDERR;
		my $tool = open my $to, '|-', program('sallyport'), '-c',
		    $instance->{conf}, 'user', 'import', '-' or POSIX::_exit(1);
		wait_until {
			grep { (readlink // '') =~ m{/users\.kch\z} } glob "/proc/$tool/fd/*"
		} and spew($held, '');
		wait_until { $over->() } 30;
		close $to;
		POSIX::_exit(0);
	}
	ok(wait_until { -e $held }, 'a tool has it');
	return $pid;
}

subtest 'a start while a tool has the file' => sub {
	$instance->stop_ok;
	my $holder = holder(sub { -e "$scratch/enough" });
	like($instance->refused // '', qr/process \d+ has it open, after 5 s still/,
	    'is refused after a while');
	spew("$scratch/enough", '');
	waitpid $holder, 0;
	$holder = holder(sub { slurp($instance->{log}) =~ /has it open" waiting=5s/ });
	ok($instance->start(may_fail => 1), 'and waits for a tool that ends');
	waitpid $holder, 0;
	like(plain('alice', 'correct horse'), qr/^235 /, 'whose users are there');
};

$instance->stop_ok;
done_testing;
