#!/usr/bin/perl
# "cert acme": certificates obtained and renewed by certbot, lego and uacme
# from a real ACME server; whatever goes wrong, the old ones stay.
use strict;
use warnings;
use lib 't/lib';
use File::Path qw(remove_tree);
use IO::Socket::IP;
use Sallyport::Acme;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my @missing = Sallyport::Acme->missing;
plan(skip_all => "not installed: @missing") if @missing;

my $scratch = scratch();
my $acme = Sallyport::Acme->new("$scratch/acme", blocked => ['blocked.example']);
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";
my $hook = $acme->dns_hook("$scratch/dns");
my @from = ('--directory', $acme->{directory}, '--directory-ca', $acme->{ca});
my @http = ('--http', "127.0.0.1:$acme->{http}");
my @mail = ('--email', 'admin@example.org');

sub acme {
	my $how = ref $_[0] ? shift : {};
	return $instance->tool({ timeout => 240, %$how }, 'cert', 'acme', @_);
}

sub acme_ok {
	my ($status, $out, $err) = acme(@_);
	is($status, 0, join(' ', 'acme', @_) =~ s/\n/ /gr) or diag $out . $err;
	return $out;
}

# All files of a folder but what belongs to the clients.
sub state_of {
	my ($folder) = @_;
	return { map { ($_ => slurp($_)) } grep { -f } glob "\Q$folder\E/*" };
}

sub x509 {
	my ($file, @what) = @_;
	my ($status, $out) = run({}, 'openssl', 'x509', '-in', $file, '-noout', @what);
	return $out;
}

sub serial_shown {
	my $client = $instance->client(ca => undef) or return 'none';
	return 'serial=' . Net::SSLeay::P_ASN1_INTEGER_get_hex(
		Net::SSLeay::X509_get_serialNumber($client->{sock}->peer_certificate))
	    . "\n";
}

# The certificate of PREFIX is for the key beside it, and these names.
sub good_ok {
	my ($prefix, @names) = @_;
	my ($status, $of_key) = run({}, 'openssl', 'pkey', '-in', "$prefix.key", '-pubout');
	is(x509("$prefix.pem", '-pubkey'), $of_key, 'its key is beside it');
	my $text = x509("$prefix.pem", '-ext', 'subjectAltName');
	like($text, qr/DNS:\Q$_\E(?:,|\n)/, "it is for $_") for @names;
	is((stat "$prefix.key")[2] & 07777, 0600, 'the key is nobody else\'s');
	is((stat "$prefix.acme")[2] & 07777, 0600, 'nor what to do next time');
	my ($folder) = $prefix =~ m{(.*)/}s;
	is((stat "$folder/acme")[2] & 07777, 0700, 'nor the accounts');
	is_deeply([glob "\Q$folder\E/acme/run/*"], [], 'nothing is left of the run');
	my ($secret) = slurp("$prefix.key") =~ /-----\n(.{40})/s;
	my ($found, $out) = run({}, 'grep', '-rlF', '--', $secret =~ /([^\n]{30})/,
		"$folder/acme");
	is($out, '', 'no client has seen the key');
}

subtest 'wrong usage' => sub {
	for ([qw(a.example.org --out x)], [qw(a.example.org), @http], ['--out', 'x', @http],
	    ['a.example.org', '--out', 'x', @http, '--webroot', '/'],
	    [qw(a.example.org --out x --http 80 --due 3)], [qw(--renew --out x)],
	    ['--renew', @http], [qw(--renew --email a@example.org)],
	    [qw(--renew --timeout 0)], [qw(--renew --timeout 3601)],
	    [qw(--renew --role server)]) {
		is((acme(@$_))[0], 2, "acme @$_");
	}
};

