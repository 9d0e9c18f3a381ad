#!/usr/bin/perl
# The server's keys in a token: listeners with ECDSA and RSA, the certificate
# shown to a smarthost, reloads that are taken and refused, a wrong PIN, and a
# token that is pulled out.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::SoftHSM;
use Sallyport::Test;
use Test::More;

plan skip_all => 'needs softhsm2 and opensc' if !Sallyport::SoftHSM->available;

my $scratch = scratch();
my $pin = '4711-secret';
my $hsm = Sallyport::SoftHSM->new("$scratch/hsm");
$hsm->token('mail', $pin);
$hsm->key('mail', $_, 'EC:prime256v1') for qw(ec next client);
my $rsa_id = $hsm->key('mail', 'rsa', 'rsa:2048');
my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0);
my $tls = "$instance->{folder}/tls";
my ($server_user) = is_root() ? getpwnam('sallyport-signer') : ();

sub issue {
	my ($out, $key, $role, @names) = @_;
	my ($status, undef, $err) = $instance->tool('cert', 'issue', @names,
		'--role', $role, '--out', "$tls/$out", '--key',
		$hsm->url('mail', $key));
	is($status, 0, "a certificate for the key $key") or diag $err;
}

# The key of a certificate section.
sub key {
	my ($section, $value) = @_;
	$instance->section_option('certificate', $section, key => qq("$value"));
}

sub chain {
	my ($section, $file) = @_;
	$instance->section_option('certificate', $section, chain => qq("$file"));
}

# What a client sees: options of openssl s_client.
sub handshake {
	my (@options) = @_;
	my (undef, $out, $err) = run({ in => "QUIT\n", timeout => 30 }, 'openssl',
		's_client', '-starttls', 'smtp', '-connect',
		"127.0.0.1:$instance->{ports}{submission}", '-CAfile',
		"$tls/ca.pem", @options);
	return $out . $err;
}

sub shown {
	my ($file) = @_;
	my (undef, $out) = run({}, 'openssl', 'x509', '-in', $file, '-noout',
		'-serial');
	return lc($out) =~ s/.*=|\n//gr;
}

sub serial_seen {
	my (@options) = @_;
	my ($pem) = handshake(@options) =~ /(-----BEGIN CERT.*?END CERT.*?-----\n)/s
	    or return '';
	spew("$scratch/seen.pem", $pem);
	return shown("$scratch/seen.pem");
}

sub keys_away {
	return $instance->status->{roles}{signer}{away};
}

sub check_not {
	my ($text, $what) = @_;
	my ($status, $out, $err) = run({ timeout => 60 }, program('sallyportd'), '-t',
		'-c', $instance->{conf});
	is($status, 1, "$what: -t says no");
	like($err, $text, 'and why');
}

sub reload_not {
	my ($text, $what) = @_;
	my $line = $instance->reload;
	like($line, qr/result=refused/, "$what: a reload is refused");
	like($line, $text, 'and it says why');
	like(handshake(), qr/Peer signature type/, 'what there was is in force');
}

issue('ec', 'ec', 'server', 'mail.example.org', 'localhost', '127.0.0.1');
issue('next', 'next', 'server', 'mail.example.org', 'localhost', '127.0.0.1');
issue('rsa', 'rsa', 'server', 'rsa.example.org');
issue('client-key', 'client', 'client', 'mail.example.org');
# The private half is enough for the server.
$hsm->tool('mail', '--delete-object', '--type', 'pubkey', '--id', $rsa_id);
chain('server', 'tls/ec.pem');
key('server', $hsm->url('mail', 'ec'));
chain('client', 'tls/client-key.pem');
key('client', 'tls/client-key.key');
my $text = slurp($instance->{conf});
$text =~ s/^end = true/certificate rsa {\n\tchain = "tls\/rsa.pem"\n\tkey = "tls\/rsa.key"\n}\n\nend = true/m;
$instance->conf_write($text);
$instance->listener_option($_, certificates => '{ server, rsa }')
    for qw(submission submissions);

subtest 'handshakes' => sub {
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 0, '-t says yes') or diag $err;
	ok($instance->start, 'it starts') or return;
	for my $version ('-tls1_2', '-tls1_3') {
		my $said = handshake($version);
		like($said, qr/Verify return code: 0 /, "$version: verified");
		like($said, qr/Peer signature type: ECDSA/, 'by the ECDSA key');
		$said = handshake($version, '-servername', 'rsa.example.org',
			'-verify_hostname', 'rsa.example.org');
		like($said, qr/Verify return code: 0 /, 'and the other name');
		like($said, qr/Peer signature type: RSA/, 'by the RSA key');
	}
	is(keys_away(), 0, 'no key is away');
};

