#!/usr/bin/perl
# What make install ships for certbot, lego and uacme, run by these against a
# real ACME server: a running server gets what they obtain.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Acme;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my @missing = Sallyport::Acme->missing;
plan(skip_all => "not installed: @missing") if @missing;

my $scratch = scratch();
my $acme = Sallyport::Acme->new("$scratch/acme");
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";
my $directory = $acme->{directory};

my $hooks = "$scratch/root/usr/share/sallyport/hooks";
{
	my @programs = map { program($_) } qw(sallyport sallyportd);
	my ($status, $out, $err) = run({}, 'make', '-s', map({ ('-o', $_) } @programs),
		'install', 'BUILD=' . build_folder(), "DESTDIR=$scratch/root",
		'PREFIX=/usr');
	is($status, 0, 'make install') or diag $out . $err;
	for my $name (qw(certbot lego uacme)) {
		ok(-x "$hooks/$name", "$name has a hook");
		my $text = slurp("$hooks/$name");
		like($text, qr{:-/usr/sbin/sallyport\}}, 'that knows the program');
		like($text, qr{[ "]/usr/share/sallyport/hooks/$name }, 'and where it is');
	}
	ok(-x "$scratch/root/usr/sbin/sallyport", 'which is there');
	my $units = "$scratch/root/usr/lib/systemd/system";
	like(slurp("$units/sallyport-renew.service"),
	    qr{/usr/sbin/sallyport -c \S+ cert renew --reload;.*/usr/sbin/sallyport -c \S+ cert acme --renew }s,
	    'a unit renews');
	like(slurp("$units/sallyport-renew.timer"), qr/^OnCalendar=/m, 'and has its timer');
}

my %hook = (SALLYPORT => program('sallyport'), SALLYPORT_CONF => $instance->{conf});

sub state_of {
	return { map { ($_ => slurp($_)) } glob "$tls/server.*" };
}

# Of who connects now.
sub serial_shown {
	my $client = $instance->client(ca => undef) or return 'none';
	return Net::SSLeay::P_ASN1_INTEGER_get_hex(
		Net::SSLeay::X509_get_serialNumber($client->{sock}->peer_certificate));
}

sub serial_of {
	my ($status, $out) = run({}, 'openssl', 'x509', '-in', $_[0], '-noout', '-serial');
	return $out =~ /serial=(\w+)/ ? $1 : '?';
}

# The server shows the certificate in that file, and its key is in place.
sub taken_ok {
	my ($file, $key) = @_;
	is(serial_of("$tls/server.pem"), serial_of($file), 'the certificate is in place');
	is(slurp("$tls/server.key"), slurp($key), 'and its key');
	is((stat "$tls/server.key")[2] & 07777, 0600, 'which is nobody else\'s');
	is((stat "$tls/server.pem")[2] & 07777, 0644, 'the chain is everybody\'s');
	is(scalar(() = slurp("$tls/server.pem") =~ /BEGIN CERT/g), 2, 'with its issuer');
	is(serial_shown(), serial_of($file), 'the server shows it');
	is_deeply([glob "$tls/server.*.*"], [], 'nothing else is left');
}

# certbot's settings and what it is to do.
sub certbot {
	my ($how, @what) = @_;
	return run({ timeout => 240, env => { %hook, $acme->environment, %$how } },
		'certbot', @what, '-n', '--agree-tos',
		'--register-unsafely-without-email', '--server', $directory,
		map({ ("--$_-dir", "$scratch/certbot/$_") } qw(config work logs)));
}
mkdir "$scratch/certbot";
my $live = "$scratch/certbot/config/live";
my @standalone = ('--standalone', '--http-01-port', $acme->{http},
	'--http-01-address', '127.0.0.1');

subtest 'certbot' => sub {
	my ($status, $out, $err) = certbot({}, 'certonly', @standalone,
		'-d', 'mail.example.org', '--deploy-hook', "$hooks/certbot $tls/server");
	is($status, 0, 'obtains') or diag $out . $err;
	taken_ok("$live/mail.example.org/fullchain.pem",
		"$live/mail.example.org/privkey.pem");
	my $before = slurp("$tls/server.key");
	my $old = $instance->authenticated(ca => undef);
	($status, $out, $err) = certbot({}, 'renew', '--force-renewal',
		'--no-random-sleep-on-renew');
	is($status, 0, 'renews') or diag $out . $err;
	isnt(slurp("$tls/server.key"), $before, 'with a new key');
	taken_ok("$live/mail.example.org/fullchain.pem",
		"$live/mail.example.org/privkey.pem");
	like($old->command('NOOP'), qr/^250/, 'who was connected stays so');
};

subtest 'not for us' => sub {
	my $before = state_of();
	my $shown = serial_shown();
	my ($status, $out, $err) = certbot({}, 'certonly', @standalone,
		'-d', 'www.example.org', '--deploy-hook', "$hooks/certbot $tls/server");
	like($out . $err, qr/'(?:--)?deploy-hook' reported error code 1/,
	    'certbot reports it');
	like($out . $err, qr/the certificate is not for mail\.example\.org/, 'and why');
	is_deeply(state_of(), $before, 'nothing is changed');
	is(serial_shown(), $shown, 'the server goes on');
	my %lineage = (RENEWED_LINEAGE => "$live/www.example.org", %hook);
	($status, $out, $err) = run({ env => \%lineage }, "$hooks/certbot",
		"$scratch/www", 'mail.example.org');
	is($status, 1, 'nor for a name that is asked for');
	ok(!-e "$scratch/www.pem" && !-e "$scratch/www.key", 'nothing comes of that');
	($status, $out, $err) = run({ env => \%lineage }, "$hooks/certbot",
		"$scratch/www", 'www.example.org');
	is($status, 0, 'for its own name, in its own place') or diag $err;
	is(slurp("$scratch/www.key"), slurp("$live/www.example.org/privkey.pem"),
	    'it is taken');
};

subtest 'lego' => sub {
	my $run = sub {
		my @how = @_;
		return run({ timeout => 240, env => { %hook, $acme->environment } },
			'lego', '--accept-tos', '--email', 'admin@example.org', '--server',
			$directory, '--path', "$scratch/lego", '--domains',
			'mail.example.org', '--http', '--http.port',
			"127.0.0.1:$acme->{http}", @how);
	};
	my $file = "$scratch/lego/certificates/mail.example.org";
	my ($status, $out, $err) = $run->('run', '--run-hook',
		"$hooks/lego $tls/server");
	is($status, 0, 'obtains') or diag $out . $err;
	taken_ok("$file.crt", "$file.key");
	my $before = serial_of("$file.crt");
	($status, $out, $err) = $run->('renew', '--days', 3650, '--reuse-key',
		'--no-random-sleep', '--renew-hook', "$hooks/lego $tls/server");
	is($status, 0, 'renews') or diag $out . $err;
	isnt(serial_of("$file.crt"), $before, 'really');
	taken_ok("$file.crt", "$file.key");
	$before = state_of();
	($status, $out, $err) = $run->('renew', '--days', 3650, '--no-random-sleep',
		'--renew-hook', "$hooks/lego $tls/server other.example.org");
	isnt($status, 0, 'lego fails when the hook does');
	like($out . $err, qr/not for other\.example\.org/, 'and says why');
	is_deeply(state_of(), $before, 'nothing is changed');
};

subtest 'uacme' => sub {
	my @uacme = $acme->trusting('uacme', '-c', "$scratch/uacme", '-a', $directory,
		'-y');
	plan(skip_all => 'no mount namespaces: uacme cannot trust the server')
	    if !@uacme;
	my $challenges = $acme->webroot . '/.well-known/acme-challenge';
	run({}, 'mkdir', '-p', $challenges);
	my ($status, $out, $err) = run({ timeout => 120 }, @uacme, 'new');
	is($status, 0, 'makes an account') or diag $err;
	my $issue = sub {
		return run({ timeout => 240, env => { UACME_CHALLENGE_PATH => $challenges } },
			@uacme, '-h', '/usr/share/uacme/uacme.sh', @_, 'issue',
			'mail.example.org');
	};
	($status, $out, $err) = $issue->();
	is($status, 0, 'obtains') or diag $err;
	my %how = (env => { %hook, UACME_CONFDIR => "$scratch/uacme" });
	my @files = ("$scratch/uacme/mail.example.org/cert.pem",
		"$scratch/uacme/private/mail.example.org/key.pem");
	($status, $out, $err) = run(\%how, "$hooks/uacme", 'mail.example.org',
		"$tls/server");
	is($status, 0, 'its hook') or diag $err;
	taken_ok(@files);
	($status, $out, $err) = $issue->();
	is($status, 1, 'nothing is due');
	($status, $out, $err) = $issue->('-f');
	is($status, 0, 'renews') or diag $err;
	is((run(\%how, "$hooks/uacme", 'mail.example.org', "$tls/server"))[0], 0,
	    'its hook');
	taken_ok(@files);
};

# What a hook is given may be anything.
subtest 'what does not fit' => sub {
	my $before = state_of();
	my $shown = serial_shown();
	my $not = sub {
		my ($what, $chain, $key, $text) = @_;
		my ($status, $out, $err) = run({ env => { %hook, LEGO_CERT_PATH => $chain,
			LEGO_CERT_KEY_PATH => $key } }, "$hooks/lego", "$tls/server");
		is($status, 1, "$what: refused");
		like($err, $text, 'it says why');
		is_deeply(state_of(), $before, 'nothing is changed');
	};
	my @good = map { "$live/mail.example.org/$_.pem" } qw(fullchain privkey);
	my @other = map { "$live/www.example.org/$_.pem" } qw(fullchain privkey);
	$not->('the key of another', $good[0], $other[1],
		qr/none of the 2 certificates is for the key/);
	$not->('no file', "$scratch/none", $good[1], qr/none: No such file/);
	$not->('no key', $good[0], "$scratch/none", qr/none: No such file/);
	spew("$scratch/open.key", slurp($good[1]));
	chmod 0644, "$scratch/open.key";
	$not->('a key that others can read', $good[0], "$scratch/open.key",
		qr/open\.key: mode 0644, expected 0600/);
	spew("$scratch/cut.pem", substr slurp($good[0]), 0, 500);
	$not->('a cut off chain', "$scratch/cut.pem", $good[1], qr/\S/);
	spew("$scratch/cut.key", substr slurp($good[1]), 0, 100);
	chmod 0600, "$scratch/cut.key";
	$not->('a cut off key', $good[0], "$scratch/cut.key", qr/cut\.key/);
	my ($cert, $key) = $instance->{authority}->issue('client',
		dns => ['mail.example.org'], purpose => 'client');
	$not->('one for clients', $cert, $key, qr/lacks serverAuth/);
	($cert, $key) = $instance->{authority}->issue('gone',
		dns => ['mail.example.org'], from => -86400 * 2, to => -86400);
	$not->('one that has expired', $cert, $key, qr/has expired/);
	($cert, $key) = $instance->{authority}->issue('nameless',
		cn => 'mail.example.org');
	$not->('a common name', $cert, $key, qr/not for mail\.example\.org/);
	($cert, $key) = $instance->{authority}->issue('small',
		dns => ['mail.example.org'], rsa => 1024);
	$not->('a small key', $cert, $key, qr/small\.key: /);
	spew("$tls/server.key.next", slurp($other[1]));
	chmod 0600, "$tls/server.key.next";
	$before = state_of();
	($cert, $key) = $instance->{authority}->issue('fresh',
		dns => ['mail.example.org']);
	$not->('one with another key than was announced', $cert, $key,
		qr/server\.key\.next: the next key is another one/);
	unlink "$tls/server.key.next";
	$before = state_of();
	# Right in all that can be looked at, but it may not sign a handshake.
	my @ca = ($instance->{authority}->file, "$scratch/ca.key");
	IO::Socket::SSL::Utils::PEM_key2file($instance->{authority}{key}, $ca[1]);
	my $made = sub {
		my ($name, $usage, @how) = @_;
		spew("$scratch/ext", "extendedKeyUsage=serverAuth\nkeyUsage=critical,$usage\n"
		    . "subjectAltName=DNS:mail.example.org\n");
		run({}, 'openssl', 'req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj',
			"/CN=$name", '-keyout', "$scratch/$name.key", '-out', "$scratch/csr");
		my ($status, $out, $err) = run({}, 'openssl', 'x509', '-req', '-in',
			"$scratch/csr", '-days', 30, '-extfile', "$scratch/ext", '-out',
			"$scratch/$name.pem", @how);
		is($status, 0, "made $name") or diag $err;
		return ("$scratch/$name.pem", "$scratch/$name.key");
	};
	my @signed = ('-CA', $ca[0], '-CAkey', $ca[1], '-CAcreateserial');
	$not->('a self-signed one', $made->('self', 'digitalSignature', '-key',
		"$scratch/self.key"), qr/refused: .*self-signed/);
	$not->('one with a weak signature', $made->('weak', 'digitalSignature', @signed,
		'-sha1'), qr/refused: .*signature is weak/);
	$made->('mute', 'keyEncipherment', @signed);
	$not->('one that the server refuses', "$scratch/mute.pem", "$scratch/mute.key",
		qr/the server refuses it, \S+server\.pem is as it was: .*trial handshake/);
	is(serial_shown(), $shown, 'the server goes on');
	for my $hook (qw(certbot lego)) {
		my ($got, $out, $err) = run({ env => \%hook }, "$hooks/$hook");
		isnt($got, 0, "$hook: by itself it does nothing");
		like($err, qr/is set by $hook/, 'and says so');
	}
};

subtest 'without a server' => sub {
	$instance->stop_ok;
	my ($cert, $key) = $instance->{authority}->issue('last',
		dns => ['mail.example.org']);
	my %how = (env => { %hook, LEGO_CERT_PATH => $cert, LEGO_CERT_KEY_PATH => $key });
	my ($status, $out, $err) = run(\%how, "$hooks/lego", "$tls/server");
	is($status, 0, 'it is put in place') or diag $err;
	like($out, qr/no server is running/, 'which is said');
	$how{env}{SALLYPORT_CONF} = "$scratch/none.conf";
	my $before = state_of();
	@{ $how{env} }{qw(LEGO_CERT_PATH LEGO_CERT_KEY_PATH)} =
	    $instance->{authority}->issue('later', dns => ['mail.example.org']);
	($status, $out, $err) = run(\%how, "$hooks/lego", "$tls/server");
	is($status, 1, 'a configuration that cannot be read');
	is_deeply(state_of(), $before, 'is found out before anything is changed');
};

done_testing;