subtest 'what cannot be asked for' => sub {
	my $folder = "$scratch/refused";
	mkdir $folder;
	spew("$scratch/plain", '');
	spew("$scratch/open", "#!/bin/sh\n");
	chmod 0777, "$scratch/open";
	my @to = ('--out', "$folder/x");
	for ([qr/expected a DNS name/, '192.0.2.1', @http],
	    [qr/expected a DNS name/, 'a@example.org', @http],
	    [qr/expected a DNS name/, 'a b.example.org', @http],
	    [qr/expected a DNS name/, '$(touch x).example.org', @http],
	    [qr/expected a DNS name/, "a.example.org\nb", @http],
	    [qr/expected a DNS name/, '', @http],
	    [qr/\*\.example\.org: only --dns-hook/, '*.example.org', @http],
	    [qr/65 names/, map({ "a$_.example.org" } 1 .. 65), @http],
	    [qr/--directory http:.*expected https/, 'a.example.org', @http,
		'--directory', 'http://127.0.0.1/'],
	    [qr/--directory .*expected https/, 'a.example.org', @http,
		'--directory', 'https://127.0.0.1/a b'],
	    [qr/--directory-ca .*expected a file/, 'a.example.org', @http,
		'--directory-ca', "$scratch/none"],
	    [qr/--email -x\@example/, 'a.example.org', @http, '--email', '-x@example.org'],
	    [qr/--email nobody: expected a mailbox/, 'a.example.org', @http,
		'--email', 'nobody'],
	    [qr/--client curl: expected/, 'a.example.org', @http, '--client', 'curl'],
	    [qr/--http 0: expected/, 'a.example.org', '--http', 0],
	    [qr/--http host:80: expected an address/, 'a.example.org', '--http', 'host:80'],
	    [qr/--webroot .*expected a folder/, 'a.example.org', '--webroot',
		"$scratch/plain"],
	    [qr/--dns-hook .*expected a program/, 'a.example.org', '--dns-hook',
		"$scratch/plain"],
	    [qr/--dns-hook .*mode 0777, everybody/, 'a.example.org', '--dns-hook',
		"$scratch/open"]) {
		my ($text, @arguments) = @$_;
		my ($status, $out, $err) = acme(@to, @arguments);
		is($status, 1, join(' ', 'refused: acme', map { substr $_, 0, 40 } @arguments)
		    =~ s/\n/ /gr);
		like($err, $text, 'it says why');
	}
	is_deeply([glob "$folder/*"], [], 'nothing is made');
	for ([qr/uacme has no web server/, 'uacme', @http],
	    [qr/lego needs --email/, 'lego', @http]) {
		my ($text, $client, @arguments) = @$_;
		my ($status, $out, $err) = acme('a.example.org', @to, @arguments,
			'--client', $client);
		is($status, 1, "what $client cannot do");
		like($err, $text, 'is said');
	}
	my ($status, $out, $err) = acme({ env => { PATH => $scratch } },
		'a.example.org', @to, @http, @mail);
	is($status, 1, 'without a client');
	like($err, qr/lego is not installed; certbot is not installed/, 'it says so');
	ok(!-e "$folder/x.key", 'a key that was made is gone again');
	is_deeply([grep { -f } glob "$folder/*"], [], 'and all else');
};

subtest 'for a server that runs' => sub {
	my $key = slurp("$tls/server.key");
	my $old = $instance->authenticated;
	my $out = acme_ok('mail.example.org', '--out', "$tls/server", @http, @from, @mail);
	like($out, qr/by lego$/m, 'lego can do that');
	like($out, qr/^the server has taken it$/m, 'the server takes it');
	good_ok("$tls/server", 'mail.example.org');
	is(slurp("$tls/server.key"), $key, 'the key is the one that was there');
	is(scalar(() = slurp("$tls/server.pem") =~ /BEGIN CERT/g), 2, 'the issuer is there');
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'the server shows it');
	like($old->command('NOOP'), qr/^250/, 'who was connected stays so');
};

# What renewal finds instead of the present one: of another authority, for the
# key that is there, with so many days behind it and before it.
sub age {
	my ($behind, $left) = @_;
	my @ca = ("$scratch/age.ca.pem", "$scratch/age.ca.key");
	my @day = map { POSIX::strftime('%Y%m%d%H%M%SZ', gmtime(time + 86400 * $_)) }
	    -$behind, $left;
	my $authority = $instance->{authority};
	PEM_key($authority, $ca[1]);
	spew("$scratch/age.ext", "subjectAltName=DNS:mail.example.org\n"
	    . "extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n");
	run({}, 'openssl', 'req', '-new', '-key', "$tls/server.key", '-subj', '/CN=age',
		'-out', "$scratch/age.csr");
	mkdir "$scratch/age";
	spew("$scratch/age/$_", '') for qw(index index.attr);
	spew("$scratch/age/conf", "[ca]\ndefault_ca=a\n[a]\ndatabase=$scratch/age/index\n"
	    . "new_certs_dir=$scratch/age\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n"
	    . "[p]\ncommonName=supplied\n");
	my ($status, $out, $err) = run({}, 'openssl', 'ca', '-batch', '-config',
		"$scratch/age/conf", '-cert', $authority->file, '-keyfile', $ca[1],
		'-in', "$scratch/age.csr", '-startdate', $day[0], '-enddate', $day[1],
		'-extfile', "$scratch/age.ext", '-notext', '-out', "$scratch/age.pem");
	die "openssl ca: $err" if $status;
	spew("$tls/server.pem", slurp("$scratch/age.pem"));
}

