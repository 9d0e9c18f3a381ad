#!/usr/bin/perl
# Real clients on both ports: what they submit arrives octet for octet, but
# for the trace fields on top; and each logs in by all mechanisms that it has.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(start => 0,
	submission => { 'client-cert' => 'ask' },
	submissions => { 'client-cert' => 'ask' },
	options => { 'auth-failure-delay' => '"100ms"',
		'auth-free-failures' => 1000 });
# Some compare the name or address they were told to connect to.
$instance->tool('cert', 'issue', 'mail.example.org', 'localhost', '--role',
	'server', '--out', "$instance->{folder}/tls/server");
my ($cert, $key) = Sallyport::Certs->authority($instance->{scratch}, 'peers')
    ->issue('phone', dns => ['phone.example'], purpose => 'client');
my ($bound, undef, $why) = $instance->tool('user', 'bind', 'alice', $cert);
die "user bind: $why" if $bound;
spew("$instance->{scratch}/both.pem", slurp($cert) . slurp($key));
chmod 0600, "$instance->{scratch}/both.pem";
$instance->start;
my $smarthost = $instance->{smarthost};
my ($starttls, $implicit) = @{ $instance->{ports} }{qw(submission submissions)};
my $ca = "$instance->{folder}/tls/ca.pem";
my $folder = $instance->{scratch};
our $password = $Sallyport::Instance::password{alice};

my %body = (
	short => "Hello.\r\n",
	dots => ".\r\n..\r\n.a\r\nb.\r\n...\r\n\r\n.\r\n",
	'8bit' => "Gr\xc3\xbc\xc3\x9fe\r\n\xff\xfe\r\n",
	'long lines' => join('', ('y' x 990 . "\r\n") x 20),
	'blank lines' => "\r\n\r\n\r\n",
	large => join('', map { sprintf "line %08d of a large message\r\n", $_ }
		1 .. 30_000),
);