subtest 'to a smarthost' => sub {
	my $client = $instance->authenticated or return fail('a client');
	like($client->transaction(message()), qr/^250/, 'a message');
	$client->close;
	ok($instance->arrived(1, 60),
		'one that demands a client certificate takes what we bring');
	my ($status, $out, $err) = $instance->tool('policy', 'probe',
		'127.0.0.1:' . $instance->{smarthost}->port);
	is($status, 0, 'and a probe shows it too') or diag $out, $err;
};

subtest 'tools' => sub {
	my ($status, $out, $err) = $instance->tool('cert', 'check');
	is($status, 0, 'cert check finds no problem') or diag $out, $err;
	($status, $out, $err) = $instance->tool('cert', 'check', "$tls/ec.pem",
		'--key', $hsm->url('mail', 'rsa'));
	is($status, 1, 'and of a file that the key is another one');
	like($out, qr/object=rsa: the key does not belong to the certificate.*key-mismatch/,
	    'by its word');
	my $before = shown("$tls/ec.pem");
	($status, $out, $err) = $instance->tool('cert', 'renew', 'server', '--due',
		'36500');
	is($status, 0, 'cert renew keeps the key') or diag $err;
	isnt(shown("$tls/ec.pem"), $before, 'and issues anew');
	($status, $out, $err) = $instance->tool('cert', 'renew', 'server', '--due',
		'36500', '--new-key');
	is($status, 1, 'a new one it cannot make');
	like($err, qr/a new key has to be made in the token/, 'and says so');
};

subtest 'a set-up' => sub {
	my @init = (program('sallyport'), 'init', "$scratch/new", '--hostname',
		'mail.example.org', '--smarthost', 'smtp.example.net:465', '--cert',
		"$tls/ec.pem", '--submission', '127.0.0.1:' . free_port(),
		'--submissions', '127.0.0.1:' . free_port(), '--key');
	my ($status, $out, $err) = run({}, @init, $hsm->url('mail', 'client'));
	is($status, 1, 'the key has to be that of the certificate');
	like($err, qr/the key does not belong to the certificate/, 'it says');
	ok(!-e "$scratch/new", 'nothing is made');
	($status, $out, $err) = run({}, @init, $hsm->url('mail', 'ec'));
	is($status, 0, 'init takes a key in a token') or diag $err;
	like(slurp("$scratch/new/sallyport.conf"),
		qr/key = "\Q@{[$hsm->url('mail', 'ec')]}\E"/, 'by its URL');
};

subtest 'reload to another key' => sub {
	my $old = $instance->authenticated or return fail('a client');
	chain('server', 'tls/next.pem');
	key('server', $hsm->url('mail', 'next'));
	like($instance->reload, qr/result=ok/, 'it is taken');
	is(serial_seen(), shown("$tls/next.pem"), 'a new client sees it');
	like($old->command('NOOP'), qr/^250/, 'an old one goes on');
	$old->close;
};

subtest 'what is refused' => sub {
	my $good = slurp($instance->{conf});
	my $case = sub {
		my ($what, $text, $url) = @_;
		key('server', $url);
		check_not($text, $what);
		reload_not($text, $what);
		$instance->conf_write($good);
	};
	$case->('a key of another certificate',
		qr/certificate server: \S+: the key does not belong to the certificate/,
		$hsm->url('mail', 'ec'));
	$case->('a key of another kind',
		qr/certificate server: \S+: the key does not belong to the certificate/,
		$hsm->url('mail', 'rsa'));
	$case->('no such key', qr/the token has no such private key/,
		$hsm->url('mail', 'nothing'));
	$case->('no such token', qr/no such token, or user id \d+ may not use it; there: mail/,
		$hsm->url('nobody', 'ec'));
	$case->('no such module', qr{module /nowhere\.so: No such file},
		$hsm->url('mail', 'next', 'module-path' => '/nowhere.so'));
	$case->('no PIN', qr/wants a PIN, expected pin-source/,
		$hsm->url('mail', 'next', 'pin-source' => undef));
	spew("$scratch/readable", "$pin\n");
	chmod 0644, "$scratch/readable";
	$case->('a PIN that others can read', qr/readable: mode 0644/,
		$hsm->url('mail', 'next', 'pin-source' => "$scratch/readable"));
	key('server', $hsm->url('mail', 'next', 'pin-value' => $pin));
	check_not(qr/:\d+: key: PKCS#11 URL: a PIN in it \(pin-value\)/,
		'a PIN in the configuration');
	$instance->conf_write($good);
};