sub PEM_key {
	my ($authority, $file) = @_;
	IO::Socket::SSL::Utils::PEM_key2file($authority->{key}, $file);
}

subtest 'renewed when due' => sub {
	my $before = state_of($tls);
	like(acme_ok('--renew'), qr/server\.pem: good until 20/, 'fresh: not yet');
	is_deeply(state_of($tls), $before, 'and nothing is done');
	like(($instance->tool('cert', 'renew', '--due', 1000))[1],
	    qr/server\.pem: left to cert acme --renew/, 'cert renew knows');
	is(slurp("$tls/server.pem"), $before->{"$tls/server.pem"}, 'and leaves it');
	my $key = slurp("$tls/server.key");
	age(59, 31);
	like(acme_ok('--renew'), qr/good until/, 'more than a third of it is left');
	like(acme_ok('--renew', '--due', 20), qr/good until/, 'more than 20 days');
	age(61, 29);
	my $out = acme_ok('--renew', 'server');
	like($out, qr/server\.pem: renewed until 20/, 'less than a third');
	good_ok("$tls/server", 'mail.example.org');
	is(slurp("$tls/server.key"), $key, 'with its key');
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'the server shows it');
	# The chain is renamed first, then its key: in between a crash leaves both.
	spew("$tls/server.key.next", slurp("$tls/server.key"));
	chmod 0600, "$tls/server.key.next";
	run({}, 'openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-out', "$tls/server.key");
	like(acme_ok('--renew'), qr/good until/, 'half in place');
	is(slurp("$tls/server.key"), $key, 'is put right');
	ok(!-e "$tls/server.key.next", 'really');
	run({}, 'openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt',
		'ec_paramgen_curve:P-256', '-out', "$tls/server.key");
	like(acme_ok('--renew'), qr/renewed until/, 'one for another key is due');
	good_ok("$tls/server", 'mail.example.org');
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'the server shows it');
	spew("$tls/server.pem", 'torn');
	like(acme_ok('--renew'), qr/renewed until/, 'one that cannot be read is due');
	my ($status, $text, $err) = acme('--renew', 'nobody');
	is($status, 1, 'one that is not in the configuration');
	like($err, qr/nobody: no such certificate/, 'is named');
	($status, $text, $err) = acme('--renew', 'client');
	is($status, 1, 'one that came from elsewhere');
	like($err, qr/client: not obtained by cert acme/, 'is named, too');
};

subtest 'with a key that was announced' => sub {
	my ($status, $out) = $instance->tool('cert', 'tlsa', 'server', '--next');
	my $next = slurp("$tls/server.key.next");
	acme_ok('--renew', '--due', 3650, '--new-key');
	is(slurp("$tls/server.key"), $next, 'it becomes the key');
	ok(!-e "$tls/server.key.next", 'and is not the next any more');
	good_ok("$tls/server", 'mail.example.org');
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'the server shows it');
};

# Each with a name that a shell would take to pieces.
my $odd = "$scratch/it's \$(touch odd); `touch odd` \"x\"\n -o";
mkdir $odd or die "$odd: $!";
my @odd_hook = ('--dns-hook', $acme->dns_hook("$odd/-dns hook"));

