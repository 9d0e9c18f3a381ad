#!/usr/bin/perl
# Logins of single devices: enrolled with a secret or a certificate, in the
# forms that mail programs read, restricted, and taken away again.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(time);

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"100ms"',
		'auth-free-failures' => 1000, 'retry-first' => '"1s"' },
	submission => { 'client-cert' => 'ask' });
my $scratch = $instance->{scratch};
my ($starttls, $implicit) = @{ $instance->{ports} }{qw(submission submissions)};
my $group = qr/[a-km-np-z2-9]{4}/;
my $secret_form = qr/$group(?:-$group){6}/;

sub device {
	return $instance->tool('device', @_);
}

# Enrol one and give its secret.
sub enrol {
	my ($label, @options) = @_;
	my ($status, $out, $err) = device('enrol', 'alice', $label, @options);
	is($status, 0, "enrol $label @options") or diag $err;
	return $out =~ /^secret: +($secret_form)$/m ? $1 : '';
}

sub login {
	my ($label, $secret, %o) = @_;
	return $instance->client(%o)->plain("alice+$label\@example.org", $secret);
}

sub gsasl {
	my ($mechanism, $user, $password) = @_;
	return (run({}, 'gsasl', '--smtp', '--quiet', '--no-cb',
		"--connect=127.0.0.1:$starttls",
		"--x509-ca-file=$instance->{folder}/tls/ca.pem",
		'-m', $mechanism, '-a', $user, '-p', $password))[0];
}

sub sent {
	my ($label) = @_;
	my ($status, $out, $err) = device('sent', 'alice', $label, '--json');
	is($status, 0, "sent $label") or diag $err;
	my $list = eval { decode_json($out) } // [];
	return @$list;
}