# Each submits FILE (CRLF) by IMPLICIT or STARTTLS, with a mechanism or what it
# takes by itself; exit status 0 if accepted.
my %client = (
	curl => sub {
		my ($file, $tls, $mechanism) = @_;
		my @external = ($mechanism // '') ne 'EXTERNAL' ? ()
		    : ('--cert', $cert, '--key', $key);
		my $secret = @external ? '' : $password;
		return run({ in => "user = \"alice:$secret\"\n" }, 'curl', '-sS',
			'-K', '-', '--ssl-reqd', '--cacert', $ca, @external,
			$mechanism ? ('--login-options', "AUTH=$mechanism") : (),
			'--resolve', "mail.example.org:$starttls:127.0.0.1",
			'--resolve', "mail.example.org:$implicit:127.0.0.1",
			'--url', $tls ? "smtps://mail.example.org:$implicit"
			: "smtp://mail.example.org:$starttls",
			'--mail-from', 'alice@example.org',
			'--mail-rcpt', 'bob@example.net', '--upload-file', $file);
	},
	swaks => sub {
		my ($file, $tls, $mechanism) = @_;
		# swaks sends the octets it is given, so they are stuffed here.
		spew("$file.stuffed", slurp($file) =~ s/(\A|\r\n)\./$1../gr
		    . ".\r\n");
		return run({}, 'swaks', '--server', '127.0.0.1',
			'--port', $tls ? $implicit : $starttls,
			$tls ? '--tls-on-connect' : '--tls', '--auth',
			$mechanism // 'LOGIN',
			'--auth-user', 'alice', '--auth-password', $password,
			'--ehlo', 'client.example', '--from', 'alice@example.org',
			'--to', 'bob@example.net', '--data', "\@$file.stuffed",
			'--no-data-fixup', '--suppress-data');
	},
	msmtp => sub {
		my ($file, $tls, $mechanism) = @_;
		my $port = $tls ? $implicit : $starttls;
		my $conf = "$folder/msmtprc";
		spew($conf, "account default\nhost localhost\nport $port\n"
		    . "tls on\ntls_starttls " . ($tls ? 'off' : 'on') . "\n"
		    . "tls_trust_file $ca\ntls_host_override mail.example.org\n"
		    . (($mechanism // '') ne 'EXTERNAL' ? ''
			: "tls_cert_file $cert\ntls_key_file $key\n")
		    . 'auth ' . lc($mechanism // 'PLAIN') . "\nuser alice\npassword \"$password\"\n"
		    . "from alice\@example.org\nset_from_header off\n"
		    . "set_date_header off\n");
		chmod 0600, $conf;
		# msmtp wants lines to end in LF and sends CRLF.
		return run({ in => slurp($file) =~ s/\r\n/\n/gr }, 'msmtp', '-C',
			$conf, 'bob@example.net');
	},
);

for my $name (sort keys %client) {
	for my $tls (0, 1) {
		my $by = $name . ($tls ? ' by implicit TLS' : ' by STARTTLS');
		for my $kind (sort keys %body) {
			$smarthost->forget;
			my $body = $body{$kind};
			my $sent = message(subject => "$by, $kind", body => $body);
			spew("$folder/message", $sent);
			my ($status, $out, $err) = $client{$name}->("$folder/message", $tls);
			is($status, 0, "$by: $kind") or diag($out, $err);
			ok($instance->arrived(1), "$by: $kind arrives");
			my ($got) = $smarthost->messages;
			ok(without_trace($got // '') eq $sent,
			    "$by: $kind, octet for octet")
			    or diag("sent:\n", substr($sent, 0, 800), "\ngot:\n",
			    substr($got // '', 0, 1200));
		}
	}
}

# These change what they send, or send nothing: they are asked for logins alone.
my %more = (
	gsasl => sub {
		my ($file, $tls, $mechanism) = @_;
		return run({ timeout => 30 }, 'gsasl', '--smtp', '--quiet',
			"--connect=localhost:$starttls", "--x509-ca-file=$ca",
			'-m', $mechanism, '-a', 'alice', '-p', $password,
			$mechanism eq 'EXTERNAL' ? ("--x509-cert-file=$cert",
				"--x509-key-file=$key", '-z', '') : (),
			$mechanism =~ /-PLUS$/ ? () : '--no-cb');
	},
	mutt => sub {
		my ($file, $tls, $mechanism) = @_;
		my $url = $tls ? "smtps://alice\@localhost:$implicit"
		    : "smtp://alice\@localhost:$starttls";
		spew("$folder/muttrc", "set smtp_url=\"$url\"\n"
		    . "set smtp_pass=\"$password\"\n"
		    . 'set smtp_authenticators="' . lc($mechanism) . "\"\n"
		    . ($mechanism eq 'EXTERNAL'
			? "set ssl_client_cert=\"$folder/both.pem\"\n" : '')
		    . "set ssl_force_tls=yes\nset ssl_starttls=yes\n"
		    . "set ssl_ca_certificates_file=\"$ca\"\n"
		    . "set certificate_file=\"$ca\"\nset copy=no\n"
		    . "set from=alice\@example.org\nset hostname=client.example\n");
		chmod 0600, "$folder/muttrc";
		return run({ in => "Hello.\n", env => { HOME => $folder,
			TERM => 'dumb' }, timeout => 30 }, 'mutt', '-n', '-F',
			"$folder/muttrc", '-s', 'test', '--', 'bob@example.net');
	},
	'Net::SMTP' => sub {
		my ($file, $tls, $mechanism) = @_;
		spew("$folder/net.pl", <<'END');
use strict;
use warnings;
use Authen::SASL qw(Perl);
use Net::SMTP;

my ($port, $tls, $ca, $mechanism, $file, $cert, $key) = @ARGV;
chomp(my $password = <STDIN>);
my %ssl = (SSL_ca_file => $ca, SSL_verifycn_name => 'mail.example.org',
	$cert ? (SSL_cert_file => $cert, SSL_key_file => $key) : ());
my $smtp = Net::SMTP->new('127.0.0.1', Port => $port, Timeout => 20,
	Hello => 'client.example', $tls ? (SSL => 1, %ssl) : ())
    or die "connect: $@\n";
$tls or $smtp->starttls(%ssl) or die "STARTTLS: $@\n";
$smtp->auth(Authen::SASL->new(mechanism => $mechanism,
		callback => { user => $cert ? '' : 'alice', authname => '',
			pass => $password })) or die $smtp->message;
my $message = do { local (@ARGV, $/) = $file; <> };
$smtp->mail('alice@example.org') && $smtp->to('bob@example.net')
    && $smtp->data($message) or die $smtp->message;
$smtp->quit;
END
		return run({ in => "$password\n", timeout => 30 }, $^X,
			"$folder/net.pl", $tls ? $implicit : $starttls, $tls,
			$ca, $mechanism, $file,
			$mechanism eq 'EXTERNAL' ? ($cert, $key) : ());
	},
	smtplib => sub {
		my ($file, $tls, $mechanism) = @_;
		spew("$folder/lib.py", <<'END');
import smtplib, ssl, sys

port, tls, ca, mechanism, file = sys.argv[1:]
password = sys.stdin.readline().rstrip("\n")
context = ssl.create_default_context(cafile=ca)
if tls == "1":
    smtp = smtplib.SMTP_SSL("localhost", int(port), context=context, timeout=20)
else:
    smtp = smtplib.SMTP("localhost", int(port), timeout=20)
    smtp.starttls(context=context)
smtp.ehlo("client.example")
smtp.user, smtp.password = "alice", password
smtp.auth(mechanism, {"PLAIN": smtp.auth_plain,
    "LOGIN": smtp.auth_login}[mechanism])
smtp.sendmail("alice@example.org", ["bob@example.net"],
    open(file, "rb").read())
smtp.quit()
END
		return run({ in => "$password\n", timeout => 30 },
			'/usr/bin/python3', "$folder/lib.py",
			$tls ? $implicit : $starttls, $tls, $ca, $mechanism,
			$file);
	},
);

# What they have of what is on by default.
my %has = (
	gsasl => [qw(SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256
		SCRAM-SHA-1 PLAIN LOGIN EXTERNAL)],
	curl => [qw(PLAIN LOGIN EXTERNAL)],
	msmtp => [qw(SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN EXTERNAL)],
	mutt => [qw(SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN EXTERNAL)],
	swaks => [qw(PLAIN LOGIN)],
	'Net::SMTP' => [qw(PLAIN LOGIN EXTERNAL)],
	smtplib => [qw(PLAIN LOGIN)],
);

sub logins {
	my ($result, $mechanism) = @_;
	return scalar(() = $instance->log_lines(
		qr/ auth .*result=$result .*mechanism=$mechanism /));
}

# One more than before: the line may come after the client has gone.
sub one_more {
	my ($before, @which) = @_;
	wait_until { logins(@which) > $before } 5;
	return logins(@which) - $before;
}

spew("$folder/message", message(body => $body{short}));
for my $name (sort keys %has) {
	my $submit = $client{$name} // $more{$name};
	for my $mechanism (@{ $has{$name} }) {
		for my $tls ($name eq 'gsasl' ? 0 : (0, 1)) {
			my $by = "$name, $mechanism"
			    . ($tls ? ' by implicit TLS' : ' by STARTTLS');
			$smarthost->forget;
			my $before = logins('ok', $mechanism);
			my ($status, $out, $err) = $submit->("$folder/message",
				$tls, $mechanism);
			is($status, 0, $by) or diag($out, $err);
			is(one_more($before, 'ok', $mechanism), 1,
			    "$by: that was it");
			ok($instance->arrived(1), "$by: its message arrives")
			    if $name ne 'gsasl';
		}
		next if $mechanism eq 'EXTERNAL';
		local $password = 'wrong';
		my $before = logins('failed', $mechanism);
		my ($status) = $submit->("$folder/message", 0, $mechanism);
		isnt($status, 0, "$name, $mechanism: a wrong password");
		cmp_ok(one_more($before, 'failed', $mechanism), '>', 0,
		    "$name, $mechanism: is refused");
	}
}

# Wrong passwords and untrusted servers, as these clients report them.
spew("$folder/message", message());
{
	local $password = 'wrong';
	for my $name (sort keys %client) {
		my ($status) = $client{$name}->("$folder/message", 0);
		isnt($status, 0, "$name with a wrong password is refused");
	}
}
$instance->stop_ok;
done_testing;