subtest 'every client and way' => sub {
	for my $client (qw(lego certbot)) {
		my $prefix = "$odd/-$client";
		acme_ok('a.example.org', '*.example.org', '--out', $prefix, @odd_hook,
			@from, @mail, '--client', $client);
		good_ok($prefix, 'a.example.org', '*.example.org');
		is(() = $acme->hook_log =~ /^present _acme-challenge\.\S+\. \S{43}$/mg,
		    $client eq 'lego' ? 2 : 4, 'both names were shown');
		is(() = $acme->hook_log =~ /^cleanup _acme-challenge\.\S+\. \S{43}$/mg,
		    $client eq 'lego' ? 2 : 4, 'and taken away');
	}
	acme_ok('a.example.org', '--out', "$odd/http", @http, @from, '--client', 'certbot');
	good_ok("$odd/http", 'a.example.org');
	my $root = $acme->webroot;
	symlink $root, "$odd/w w";
	for my $client (qw(lego certbot)) {
		remove_tree("$root/.well-known");
		acme_ok('a.example.org', 'b.example.org', '--out', "$odd/web$client",
			'--webroot', "$odd/w w", @from, @mail, '--client', $client,
			'--algorithm', 'rsa');
		good_ok("$odd/web$client", 'a.example.org', 'b.example.org');
		like(x509("$odd/web$client.pem", '-text'), qr/Public-Key: \(3072 bit\)/,
		    'a key of the kind asked for');
		# The web server's user is another one.
		my @mode = stat "$root/.well-known/acme-challenge";
		is(($mode[2] // 0) & 0055, 0055, 'others can read the challenges')
		    if $client eq 'lego'; # certbot leaves none
	}
	ok(!glob("$scratch/odd*") && !-e 'odd' && !-e "$odd/odd", 'no shell was asked');
	is_deeply([grep { !/\.(?:pem|key|acme)$/ } glob "\Q$odd\E/*"],
	    [map { "$odd/$_" } '-dns hook', 'acme', 'w w'], 'nothing else is left');
};

subtest 'uacme' => sub {
	my $root = $acme->webroot;
	my $uacme = sub {
		my @command = $acme->trusting(program('sallyport'), '-c', $instance->{conf},
			'cert', 'acme', 'a.example.org', '--directory', $acme->{directory}, @_)
		    or return;
		my ($status, $out, $err) = run({ timeout => 240 }, @command);
		is($status, 0, "uacme @_" =~ s/\n/ /gr) or diag $out . $err;
		return $out;
	};
	my $out = $uacme->('--out', "$odd/u1", '--webroot', $root)
	    // plan(skip_all => 'no mount namespaces: uacme cannot trust the server');
	like($out, qr/by uacme$/m, 'it is preferred where it can');
	good_ok("$odd/u1", 'a.example.org');
	is_deeply([glob "$root/.well-known/acme-challenge/*"], [], 'no challenge is left');
	my @accounts = glob "\Q$odd\E/acme/uacme-*.account";
	is(@accounts, 1, 'it has an account');
	$uacme->('--out', "$odd/u2", '--webroot', $root, '--client', 'uacme');
	$uacme->('*.example.org', '--out', "$odd/u3", @odd_hook, @mail);
	good_ok("$odd/u3", 'a.example.org', '*.example.org');
	$acme->stop;
	$acme->start;
	my ($status) = run({ timeout => 240 }, $acme->trusting(program('sallyport'), 'cert',
		'acme', 'a.example.org', '--directory', $acme->{directory}, '--out',
		"$odd/u1", '--webroot', $root));
	is($status, 1, 'a server that has forgotten the account');
	$uacme->('--out', "$odd/u1", '--webroot', $root);
};

$acme->webroot_end;

# --- what goes wrong ---

my ($state, $shown);
sub unchanged_ok {
	is_deeply(state_of($tls), $state, 'nothing is changed');
	is(serial_shown(), $shown, 'the server goes on');
	is_deeply([glob "$tls/acme/run/*"], [], 'nothing is left of the run');
}

sub fails {
	my ($what, $text, @arguments) = @_;
	my ($status, $out, $err) = acme(@arguments);
	is($status, 1, "$what: exit status 1") or diag $out;
	like($err, $text, 'it says why');
	unlike($err, qr/[^\x20-\x7e\n]/, 'in printable words');
	unchanged_ok();
}

# A directory that never answers.
my $mute = IO::Socket::IP->new(Listen => 5, LocalHost => '127.0.0.1', LocalPort => 0)
    or die "listen: $@";
my @mute = ('--directory', 'https://127.0.0.1:' . $mute->sockport . '/dir');

subtest 'failures' => sub {
	$state = state_of($tls);
	$shown = serial_shown();
	my @to = ('--out', "$tls/server", @from, @mail);
	my @elsewhere = ('--http', '127.0.0.1:' . free_port());
	for my $client (qw(lego certbot)) {
		fails("$client: a challenge nobody answers",
			qr/$client: exit status 1, all it said is in \S+acme\/log/,
			'mail.example.org', @to, @elsewhere, '--client', $client);
	}
	like(slurp("$tls/acme/log"), qr/Challenge failed|unauthorized|connection/i,
	    'which is there');
	is((stat "$tls/acme/log")[2] & 07777, 0600, 'for us alone');
	fails('a name the authority refuses', qr/blocked\.example/,
		'mail.blocked.example', @to, @http);
	fails('an authority we do not know', qr/lego: .*certificate/, 'mail.example.org',
		'--out', "$tls/server", '--directory', $acme->{directory}, @http, @mail,
		'--client', 'lego');
	spew("$scratch/no", "#!/bin/sh\nexit 1\n");
	chmod 0755, "$scratch/no";
	for my $client (qw(lego certbot)) {
		fails("$client: a hook that fails", qr/$client: exit status 1/,
			'mail.example.org', @to, '--dns-hook', "$scratch/no",
			'--client', $client);
	}
	my $client = slurp("$tls/client.key");
	spew("$tls/client.key", 'torn');
	$state = state_of($tls);
	my $orders = () = slurp("$scratch/acme/pebble.log") =~ /order-plz/g;
	fails('a configuration that is refused', qr/refuses what is there already: .*client/,
		'--renew', '--due', 3650);
	is(() = slurp("$scratch/acme/pebble.log") =~ /order-plz/g, $orders,
	    'nothing was asked for');
	spew("$tls/client.key", $client);
	$state = state_of($tls);
	$acme->stop;
	fails('a server that is away', qr/lego: exit status 1/, '--renew', '--due', 3650);
	fails('one that does not answer', qr/not done in 2 s/, 'mail.example.org',
		'--out', "$tls/server", @mute, @http, @mail, '--timeout', 2);
	$acme->start;
	fails('one that has forgotten us', qr/accountDoesNotExist/, '--renew', '--due', 3650);
	# What the manual says to do then.
	remove_tree("$tls/acme");
};

# A client that is not what it seems; where a real one would have put it.
subtest 'answers that do not fit' => sub {
	my $bin = "$scratch/bin";
	mkdir $bin;
	my @good = $instance->{authority}->issue('theirs', dns => ['mail.example.org']);
	my @ca = ($instance->{authority}->file, "$scratch/age.ca.key");
	my $answers = sub {
		my ($what, $text, $script, @more) = @_;
		spew("$bin/certbot", "#!/bin/sh\n$script\n");
		chmod 0755, "$bin/certbot";
		my ($status, $out, $err) = acme({ env => { PATH => "$bin:$ENV{PATH}" } },
			'mail.example.org', '--out', "$tls/server", @http, @from, '--client',
			'certbot', @more);
		is($status, 1, "$what: refused");
		like($err, $text, 'it says why');
		unchanged_ok();
	};
	$answers->('nothing', qr/chain\.pem: No such file/, 'exit 0');
	$answers->('no certificate', qr/\S/, 'echo hello >chain.pem');
	$answers->('an empty file', qr/\S/, ': >chain.pem');
	$answers->('more than a certificate can be', qr/expected at most/,
		'head -c 2000000 /dev/zero >chain.pem');
	$answers->('no file', qr/\S/, 'mkdir chain.pem; rmdir chain.pem; ln -s /dev/zero chain.pem');
	$answers->('for another key', qr/none of the 1 certificates is for the key/,
		"cp '$good[0]' chain.pem");
	for (['another name', qr/not for mail\.example\.org/, 'DNS:www.example.org', 'serverAuth'],
	    ['clients', qr/lacks serverAuth/, 'DNS:mail.example.org', 'clientAuth']) {
		my ($what, $text, $name, $purpose) = @$_;
		$answers->("for $what", $text,
			"openssl x509 -req -in request.csr -CA '$ca[0]' -CAkey '$ca[1]' -CAcreateserial -days 9 "
			. "-force_pubkey \"\$(openssl req -in request.csr -pubkey -noout >k; echo k)\" "
			. "-extfile /dev/stdin -out chain.pem <<E\n"
			. "subjectAltName=$name\nextendedKeyUsage=$purpose\nE\nrm -f k");
	}
	# It may not sign a handshake, which only the server finds out.
	my $mute_one = sub {
		return "openssl x509 -req -in request.csr -CA '$ca[0]' -CAkey '$ca[1]' -CAcreateserial -days 9 "
		    . '-force_pubkey "$(openssl req -in request.csr -pubkey -noout >k; echo k)" '
		    . "-extfile /dev/stdin -out chain.pem <<E\n"
		    . "subjectAltName=DNS:mail.example.org\nextendedKeyUsage=serverAuth\n"
		    . "keyUsage=critical,keyAgreement\nE\nrm -f k";
	};
	$answers->('one that the server refuses', qr/the server refuses it, .*trial/,
		$mute_one->());
	$instance->tool('cert', 'tlsa', 'server', '--next');
	$state = state_of($tls);
	ok($state->{"$tls/server.key.next"}, 'a key is announced');
	$answers->('one for that key', qr/the server refuses it, .*trial/,
		$mute_one->(), '--new-key');
	unlink "$tls/server.key.next";
	$state = state_of($tls);
	$answers->('words for a terminal', qr/certbot: \?\[31mred/,
		'printf "\033[31mred\n"; exit 3');
	$answers->('a client that dies', qr/ended by signal 9/, 'kill -9 $$');
};

subtest 'not for others' => sub {
	chmod 0755, "$tls/acme";
	fails('a folder that others can read', qr/acme: expected a folder that is nobody else/,
		'--renew', '--due', 3650);
	chmod 0700, "$tls/acme";
	chmod 0622, "$tls/server.acme";
	fails('a program that others can name', qr/server\.acme: mode 0622/,
		'--renew', '--due', 3650);
	chmod 0600, "$tls/server.acme";
	my $good = slurp("$tls/server.acme");
	for (['', qr/acme:\d+: .*expected/], ['{', qr/acme:\d+: /], ['[]', qr/acme:1: /],
	    ['{"names": []}', qr/acme:1: .*directory/],
	    [$good =~ s/"names"/"name"/r, qr/acme:1: .*names/],
	    [$good =~ s/"names": \[[^]]*\]/"names": []/r, qr/0 names, expected/],
	    [$good =~ s/"names": \[[^]]*\]/"names": [7]/r, qr/expected up to 64 names/],
	    [$good =~ s/"http": /"webroot": /r, qr/--webroot .*expected a folder/],
	    [$good =~ s/"http": /"ftp": /r, qr/acme:1: .*ftp/],
	    [$good =~ s/\n\}/,\n "webroot": "\/"\n}/r, qr/one of http, webroot and dns-hook/],
	    [$good =~ s/https:/http:/r, qr/--directory http:/],
	    ["$good$good", qr/acme:\d+: /],
	    [$good =~ s/mail\.example\.org/-o/r, qr/"?-o"?: expected a DNS name/],
	    ['[' x 100000, qr/acme:1: /]) {
		my ($text, $why) = @$_;
		spew("$tls/server.acme", $text);
		$state = state_of($tls);
		my ($status, $out, $err) = acme('--renew', '--due', 3650);
		is($status, 1, 'not an order: ' . substr($text =~ s/\s+/ /gr, 0, 60));
		like($err, $why, 'it says why');
		is_deeply(state_of($tls), $state, 'nothing is changed');
	}
	spew("$tls/server.acme", $good);
	$state = state_of($tls);
};

