#!/usr/bin/perl
# Real clients on both ports: what they submit arrives octet for octet, but
# for the trace fields on top.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new;
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

# Each submits FILE (CRLF) by IMPLICIT or STARTTLS; exit status 0 if accepted.
my %client = (
	curl => sub {
		my ($file, $tls) = @_;
		return run({ in => "user = \"alice:$password\"\n" }, 'curl', '-sS',
			'-K', '-', '--ssl-reqd', '--cacert', $ca,
			'--resolve', "mail.example.org:$starttls:127.0.0.1",
			'--resolve', "mail.example.org:$implicit:127.0.0.1",
			'--url', $tls ? "smtps://mail.example.org:$implicit"
			: "smtp://mail.example.org:$starttls",
			'--mail-from', 'alice@example.org',
			'--mail-rcpt', 'bob@example.net', '--upload-file', $file);
	},
	swaks => sub {
		my ($file, $tls) = @_;
		# swaks sends the octets it is given, so they are stuffed here.
		spew("$file.stuffed", slurp($file) =~ s/(\A|\r\n)\./$1../gr
		    . ".\r\n");
		return run({}, 'swaks', '--server', '127.0.0.1',
			'--port', $tls ? $implicit : $starttls,
			$tls ? '--tls-on-connect' : '--tls', '--auth', 'LOGIN',
			'--auth-user', 'alice', '--auth-password', $password,
			'--ehlo', 'client.example', '--from', 'alice@example.org',
			'--to', 'bob@example.net', '--data', "\@$file.stuffed",
			'--no-data-fixup', '--suppress-data');
	},
	msmtp => sub {
		my ($file, $tls) = @_;
		my $port = $tls ? $implicit : $starttls;
		my $conf = "$folder/msmtprc";
		spew($conf, "account default\nhost localhost\nport $port\n"
		    . "tls on\ntls_starttls " . ($tls ? 'off' : 'on') . "\n"
		    . "tls_trust_file $ca\ntls_host_override mail.example.org\n"
		    . "auth plain\nuser alice\npassword \"$password\"\n"
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