subtest 'a wrong PIN is tried once' => sub {
	my $good = slurp($instance->{conf});
	my $file = $hsm->pin('12345678', "$scratch/wrong");
	key('server', $hsm->url('mail', 'next', 'pin-source' => $file));
	key($_, $hsm->url('mail', $_, 'pin-source' => $file)) for qw(client rsa);
	reload_not(qr/token=mail: wrong PIN/, 'the first');
	ok($hsm->was_guessed('mail'), 'the token has heard it');
	is(scalar(() = $instance->log_lines(qr/error=.*not tried again/)), 2,
		'for the other keys it was not tried');
	$hsm->tool('mail', '--list-objects');
	ok(!$hsm->was_guessed('mail'), 'and forgotten');
	reload_not(qr/wrong: the token has refused this PIN: not tried again/,
		'a second');
	check_not(qr/not tried again/, 'nor by hand');
	ok($instance->stop, 'stopped');
	like($instance->refused, qr/not tried again/, 'nor by a restart');
	ok(!$hsm->was_guessed('mail'), 'the token has heard nothing more');
	$hsm->pin($pin, $file);
	ok($instance->start, 'another PIN is tried');
	ok(!-e "$file.refused", 'and does');
	$instance->conf_write($good);
	like($instance->reload, qr/result=ok/, 'back');
};

subtest 'whom the token lets in' => sub {
	plan skip_all => 'needs root: a user of the signer\'s' if !$server_user;
	chmod 0700, $hsm->{tokens};
	chown 0, 0, $hsm->{tokens};
	my $uid = getpwnam 'sallyport-signer';
	my $good = slurp($instance->{conf});
	chain('server', 'tls/ec.pem');
	key('server', $hsm->url('mail', 'ec'));
	check_not(qr/, as user id $uid|no such token, or user id $uid/,
		'root alone can read the token');
	$hsm->open_to_signer;
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 0, 'the signer can') or diag $err;
	$instance->conf_write($good);
};

subtest 'a token that is pulled out' => sub {
	$hsm->away;
	unlike(handshake(), qr/Peer signature type/, 'no handshake');
	ok($instance->logged(qr/signer alarm pkcs11 certificate=server token=away/, 60),
		'an alarm says so') or return;
	unlike(handshake(), qr/Peer signature type/, 'nor is there another');
	is(keys_away(), 1, 'status counts it');
	is(scalar(() = $instance->log_lines(qr/certificate=server token=away/)), 1,
		'it is said once');
	$hsm->back;
	ok($instance->logged(qr/signer note pkcs11 certificate=server token=back/, 60),
		'it is found again');
	like(handshake(), qr/Peer signature type/, 'handshakes go on');
};

subtest 'a process of the module that dies' => sub {
	my $signer = $instance->roles->{signer};
	my @children = sub {
		my ($pid) = @_;
		return split ' ', slurp("/proc/$pid/task/$pid/children");
	}->($signer);
	is(scalar @children, 1, 'the signer has one child') or return;
	my @workers = split ' ', slurp("/proc/$children[0]/task/$children[0]/children");
	ok(@workers >= 3, 'which has one for each key');
	for my $pid ($children[0], @workers) {
		my $status = slurp("/proc/$pid/status");
		like($status, qr/^NoNewPrivs:\s*1/m, 'no new privileges');
		last if !$server_user;
		my ($uid) = (getpwnam 'sallyport-signer')[2];
		like($status, qr/^Uid:\s*$uid\s+$uid\s+$uid\s+$uid$/m,
			'the signer\'s user');
		like($status, qr/^CapEff:\s*0+$/m, 'no capability');
	}
	kill KILL => @workers;
	ok($instance->logged(qr/token=away detail=.*its process ended/, 60),
		'an alarm says that it died');
	ok((wait_until { handshake() =~ /Peer signature type/ } 60),
		'and another takes its place');
	is($instance->roles->{signer}, $signer, 'the signer lives on');
};

subtest 'PINs stay where they are' => sub {
	unlike($instance->log_text, qr/\Q$pin\E|12345678/, 'none in the log');
	my $signer = $instance->roles->{signer};
	my @pids = ($instance->{pid}, values %{ $instance->roles });
	push @pids, split ' ', slurp("/proc/$_/task/$_/children") for @pids;
	push @pids, split ' ', slurp("/proc/$_/task/$_/children") for @pids;
	for my $pid (@pids) {
		unlike(slurp("/proc/$pid/$_"), qr/\Q$pin\E|12345678/, "none in $_")
		    for qw(cmdline environ);
	}
};

$instance->stop_ok;
done_testing;