# Everybody on the machine sees the arguments of programs.
subtest 'a secret of its own' => sub {
	my ($status, $out, $err) = device('enrol', 'alice', 'phone');
	is($status, 0, 'enrol') or diag $err;
	like($out, qr/^login: +alice\+phone\@example\.org$/m, 'its login');
	my ($secret) = $out =~ /^secret: +($secret_form)$/m;
	ok($secret, 'seven groups without 0, 1, l and o') or diag $out;
	like($out, qr/^server: +mail\.example\.org, port $implicit, TLS from the start\nserver: +mail\.example\.org, port $starttls, STARTTLS$/m,
	    'where it logs in, implicit TLS first');
	like(login('phone', $secret), qr/^235 /, 'PLAIN');
	is(gsasl($_, 'alice+phone@example.org', $secret), 0, $_)
	    for qw(SCRAM-SHA-256 SCRAM-SHA-1 LOGIN);
	like(login('phone', $Sallyport::Instance::password{alice}), qr/^535 /,
	    q{not by its user's password});
	like($instance->client->plain('alice', $secret), qr/^535 /,
	    'which it is not either');
	ok(!grep { /\Q$secret\E/ } $instance->log_lines(qr/./), 'not in the log');
	my $other = enrol('other');
	isnt($other, $secret, 'another one for another');
	like(login('phone', $other), qr/^535 /, 'that is good for that one alone');
};

subtest 'list and show' => sub {
	my ($status, $out) = device('list');
	is($status, 0, 'list');
	like($out, qr/^alice\+other\@example\.org: .*SCRAM-SHA-256.*\nalice\+phone\@example\.org: /,
	    'both, and nobody else');
	unlike($out, qr/^(?:alice|bob)@/m, 'nor users');
	is((device('list', 'bob'))[1], '', 'of a user who has none');
	is((device('list', 'nobody'))[0], 1, 'of nobody');
	($status, $out) = device('list', 'alice', '--json');
	my $list = decode_json($out);
	is(scalar @$list, 2, 'as JSON');
	is($list->[0]{kind}, 'device', 'of kind device');
	is((device('list', '--json'))[1], $out, 'all alike');
	like((device('show', 'alice', 'phone'))[1], qr/^name: +alice\+phone\@/m, 'show');
	is((device('show', 'alice+phone', '--json'))[0], 0, 'by its login');
	my $err;
	($status, $out, $err) = device('show', 'alice');
	is($status, 1, 'a user is none');
	like($err, qr/nobody's device/, 'and it is said');
	is((device('show', 'alice', 'nosuch'))[0], 1, 'one that there is not');
};

subtest 'refused' => sub {
	for (['a label twice', 1, qr/already/, 'alice', 'phone'],
	    ['a label with an at', 1, qr/letters, digits/, 'alice', 'a@b'],
	    ['a long one', 1, qr/at most 32/, 'alice', 'x' x 33],
	    ['a device of nobody', 1, qr/nobody/, 'nobody', 'x'],
	    ['a device of a device', 1, qr/device/, 'alice+phone', 'x'],
	    ['no label', 2, qr/^usage/, 'alice'],
	    ['a sender that is none', 2, qr/expected/, 'alice', 'x', '--sender', 'a b'],
	    ['a network with host bits', 2, qr/192\.0\.2/, 'alice', 'x', '--network', '192.0.2.1/24'],
	    ['no rate', 2, qr/messages an hour/, 'alice', 'x', '--rate', '0'],
	    ['a day that there is not', 2, qr/2027-03-31/, 'alice', 'x', '--until', '2027-02-29'],
	    ['a day that is past', 2, qr/past/, 'alice', 'x', '--until', '2026-01-01'],
	    ['what is no date', 2, qr/2027-03-31/, 'alice', 'x', '--until', 'tomorrow'],
	    ['an unknown form', 2, qr/profile/, 'alice', 'x', '--format', 'pdf'],
	    ['a profile without an incoming server', 2, qr/--incoming/, 'alice', 'x', '--format', 'profile'],
	    ['the same for Thunderbird', 2, qr/--incoming/, 'alice', 'x', '--format', 'thunderbird'],
	    ['a certificate and no file for it', 2, qr/--output/, 'alice', 'x', '--certificate'],
	    ['a certificate as a QR code', 2, qr/no certificate/, 'alice', 'x',
		'--certificate', '--format', 'qr', '--output', "$scratch/x"],
	    ['an option of another command', 2, qr/^usage/, 'alice', 'x', '--json'],
	    ['a file that is there', 1, qr/exists/, 'alice', 'x', '--output', $instance->{conf}]) {
		my ($what, $expected, $text, @words) = @$_;
		my ($status, $out, $err) = device('enrol', @words);
		is($status, $expected, $what);
		like($err, $text, "$what: said");
		is($out, '', "$what: nothing else");
	}
	is((device('show', 'alice', 'x'))[0], 1, 'and nothing was made');
	ok(!-e "$scratch/x", 'no file either');
	is((device('list', 'alice', 'phone'))[0], 2, 'list: a word too many');
	is((device('nosuch'))[0], 2, 'an unknown command');
};

# Of the text of a QR code on a terminal, drawn with two rows a line, or of an
# SVG of ours, what a camera reads.
sub modules_of_text {
	my ($text) = @_;
	utf8::decode($text);
	my @rows;
	for my $line (split /\n/, $text) {
		push @rows, [map { $_ eq ' ' || $_ eq "\x{2584}" ? 1 : 0 } split //, $line],
		    [map { $_ eq ' ' || $_ eq "\x{2580}" ? 1 : 0 } split //, $line];
	}
	return \@rows;
}

sub modules_of_svg {
	my ($svg) = @_;
	my ($side) = $svg =~ /viewBox="0 0 (\d+) \1"/ or return [];
	my @rows = map { [(0) x $side] } 1 .. $side;
	while ($svg =~ /M(\d+) (\d+)h(\d+)v1h-\3z/g) {
		@{ $rows[$2] }[$1 .. $1 + $3 - 1] = (1) x $3;
	}
	return \@rows;
}

sub scan {
	my ($rows) = @_;
	my $scale = 6;
	my $width = $scale * @{ $rows->[0] };
	spew("$scratch/code.pbm", "P1\n$width " . $scale * @$rows . "\n"
	    . join '', map { my $row = join(' ', map { ($_) x $scale } @$_) . "\n";
		    $row x $scale } @$rows);
	my ($status, $out, $err) = run({}, 'zbarimg', '--quiet', '--raw', '-Sdisable',
		'-Sqrcode.enable', "$scratch/code.pbm");
	diag($err) if $status;
	chomp $out;
	return $out;
}

sub uri {
	my ($label, $secret, $incoming) = @_;
	return "dclogin:alice\@example.org?p=&v=1$incoming&sh=mail.example.org&sp=$implicit&ss=ssl"
	    . "&su=alice%2B$label%40example.org&spw=$secret";
}

subtest 'a URI, and as a QR code' => sub {
	my ($status, $out) = device('enrol', 'alice', 'chat', '--format', 'uri',
		'--incoming', 'imap.example.org:143');
	is($status, 0, 'URI');
	my ($secret) = $out =~ /spw=($secret_form)$/m;
	is($out, uri('chat', $secret,
		'&ih=imap.example.org&ip=143&is=starttls&iu=alice%40example.org') . "\n",
	    'all that dclogin has');
	like(login('chat', $secret), qr/^235 /, 'its secret logs in');
	($status, $out) = device('enrol', 'alice', 'camera', '--format', 'qr');
	is($status, 0, 'QR code');
	my $read = scan(modules_of_text($out));
	($secret) = $read =~ /spw=($secret_form)$/;
	is($read, uri('camera', $secret // '-', ''), 'is the URI');
	like(login('camera', $secret), qr/^235 /, 'and logs in');
	my $svg = "$scratch/code.svg";
	($status, $out) = device('enrol', 'alice', 'paper', '--format', 'qr', '--output', $svg);
	is($out, "login:      alice+paper\@example.org\nfile:       $svg\n",
	    'into a file, and nothing secret is said');
	is((stat $svg)[2] & 07777, 0600, 'which is its owner\'s alone');
	$read = scan(modules_of_svg(slurp($svg)));
	($secret) = $read =~ /spw=($secret_form)$/;
	is($read, uri('paper', $secret // '-', ''), 'the same as a picture');
	is((run({}, 'python3', '-c', 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])', $svg))[0], 0,
	    'of good XML');
};

subtest 'Thunderbird for Android' => sub {
	$instance->tool('user', 'rights', 'alice', map { ('--add', "$_\@example.org") }
	    qw(alice sales));
	my ($status, $out, $err) = device('enrol', 'alice', 'thunder', '--format',
		'thunderbird', '--incoming', 'imap.example.org', '--sender', '*@example.org',
		'--sender', 'shop@example.org', '--sender', 'sales@example.org');
	$instance->tool('user', 'rights', 'alice', '--clear');
	is($status, 0, 'enrol');
	like($err, qr/alice\@example\.org may not send from shop\@/,
	    'what its user may not is said');
	my $read = eval { decode_json(scan(modules_of_text($out))) };
	my $secret = $read->[3][0][0][6] // '-';
	like($secret, qr/^$secret_form$/, 'a secret');
	is_deeply($read, [1, [1, 1],
		[0, 'imap.example.org', 993, 3, 1, 'alice@example.org'],
		[[[0, 'mail.example.org', $implicit, 3, 1, 'alice+thunder@example.org', $secret],
			['sales@example.org', 'sales@example.org']]]],
	    'version 1 of its format, with the address it may send from');
	like(login('thunder', $secret), qr/^235 /, 'its secret logs in');
	$instance->user_add("m\xc3\xbcller", 'pass word');
	($status, $out, $err) = device('enrol', "m\xc3\xbcller", 'x', '--format',
		'thunderbird', '--incoming', 'imap.example.org');
	is($status, 1, 'no address that it would not read');
	like($err, qr/ASCII only/, 'and it is said');
	is((device('list', "m\xc3\xbcller"))[1], '', 'before anything is made');
	$instance->tool('user', 'remove', "m\xc3\xbcller");
};

# As another's parser reads it, or undef.
sub plist {
	my ($file) = @_;
	my ($status, $out, $err) = run({}, 'python3', '-c', <<'PYTHON', $file);
import base64, datetime, json, plistlib, sys
def plain(o):
    if isinstance(o, bytes): return base64.b64encode(o).decode()
    if isinstance(o, datetime.datetime): return o.isoformat()
    raise TypeError
print(json.dumps(plistlib.load(open(sys.argv[1], 'rb')), default=plain))
PYTHON
	diag($err) if $status;
	return $status ? undef : decode_json($out);
}

sub payload {
	my ($profile, $type) = @_;
	return (grep { $_->{PayloadType} eq $type } @{ $profile->{PayloadContent} })[0];
}

subtest 'an Apple profile' => sub {
	my $file = "$scratch/ipad.mobileconfig";
	my ($status, $out, $err) = device('enrol', 'alice', 'ipad', '--format', 'profile',
		'--incoming', '[2001:db8::1]:995', '--output', $file, '--until', '2027-03-31');
	is($status, 0, 'enrol') or diag $err;
	unlike($out, qr/$secret_form/, 'its secret is in the file alone');
	is((stat $file)[2] & 07777, 0600, 'which is its owner\'s alone');
	my $profile = plist($file);
	is($profile->{PayloadType}, 'Configuration', 'a property list');
	is($profile->{PayloadIdentifier}, 'org.example.sallyport.alice+ipad',
	    'which the next one for the device replaces');
	is($profile->{RemovalDate}, '2027-04-01T00:00:00', 'removed with its end');
	my $mail = payload($profile, 'com.apple.mail.managed');
	my %expected = (EmailAccountType => 'EmailTypePOP',
		EmailAddress => 'alice@example.org',
		IncomingMailServerHostName => '2001:db8::1',
		IncomingMailServerPortNumber => 995,
		IncomingMailServerUsername => 'alice@example.org',
		OutgoingMailServerHostName => 'mail.example.org',
		OutgoingMailServerPortNumber => $implicit,
		OutgoingMailServerAuthentication => 'EmailAuthPassword',
		OutgoingMailServerUsername => 'alice+ipad@example.org');
	is($mail->{$_}, $expected{$_}, $_) for sort keys %expected;
	ok($mail->{OutgoingMailServerUseSSL}, 'in TLS');
	ok(!exists $mail->{IncomingPassword}, 'no password for the other server');
	like(login('ipad', $mail->{OutgoingPassword}), qr/^235 /, 'its secret logs in');
	my $root = payload($profile, 'com.apple.security.root');
	my ($der) = (run({}, 'openssl', 'x509', '-in', "$instance->{folder}/tls/ca.pem",
		'-outform', 'DER'))[1];
	is($root->{PayloadContent}, encode_base64($der, ''),
	    q{the listeners' authority comes with it});
	my %uuids = map { $_->{PayloadUUID} => 1 } $profile, @{ $profile->{PayloadContent} };
	is(scalar keys %uuids, 3, 'an identifier each');
	like($_, qr/^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$/, 'a UUID')
	    for keys %uuids;
};

# The files of certificate and key in a PKCS#12 file, as another's program
# unpacks them.
sub unpack_pkcs12 {
	my ($file, $passphrase) = @_;
	my ($status, $pem, $err) = run({}, 'openssl', 'pkcs12', '-in', $file,
		'-passin', "pass:$passphrase", '-nodes');
	is($status, 0, 'openssl reads it') or diag $err;
	spew("$scratch/unpacked.pem", $pem);
	return ("$scratch/unpacked.pem", "$scratch/unpacked.pem");
}

subtest 'a certificate' => sub {
	my $file = "$scratch/laptop.p12";
	my ($status, $out, $err) = device('enrol', 'alice', 'laptop', '--format',
		'pkcs12', '--output', $file);
	is($status, 0, 'enrol') or diag $err;
	my ($passphrase) = $out =~ /^passphrase: +($secret_form)$/m;
	my ($key) = $out =~ /^key: +(sha256:[0-9a-f]{64})$/m;
	is((stat $file)[2] & 07777, 0600, 'its owner\'s alone');
	unlike($out, qr/port $implicit\b/, 'no listener that does not ask for one');
	like((device('show', 'alice', 'laptop'))[1], qr/$key/, 'its key is bound');
	is((run({}, 'certtool', '--p12-info', '--inder', '--infile', $file,
		'--password', $passphrase))[0], 0, 'certtool reads it');
	isnt((run({}, 'openssl', 'pkcs12', '-in', $file, '-passin', 'pass:wrong',
		'-nodes'))[0], 0, 'not with another passphrase');
	my ($cert, $private) = unpack_pkcs12($file, $passphrase);
	my $text = (run({}, 'openssl', 'x509', '-in', $cert, '-noout', '-text'))[1];
	like($text, qr/email:alice\+laptop\@example\.org/, 'in its name');
	is((run({}, 'openssl', 'verify', '-CAfile', "$instance->{folder}/tls/ca.pem",
		'-purpose', 'sslclient', $cert))[0], 0, 'good for clients');
	isnt((run({}, 'openssl', 'verify', '-CAfile', "$instance->{folder}/tls/ca.pem",
		'-purpose', 'sslserver', $cert))[0], 0, 'and for nothing else');
	like(slurp("$instance->{folder}/tls/issued"), qr/names=alice\+laptop\@example\.org$/m,
	    'the authority has recorded it');
	my $c = $instance->client(cert => $cert, key => $private);
	like($c->command('AUTH EXTERNAL ='), qr/^235 /, 'EXTERNAL');
	like($c->transaction(message(), from => 'alice@example.org'), qr/^250 /,
	    q{and mail in its user's name});
	like($instance->logged(qr/ auth .*mechanism=EXTERNAL/) // '',
	    qr/user=alice\+laptop\@example\.org/, 'known as itself');
	spew("$scratch/mail", message(subject => 'by curl'));
	($status, $out, $err) = run({}, 'curl', '--silent', '--show-error', '--ssl-reqd',
		'--resolve', "mail.example.org:$starttls:127.0.0.1",
		'--cacert', "$instance->{folder}/tls/ca.pem", '--cert-type', 'P12',
		'--cert', "$file:$passphrase", '--user', 'alice+laptop@example.org:',
		'--login-options', 'AUTH=EXTERNAL', '--mail-from', 'alice@example.org',
		'--mail-rcpt', 'bob@example.net', '--upload-file', "$scratch/mail",
		"smtp://mail.example.org:$starttls/client.example");
	is($status, 0, 'curl sends with the file as it is') or diag $err;
	ok(wait_until { grep { /by curl/ } $instance->{smarthost}->messages }, 'and it arrives');
	ok(!(grep { /PRIVATE KEY/ } map { slurp($_) } glob "$instance->{folder}/tls/*laptop*"),
	    'no copy of its key is kept');
	($status, $out, $err) = device('enrol', 'alice', 'mac', '--certificate',
		'--format', 'profile', '--output', "$scratch/mac.mobileconfig", '--until', '2026-12-24');
	is($status, 0, 'in a profile') or diag $err;
	($passphrase) = $out =~ /^passphrase: +($secret_form)$/m;
	my $profile = plist("$scratch/mac.mobileconfig");
	my $identity = payload($profile, 'com.apple.security.pkcs12');
	spew("$scratch/mac.p12", decode_base64($identity->{PayloadContent}));
	unlike(slurp("$scratch/mac.mobileconfig"), qr/\Q$passphrase\E/,
	    'without its passphrase');
	($cert, $private) = unpack_pkcs12("$scratch/mac.p12", $passphrase);
	like($instance->client(cert => $cert, key => $private)->command('AUTH EXTERNAL ='),
	    qr/^235 /, 'EXTERNAL');
	like((run({}, 'openssl', 'x509', '-in', $cert, '-noout', '-enddate'))[1],
	    qr/Dec 2[45] .*2026/, 'no longer than the device itself');
	is(payload($profile, 'com.apple.mail.managed'), undef, 'no account without --incoming');
};

subtest 'no listener for it' => sub {
	$instance->listener_option('submission', 'client-cert', 'none');
	my ($status, $out, $err) = device('enrol', 'alice', 'y', '--certificate', '--output', "$scratch/y");
	is($status, 1, 'none asks for a certificate');
	like($err, qr/client-cert = ask/, 'and what to do is said');
	ok(!-e "$scratch/y", 'no file');
	$instance->listener_option('submission', 'client-cert', 'ask');
};

subtest 'where from, and until when' => sub {
	my $secret = enrol('home', '--network', '127.0.0.0/8', '--until', '2027-03-31');
	like(login('home', $secret), qr/^235 /, 'from its network, in time');
	my ($status, $out, $err) = $instance->tool('user', 'limit', 'alice+home',
		'--until', '2026-01-01');
	is($status, 0, 'its end is set to a day that is past') or diag $err;
	like(login('home', $secret), qr/^535 5\.7\.8 /, 'after its end');
	$secret = enrol('away', '--network', '192.0.2.0/24', '--network', '2001:db8::/32');
	like(login('away', $secret), qr/^535 5\.7\.8 /, 'from elsewhere');
	ok($instance->logged(qr/user=alice\+away.*not from this network/), 'logged');
	# The text is the same as for a wrong secret.
	is(login('away', $secret), login('phone', 'wrong'), 'told nobody else');
};

subtest 'as whom, and how often' => sub {
	my $secret = enrol('shop', '--sender', 'alice@example.org',
		'--sender', 'shop@example.org');
	my $c = $instance->client;
	like($c->plain('alice+shop@example.org', $secret), qr/^235 /, 'log in');
	like($c->command('MAIL FROM:<bob@example.org>'), qr/^553 5\.7\.1 .*bob\@example\.org/,
	    'not as another');
	like($c->command('MAIL FROM:<shop@example.org>'), qr/^553 5\.7\.1 /,
	    'nor as what its user may not');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^250 /, 'as its user');
	$c->command('RSET');
	$secret = enrol('slow', '--rate', '2');
	$c = $instance->client;
	$c->plain('alice+slow@example.org', $secret);
	like($c->transaction(message()), qr/^250 /, "message $_ of 2 an hour") for 1, 2;
	like($c->transaction(message()), qr/^4[0-9][0-9] 4\.7\./, 'and no third');
};

subtest 'what it has sent' => sub {
	my $secret = enrol('lost');
	is(scalar(sent('lost')), 0, 'nothing yet');
	like((device('sent', 'alice', 'lost'))[1], qr/has sent nothing/, 'in words');
	$instance->{smarthost}->fault(mail => '450 4.3.2 later');
	my $c = $instance->client;
	$c->plain('alice+lost@example.org', $secret);
	my ($queue) = $c->transaction(message(), to => [map { "r$_\@example.net" } 1 .. 25])
	    =~ /^250 2\.0\.0 (\S+)/;
	ok($queue, 'one is accepted');
	ok(wait_until { (sent('lost'))[0] && (sent('lost'))[0]{state} }, 'and in the queue');
	my ($one) = sent('lost');
	is($one->{queue}, $queue, 'by its queue id');
	is($one->{from}, 'alice@example.org', 'from whom');
	is($one->{recipient_count}, 25, 'to how many');
	is(scalar @{ $one->{recipients} }, 20, 'and to the first of them');
	cmp_ok(abs($one->{time} - time), '<', 60, 'when');
	cmp_ok($one->{size}, '>', 100, 'how long');
	is($one->{client}, '127.0.0.1', 'where from');
	my $out = (device('sent', 'alice', 'lost'))[1];
	like($out, qr/ \Q$queue\E .* (?:queued|deferred|active), from 127\.0\.0\.1\n    from <alice\@example\.org>\n    to <r1\@/,
	    'in words');
	like($out, qr/^    and 5 more$/m, 'how many are not written out');
	$instance->{smarthost}->fault;
	$instance->tool('queue', 'flush');
	ok(wait_until { my ($m) = sent('lost'); $m && !$m->{state} }, 'until it is delivered');
	like((device('sent', 'alice', 'lost'))[1], qr/no longer in the queue/, 'which is said');
	$instance->authenticated->transaction(message());
	is(scalar(sent('lost')), 1, q{what its user sends is not its own});
	unlike(slurp("$instance->{folder}/state/run/relay/sent"), qr/"login":"alice\@/,
	    'nor listed at all');
	# The segment is read again, and with it the message.
	kill KILL => $instance->roles->{relay};
	ok($instance->logged(qr/ role-died .*relay/), 'the relay dies');
	like($c->transaction(message()), qr/^250 /, 'another message');
	ok(wait_until { sent('lost') == 2 }, 'is listed');
	is(join(' ', (sent('lost'))[0]{queue}), $queue, 'after the other, once each');
};

# The list is written by a role that talks to strangers.
subtest 'a list that is not to be trusted' => sub {
	my $file = "$instance->{folder}/state/run/relay/sent";
	my @owner = (stat $file)[4, 5];
	open my $f, '>>', $file or die;
	print $f encode_json({ queue => '0AAA', time => 1, login => 'alice+lost@example.org',
		from => "\e[2J\x{202e}\\", recipients => [], recipient_count => 0, size => 1,
		client => "x\nlogin: root" }), "\nrubbish\n{\"queue\":\"../..\"}\n";
	close $f;
	my ($status, $out) = device('sent', 'alice', 'lost');
	is($status, 0, 'damaged lines are passed over');
	like($out, qr/from <\\x1b\[2J\\xe2\\x80\\xae\\x5c>/, 'nothing plays with the terminal');
	unlike($out, qr/^login/m, 'or looks like another line');
	rename $file, "$file.kept" or die;
	symlink "$instance->{folder}/tls/ca.key", $file or die;
	($status, $out, my $err) = device('sent', 'alice', 'lost');
	is($status, 1, 'no link is followed');
	like($err, qr/not a regular file/, 'and it is said');
	is($out, '', 'and nothing told');
	enrol('gone');
	($status, $out, $err) = device('revoke', 'alice', 'gone');
	is($status, 1, 'nor when a device is revoked');
	like($err, qr/not a regular file.*\n.*alice\+gone.*: it is revoked all the same$/,
	    'which it is');
	is((device('show', 'alice', 'gone'))[0], 1, 'indeed');
	unlink $file;
	rename "$file.kept", $file or die;
};

# When a line of the log was written, of the day.
sub seconds_of {
	my ($hours, $minutes, $seconds) = $_[0] =~ /T(\d\d):(\d\d):(\d\d\.\d+)Z/
	    or return 0;
	return ($hours * 60 + $minutes) * 60 + $seconds;
}

subtest 'revoked' => sub {
	my $secret = enrol('stolen');
	my ($live, $busy) = map { my $c = $instance->client;
		$c->plain('alice+stolen@example.org', $secret); $c } 1, 2;
	my $owner = $instance->authenticated;
	like($live->transaction(message()), qr/^250 /, 'it sends');
	ok(wait_until { sent('stolen') == 1 }, 'which is listed');
	like($live->transaction(message(), to => ['last@example.net']), qr/^250 /,
	    'and again in the last moment');
	$busy->command('MAIL FROM:<alice@example.org>');
	my ($status, $out, $err) = device('revoke', 'alice', 'stolen');
	is($status, 0, 'revoke') or diag $err;
	like($out, qr/^    to <bob\@example\.net>\n.*\n.*\n    to <last\@example\.net>$/m,
	    'tells all that it sent');
	like($live->reply // 'timeout', qr/^421 4\.7\.0 /, 'an idle session ends');
	my ($revoked, $ended) = map { seconds_of($instance->logged($_)) }
	    qr/ user action=revoke user=alice\+stolen/, qr/ disconnect .*cause=revoked/;
	my $took = $ended - $revoked;
	$took += 86400 if $took < 0;
	cmp_ok($took, '<', sanitized() ? 3 : 1, 'within a second');
	like($busy->command('RCPT TO:<bob@example.net>'), qr/^421 4\.7\.0 /,
	    'and one in a transaction');
	like($owner->command('NOOP'), qr/^250 /, q{not its user's});
	like(login('stolen', $secret), qr/^535 5\.7\.8 /, 'nor may it log in again');
	is((device('revoke', 'alice', 'stolen'))[0], 1, 'it is there no more');
	is((device('revoke', 'alice'))[0], 1, 'a user is no device');
	is(scalar(sent('stolen')), 2, 'what it sent can still be asked for');
	ok($secret ne enrol('stolen'), 'its label is free again');
	($status, $out) = device('revoke', 'alice+stolen', '--json');
	is(decode_json($out)->[0]{login}, 'alice+stolen@example.org', 'as JSON, by its login');
};

subtest 'with its user' => sub {
	my $secret = enrol('bound');
	my $live = $instance->client;
	$live->plain('alice+bound@example.org', $secret);
	is(($instance->tool('user', 'disable', 'alice'))[0], 0, 'disable the user');
	like(login('bound', $secret), qr/^535 5\.7\.8 /, 'the device is out');
	like($live->reply // 'timeout', qr/^421 4\.7\.0 /, 'its session too');
	is(($instance->tool('user', 'enable', 'alice'))[0], 0, 'enable');
	like(login('bound', $secret), qr/^235 /, 'and in again');
	my ($status, $out, $err) = $instance->tool({ in => "pass word\n" }, 'user',
		'add', 'carol', '--password-stdin');
	is($status, 0, 'another user') or diag $err;
	(undef, $out) = device('enrol', 'carol', 'phone');
	($secret) = $out =~ /^secret: +($secret_form)$/m;
	is((device('enrol', 'carol', "d$_"))[0], 0, "device $_ of hers") for 2 .. 16;
	($status, $out, $err) = device('enrol', 'carol', 'd17');
	is($status, 1, 'and no seventeenth');
	is(($instance->tool('user', 'remove', 'carol'))[0], 0, 'remove her');
	like($instance->client->plain('carol+phone@example.org', $secret), qr/^535 /,
	    'her devices go with her');
	unlike((device('list'))[1], qr/carol/, 'all of them');
};

$instance->stop_ok(deaths => 1);

subtest 'without the server' => sub {
	my $secret = enrol('offline');
	like((device('list', 'alice'))[1], qr/alice\+offline\@/, 'listed');
	cmp_ok(scalar(sent('lost')), '>=', 2, 'what was sent is told from files');
	is((device('revoke', 'alice', 'phone'))[0], 0, 'one is revoked');
	ok($instance->start, 'start');
	like(login('offline', $secret), qr/^235 /, 'the new one logs in');
	ok($instance->stop, 'stop');
};

done_testing;
