#!/usr/bin/perl
# "sallyport policy import": realistic tables of Postfix and Sendmail, line by
# line; what comes out compiles, and nothing is weaker than it was.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my @exception = ('--until', '2099-12-31', '--reason', 'until "they" move');
Sallyport::Certs->authority($scratch, 'private');

sub import_text {
	my ($kind, $text, @options) = @_;
	return run({ in => $text }, program('sallyport'), 'policy', 'import',
		$kind, '-', @options);
}

# An example with the folder filled in.
sub data {
	my ($name) = @_;
	return slurp("t/data/import/$name") =~ s/\@DIR\@/$scratch/gr;
}

# Output as {line of the source => all that is said of it}.
sub blocks {
	my ($out) = @_;
	my (%blocks, $line);
	for (split /^/, $out) {
		$line = $1 if /^# stdin:(\d+): /;
		$blocks{$line} .= $_ if defined $line;
	}
	return \%blocks;
}

sub rows {
	return grep { !/^#/ } split /\n/, $_[0];
}

sub compiles {
	my ($out, $name) = @_;
	spew("$scratch/sites", $out);
	my ($status, undef, $err) = run({}, program('sallyport'), '-c',
		"$scratch/none.conf", 'policy', 'check', "$scratch/sites");
	is($status, 0, "$name: the output compiles") or diag($err);
}

for (['postfix', 'postfix'], ['sendmail', 'access']) {
	my ($kind, $file) = @$_;
	my $text = data($file);
	my ($status, $out, $err) = import_text($kind, $text, @exception);
	is($status, 1, "$kind: some of it cannot be expressed");
	my ($got, $wanted) = (blocks($out), blocks(data("$file.expected")));
	my $number = 0;
	for my $line (split /\n/, $text) {
		$number++;
		next if $line =~ /^\s*$/;
		is($got->{$number}, $wanted->{$number}, "$kind:$number: $line")
		    if $got->{$number} || $wanted->{$number};
		ok($got->{$number} || $line =~ /^\s/,
		    "$kind:$number: appears");
	}
	is_deeply([sort keys %$got], [sort keys %$wanted],
	    "$kind: nothing else");
	compiles($out, $kind);
	unlike($out . $err, qr/tops3cret|dG9wczNjcmV0/,
	    "$kind: no password");
}

# Each: what the table asks, then what the row has to have, all of it.
sub is_row {
	my ($kind, $line, $row, $status, $says) = @_;
	my ($got, $out, $err) = import_text($kind, "$line\n", @exception);
	is(join('|', rows($out)), $row, "$line: the row");
	is($got, $status // 0, "$line: exit status") or diag($out, $err);
	like($out, qr/^#   $says/m, "$line: says so") if $says;
	compiles($out, $line) if $row ne '';
}

my $closed = 'lock match=not-imported.invalid';
my $digest = 'ab' x 32;
is_row('postfix', @$_) for
    ['h.example verify match=nexthop', 'h.example out lock match=h.example'],
    ['h.example secure match=dot-nexthop', 'h.example out lock match=.h.example'],
    ['.h.example verify', '.h.example out lock', 0, 'stricter now: '],
    ['.h.example secure match=x.example:nexthop',
	'.h.example out lock match=x.example', 0, 'stricter now: '],
    ['.h.example secure match=dot-nexthop', ".h.example out $closed", 1,
	'cannot be expressed: '],
    ["h.example fingerprint match=$digest|" . uc $digest,
	"h.example out lock chain=no pin=sha256:$digest pin=sha256:" . uc $digest,
	0, 'stricter now: '],
    ['h.example fingerprint', "h.example out $closed", 1,
	'cannot be expressed: '],
    ['h.example fingerprint match=' . 'ab' x 20, "h.example out $closed", 1,
	'cannot be expressed: a digest of SHA-1'],
    ['[2001:db8::1] dane-only', "2001:db8::1 out $closed", 1],
    ['[2001:db8::1]:2525 encrypt', '[2001:db8::1]:2525 out encrypt'],
    ['[ipv6:2001:db8::1] verify', '2001:db8::1 out lock match=2001:db8::1', 0],
    ['.h.example:25 secure', '', 0, 'was never enforced: '],
    ['* secure', '', 0, 'was never enforced: '],
    ['[::1]:10025 none', '[::1]:10025 out none'],
    ['192.0.2.1 none', '', 1, 'cannot be expressed: '],
    ['h.example none protocols=TLSv1.2', "h.example out $closed", 1],
    ['h.example encrypt protocols=!TLSv1.3', 'h.example out encrypt min=tls1.2', 1,
	'cannot be expressed: '],
    ['h.example encrypt protocols=TLSv1', "h.example out $closed", 1,
	'cannot be expressed: neither TLS 1\.2 nor 1\.3 in "TLSv1"; the site'],
    ['h.example encrypt protocols=>=TLSv1', 'h.example out encrypt min=tls1.2', 0,
	'stricter now: '],
    ['h.example encrypt protocols=TLSv1.4', "h.example out $closed", 1],
    ['h.example verify unknown=1', "h.example out $closed", 1],
    ['h.example', "h.example out $closed", 1],
    ['h.example verify tafile=relative', "h.example out $closed", 1],
    ['h.example:99999 verify', '', 1, 'cannot be expressed: port'],
    ['H.Example. ENCRYPT', 'h.example out encrypt'];
is_row('sendmail', @$_) for
    ['TLS_Srv:h.example VERIFY+CN',
	'h.example out lock|.h.example out lock', 0, 'stricter now: '],
    ['tls_srv:H.example verify:128',
	'h.example out verify bits=128|.h.example out verify bits=128', 0],
    ['TLS_Srv:[192.0.2.9] VERIFY', '192.0.2.9 out verify', 1],
    ['TLS_Srv:192.0.2.9 VERIFY+CN', "192.0.2.9 out $closed", 1],
    ['TLS_Srv: VERIFY+CN', "* out $closed", 1, 'cannot be expressed: '],
    ['TLS_Srv:h.example ENCR:1000',
	"h.example out $closed|.h.example out $closed", 1],
    ['TLS_Srv:h.example ENCR:x',
	"h.example out $closed|.h.example out $closed", 1],
    ['TLS_Srv:h.example ENCR:30',
	'h.example out encrypt bits=40|.h.example out encrypt bits=40'],
    ['TLS_Srv:h.example VERIFY+CN:a.example++CN:b.example',
	"h.example out $closed|.h.example out $closed", 1],
    ['TLS_Srv:h.example VERIFY+CITag:Nobody',
	"h.example out $closed|.h.example out $closed", 1],
    ['TLS_Srv:h.example VERIFY+CX:x',
	"h.example out $closed|.h.example out $closed", 1],
    ['TLS_Srv:h.example VERIFYY+CN', '', 0, 'was never enforced: '],
    ['TLS_Srv:h.example', '', 0, 'was never enforced: '],
    ['TLS_Clt:10 PERM+ENCR:128', '10.0.0.0/8 in encrypt bits=128'],
    ['TLS_Clt: VERIFY', '* in verify fail=temporary'],
    ['Try_TLS:127.0.0.1 NO', '127.0.0.1 out none'],
    ['Try_TLS:h.example NO', '', 1, 'cannot be expressed: '],
    ['AuthInfo:h.example "U:x" "I:y" "P:tops3cret"', '', 1,
	'cannot be expressed: '],
    ['AuthInfo: "I:x" "P:tops3cret"', '* out encrypt auth=default', 0,
	'stricter now: '],
    ['AuthInfo:h.example "U:ext" "M:EXTERNAL"', 'h.example out encrypt '
	. 'auth=h.example|.h.example out encrypt auth=h.example'];

subtest 'exceptions need a date and a reason' => sub {
	my $may = "h.example may\n";
	for ([], ['--until', '2099-12-31'], ['--reason', 'x']) {
		my ($status, $out, $err) = import_text('postfix', $may, @$_);
		is($status, 1, "@$_: exit status");
		is(join('|', rows($out)), '', 'no row');
		like($out, qr/^#h\.example:25 out may/m, 'but as a comment');
		like($err, qr/^stdin:1: .*--until.*--reason/, 'what to give');
	}
	my ($status, $out) = import_text('postfix', $may, @exception);
	is($status, 0, 'with both: exit status');
	is(join('|', rows($out)), 'h.example:25 out may until=2099-12-31 '
	    . 'reason="until \"they\" move"', 'the row');
	compiles($out, 'exception');
	($status, $out) = import_text('postfix', ".h.example may\n", @exception);
	is("$status " . join('|', rows($out)), '1 ', 'none for a suffix: it was for port 25 alone');
	for (['--until', '2020-01-01'], ['--until', 'soon'], ['--reason', ''],
		['--reason', "a\nb"]) {
		($status) = import_text('postfix', $may, @exception, @$_);
		is($status, 2, join(' ', @$_) . ': wrong usage');
	}
};

subtest 'the same site twice: the stricter one' => sub {
	for (["[h.example] encrypt\nh.example verify", 'match=h.example'],
		["[h.example] verify\nh.example encrypt", 'match=h.example'],
		["h.example may\n[h.example] encrypt", 'out encrypt'],
		["h.example encrypt protocols=TLSv1.3\n[h.example] verify",
		    'not-imported'],
		["h.example verify match=a.example\n[h.example] verify",
		    'not-imported']) {
		my ($text, $row) = @$_;
		my (undef, $out) = import_text('postfix', "$text\n", @exception);
		my @rows = rows($out);
		is(scalar @rows, 1, 'one row');
		like($rows[0], qr/\Q$row\E/, $text =~ s/\n/, /r);
		compiles($out, 'twice');
	}
	my (undef, $out) = import_text('sendmail',
	    "TLS_Srv:h.example ENCR:128\nTLS_Srv:h.example PERM+VERIFY:256\n");
	is(join('|', rows($out)), join('|', map {
		"${_}h.example out verify bits=256 fail=permanent" } '', '.'),
	    'in an access map, too');
};

subtest 'a login takes on what a wider demand says' => sub {
	my (undef, $out) = import_text('sendmail', "TLS_Srv:example VERIFY\n"
	    . "AuthInfo:a.example \"U:u\" \"P:tops3cret\"\n"
	    . "TLS_Srv:b.a.example ENCR:128\n");
	like($out, qr/^a\.example out verify auth=a\.example$/m, 'the level');
	like($out, qr/^b\.a\.example out encrypt bits=128 auth=a\.example$/m,
	    'and a narrower demand has the login');
	compiles($out, 'logins');
};

subtest 'hostile input' => sub {
	my $long = 'x' x 1_000_000;
	my %bad = (
		'control character' => ["h.example secure\001\nz.example encrypt\n", 1],
		'NUL' => ["h.example secure\0\nz.example encrypt\n", 1],
		'1 MB line' => ["h.example secure match=$long\nz.example encrypt\n", 1],
		'1 MB key' => ["$long\nz.example encrypt\n", 1],
		'broken continuation' =>
		    ["h.example secure\n match=\001\nz.example encrypt\n", 2],
		'long continuation' => ["h.example secure"
		    . "\n match=h.example" x 1000 . "\nz.example encrypt\n", 1],
		'continuation of nothing' => [" secure\nz.example encrypt\n", 1],
	);
	for my $name (sort keys %bad) {
		my ($text, $line) = @{ $bad{$name} };
		my ($status, $out, $err) = import_text('postfix', $text);
		is($status, 1, "$name: exit status");
		like($err, qr/^stdin:$line: \S.{10,}$/m, 'file and line');
		cmp_ok(length $err, '<', 1000, 'not at length');
		like($out, qr/^z\.example out encrypt$/m, 'the others come');
		unlike($out, qr/^h\.example out (?!lock match=not-imported)/m,
		    'nothing weaker of the broken one');
		like($out, qr/^h\.example out lock match=not-imported/m,
		    'which is closed') if $text =~ /^h/;
		compiles($out, $name);
	}
	my ($status, $out, $err) = import_text('sendmail',
	    "TLS_Srv:h.example VERIFY\001\nAuthInfo:h.example \"P:tops3cret\001\n"
	    . "authinfos:x \"P:tops3cret\"\n tops3cret\nTLS_Srv VERIFY\n");
	is($status, 1, 'access map: exit status');
	like($out, qr/^h\.example out lock match=not-imported/m, 'closed');
	like($err, qr/^stdin:1: /m, 'file and line');
	compiles($out, 'access map');
	($status, $out, $err) = import_text('sendmail', join "\n",
		'TLS_Srv:a.example "U:me" "P:tops3cret"',
		'Try_TLS:a.example "P=tops3cret"', 'AuthInfo:b.example "U:me"',
		"\t\"P:tops3cret and", "\ttops3cret\"", ' tops3cret',
		'AuthInfo:"P:tops3cret" "U:me"', 'AuthInfo:c.example tops3cret');
	unlike($out . $err, qr/tops3cret/,
	    'no password, wherever it was put by mistake');
	like($out, qr/^# stdin:3: AuthInfo:b\.example \(not shown\)$/m,
	    'of a login, whom it is for');
	($status, undef, $err) = run({}, program('sallyport'), 'policy',
		'import', 'postfix', "$scratch/nowhere");
	is($status, 1, 'no such file');
	like($err, qr/nowhere/, 'is named');
	for (['exim', '-'], ['postfix'], ['postfix', '-', 'x'],
		['postfix', '-', '--frob']) {
		($status) = run({}, program('sallyport'), 'policy', 'import',
			@$_);
		is($status, 2, "@$_: wrong usage");
	}
};

done_testing;