sub start_background {
	my ($out, @arguments) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', $out;
		open STDERR, '>&', \*STDOUT;
		exec program('sallyport'), '-c', $instance->{conf}, 'cert', 'acme', @arguments
		    or POSIX::_exit(127);
	}
	return $pid;
}

# The processes whose folder is the run's.
sub clients_of_run {
	return grep { (readlink("$_/cwd") // '') eq "$tls/acme/run" } glob '/proc/[0-9]*';
}

subtest 'cut short' => sub {
	for my $signal (qw(TERM INT KILL)) {
		my $pid = start_background("$scratch/cut", 'mail.example.org', '--out',
			"$tls/server", @mute, @http, @mail);
		ok(wait_until { clients_of_run() }, "$signal while the client waits") or last;
		kill $signal, $pid;
		waitpid $pid, 0;
		is($? & 127, { TERM => 15, INT => 2, KILL => 9 }->{$signal}, 'ends it');
		ok(wait_until { !clients_of_run() }, 'and the client');
		is_deeply(state_of($tls), $state, 'nothing is changed');
	}
	like(acme_ok('--renew', '--due', 3650), qr/renewed until/, 'the next one goes well');
	is_deeply([glob "$tls/acme/run/*"], [], 'nothing is left of them');
};

subtest 'two at once' => sub {
	age(80, 10);
	my @pids = map { start_background("$scratch/two$_", '--renew') } 1, 2;
	for (@pids) {
		waitpid $_, 0;
		is($?, 0, 'both end well');
	}
	my $out = slurp("$scratch/two1") . slurp("$scratch/two2");
	is(() = $out =~ /renewed until/g, 1, 'one renews') or diag $out;
	is(() = $out =~ /good until/g, 1, 'the other finds it done');
	like($out, qr/waiting for another run/, 'after it has waited');
	good_ok("$tls/server", 'mail.example.org');
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'the server shows it');
};

# What the clients call: tokens come from the ACME server.
subtest 'the hook' => sub {
	my $hook = "$scratch/sallyport-acme-hook";
	symlink program('sallyport'), $hook;
	my $root = "$scratch/hook";
	mkdir $root;
	my $call = sub {
		my ($env, @words) = @_;
		return run({ env => $env }, $hook, @words);
	};
	my %web = (SALLYPORT_ACME_WEBROOT => $root);
	my $file = "$root/.well-known/acme-challenge/tok-en_1";
	my @begin = (qw(begin http-01 a.example.org tok-en_1 tok-en_1.print));
	is(($call->(\%web, @begin))[0], 0, 'puts a challenge there');
	is(slurp($file), 'tok-en_1.print', 'as it is');
	is((stat $file)[2] & 07777, 0644, 'for a web server of another user');
	is((stat "$root/.well-known")[2] & 07777, 0755, 'who finds it');
	symlink "$scratch/elsewhere", "$file-link";
	is(($call->(\%web, @begin[0 .. 2], 'tok-en_1-link', 'x.y'))[0], 0, 'once more');
	ok(!-e "$scratch/elsewhere", 'no link is followed');
	is(($call->(\%web, 'done', @begin[1 .. 4]))[0], 0, 'and away');
	ok(!-e $file, 'really');
	for ('../x', '', '.', 'a/b', "a\nb", 'a' x 200) {
		is(($call->(\%web, @begin[0 .. 2], $_, 'x.y'))[0], 1,
		    'no token: ' . substr(s/\n/ /r, 0, 20));
	}
	is(($call->(\%web, @begin[0 .. 3], "x.y\n<html>"))[0], 1, 'no authorization');
	is(($call->(\%web, 'begin', 'dns-01', @begin[2 .. 4]))[0], 1, 'not of this way');
	is(($call->({}, @begin))[0], 1, 'of no way');
	my %dns = (SALLYPORT_ACME_PROGRAM => '/bin/echo');
	my ($status, $out) = $call->(\%dns, qw(begin dns-01 a.example.org token Text-1));
	is($out, "present _acme-challenge.a.example.org. Text-1\n", 'a record');
	($status, $out) = $call->({ %dns, CERTBOT_DOMAIN => '*.example.org',
		CERTBOT_VALIDATION => 'Text-1' }, 'cleanup');
	is($out, "cleanup _acme-challenge.example.org. Text-1\n", 'one of certbot\'s');
	is(($call->(\%dns, qw(begin dns-01), $_->[0], 'token', $_->[1]))[0], 1,
	    "no record: $_->[0] $_->[1]") for ['a b', 'x'], ['-o', 'x'],
	    ['a.example.org', 'x y'], ['a.example.org', '$(x)'], ['a.example.org', ''];
	is(($call->({}, 'present'))[0], 1, 'not by certbot');
	is(($call->({}))[0], 2, 'by hand');
};

subtest 'without a server' => sub {
	$instance->stop_ok;
	like(acme_ok('--renew', '--due', 3650), qr/no server is running/,
	    'it is put in place all the same');
	$instance->start;
	is(serial_shown(), x509("$tls/server.pem", '-serial'), 'for when it starts');
	$instance->stop_ok;
};

done_testing;
