#!/usr/bin/perl
# The SMTP protocol as clients see it: every command, every refusal with its
# reply code and enhanced status code.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Client;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $instance = Sallyport::Instance->new(
	options => { 'message-size' => '"64K"', recipients => 5,
		'auth-failure-delay' => '"50ms"', 'stop-timeout' => '"2s"' });
my $smarthost = $instance->{smarthost};

subtest 'before TLS' => sub {
	my $c = $instance->client(clear => 1);
	like($c->{greeting}, qr/^220 mail\.example\.org /, 'greeting');
	my $ehlo = $c->ehlo;
	like($ehlo, qr/^250[- ]mail\.example\.org/, 'EHLO');
	like($ehlo, qr/^250[- ]STARTTLS\r?$/m, 'STARTTLS is offered');
	unlike($ehlo, qr/AUTH/, 'AUTH is not shown');
	unlike($ehlo, qr/PLAIN|LOGIN|SCRAM/, 'nor a mechanism');
	unlike($ehlo, qr/REQUIRETLS/, 'nor REQUIRETLS');
	unlike($ehlo, qr/DSN/, 'nor DSN');
	like($ehlo, qr/^250[- ]$_\b/m, "$_ is offered")
	    for qw(PIPELINING 8BITMIME ENHANCEDSTATUSCODES SIZE);
	for my $auth ('AUTH PLAIN', 'AUTH PLAIN AGFsaWNlAGNvcnJlY3Q=',
		'AUTH LOGIN', 'AUTH NTLM', 'AUTH') {
		like($c->command($auth), qr/^538 5\.7\.11 /, "$auth: 538");
	}
	for my $command ('MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>',
		'DATA', 'VRFY a', 'EXPN a', 'HELP', 'BDAT 5 LAST') {
		like($c->command($command), qr/^530 5\.7\.0 /, "$command: 530");
	}
	like($c->command('NOOP'), qr/^250 2\.\d\.\d /, 'NOOP');
	like($c->command('NOOP with words'), qr/^250 2\.\d\.\d /, 'NOOP with words');
	like($c->command('RSET'), qr/^250 2\.\d\.\d /, 'RSET');
	like($c->command('HELO client.example'), qr/^250 /, 'HELO');
	like($c->command('STARTTLS now'), qr/^501 5\.5\.[24] /, 'STARTTLS with words');
	like($c->command('QUIT'), qr/^221 2\.0\.0 /, 'QUIT');
	ok($c->closed, 'it closes');
};

subtest 'STARTTLS' => sub {
	my $c = $instance->client(clear => 1);
	ok($c->starttls, 'without an EHLO before it') or diag($c->{error});
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^503 5\.5\.1 /,
	    'MAIL before EHLO');
	like($c->command('AUTH PLAIN'), qr/^503 5\.5\.1 /, 'AUTH before EHLO');
	my $ehlo = $c->ehlo;
	unlike($ehlo, qr/STARTTLS/, 'not offered again');
	like($ehlo, qr/^250[- ]AUTH .*SCRAM-SHA-256.*SCRAM-SHA-1.*PLAIN.*LOGIN/m,
	    'mechanisms, strongest first');
	like($ehlo, qr/^250[- ]SIZE 65536\r?$/m, 'SIZE says how large');
	like($ehlo, qr/^250[- ]REQUIRETLS\r?$/m, 'REQUIRETLS is offered');
	like($ehlo, qr/^250[- ]DSN\r?$/m, 'DSN is offered');
	like($c->command('STARTTLS'), qr/^503 5\.5\.1 /, 'STARTTLS again');
	$c->command('QUIT');

	# What was said in clear is forgotten.
	$c = $instance->client(clear => 1);
	$c->ehlo('evil.example');
	ok($c->starttls, 'handshake');
	like($c->plain('alice', 'correct horse'), qr/^503 5\.5\.1 /,
	    'the EHLO before TLS does not count');
};

subtest 'octets between STARTTLS and the handshake' => sub {
	for my $more ("EHLO x\r\n", "\r\n", 'x', "RSET\r\nAUTH PLAIN\r\n") {
		my $c = $instance->client(clear => 1);
		$c->ehlo;
		$c->send("STARTTLS\r\n$more");
		my $reply = $c->reply;
		unlike($reply // '', qr/^250/, 'what follows is not obeyed');
		my $tls = $reply =~ /^220/ ? $c->start_tls : 0;
		ok(!$tls, 'no handshake: ' . $more =~ s/\r\n/\\r\\n/gr);
	}
};

subtest 'implicit TLS' => sub {
	my $c = $instance->client(implicit => 1);
	ok($c, 'handshake') or return;
	like($c->{greeting}, qr/^220 /, 'greeting inside TLS');
	like($c->ehlo, qr/AUTH/, 'AUTH is offered at once');
	unlike($c->ehlo, qr/STARTTLS/, 'STARTTLS is not');
	like($c->command('STARTTLS'), qr/^503 5\.5\.1 /, 'and refused');
	my $clear = Sallyport::Client->new(bare => 1, timeout => 5,
		port => $instance->{ports}{submissions});
	$clear->send("EHLO x\r\nAUTH PLAIN x\r\n");
	unlike($clear->reply // '', qr/^[2345]\d\d/, 'no reply in clear');
};

subtest 'old TLS' => sub {
	for my $version (qw(TLSv1 TLSv1_1)) {
		my $c = $instance->client(clear => 1, version => $version);
		$c->ehlo;
		ok(!$c->starttls, "$version is refused");
	}
	for my $version (qw(TLSv1_2 TLSv1_3)) {
		my $c = $instance->client(version => $version);
		ok($c, "$version works") or next;
		is($c->{sock}->get_sslversion, $version, "and is $version");
	}
};

subtest 'order' => sub {
	my $c = $instance->client;
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^530 5\.7\.0 /,
	    'MAIL before AUTH');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^5[03][03] 5\.[57]\.[01] /,
	    'RCPT before MAIL');
	like($c->command('DATA'), qr/^5[03][03] 5\.[57]\.[01] /, 'DATA before RCPT');
	like($c->plain('alice', 'correct horse'), qr/^235 2\.7\.0 /, 'AUTH');
	like($c->plain('alice', 'correct horse'), qr/^503 5\.5\.1 /, 'AUTH again');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^503 5\.5\.1 /,
	    'RCPT before MAIL');
	like($c->command('DATA'), qr/^503 5\.5\.1 /, 'DATA before MAIL');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^250 2\.1\.0 /, 'MAIL');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^503 5\.5\.1 /,
	    'MAIL again');
	like($c->command('AUTH PLAIN'), qr/^503 5\.5\.1 /, 'AUTH in a transaction');
	like($c->command('DATA'), qr/^(503|554) 5\.5\.1 /, 'DATA before RCPT');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^250 2\.1\.5 /, 'RCPT');
	like($c->ehlo, qr/^250/, 'EHLO resets');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^503 5\.5\.1 /,
	    'RCPT after it');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^250/, 'MAIL');
	like($c->command('RSET'), qr/^250/, 'RSET');
	like($c->command('DATA'), qr/^503 5\.5\.1 /, 'DATA after RSET');
	$c->command('QUIT');

	$c = $instance->client(silent => 1);
	like($c->command('HELO client.example'), qr/^250 /, 'HELO in TLS');
	like($c->plain('alice', 'correct horse'), qr/^503 5\.5\.1 /,
	    'AUTH needs EHLO');
	like($c->command('MAIL FROM:<alice@example.org>'), qr/^5[03][03] /,
	    'so HELO cannot submit');
};

subtest 'syntax' => sub {
	my $c = $instance->authenticated;
	my @cases = (
		['MAIL', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:alice@example.org', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:<alice@example.org', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:<alice@>', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:<@example.org>', qr/^501 5\.(5\.[24]|1\.7) /],
		["MAIL FROM:<al\001ice\@example.org>", qr/^50[01] 5\./],
		['MAIL TO:<alice@example.org>', qr/^501 5\.(5\.[24]|1\.7) /],
		['MAIL FROM:<alice@example.org> FROB=1', qr/^555 5\.5\.4 /],
		['MAIL FROM:<alice@example.org> SIZE=x', qr/^501 5\.5\.4 /],
		['MAIL FROM:<alice@example.org> SIZE=99999999999999999999999',
			qr/^(501 5\.5\.4|552 5\.3\.4) /],
		['MAIL FROM:<alice@example.org> BODY=FROB', qr/^501 5\.5\.4 /],
		['MAIL FROM:<alice@example.org> SIZE=1 SIZE=1', qr/^501 5\.5\.4 /],
		['MAIL FROM:<alice@example.org> SIZE=65537', qr/^552 5\.3\.4 /],
		['MAIL FROM:<alice@example.org> REQUIRETLS=1', qr/^501 5\.5\.4 /],
		['MAIL FROM:<alice@example.org> REQUIRETLS REQUIRETLS',
			qr/^501 5\.5\.4 /],
		['FROB', qr/^500 5\.5\.[12] /],
		['EHLO', qr/^501 5\.5\.[24] /],
		['HELO', qr/^501 5\.5\.[24] /],
		['EHLO bad_name!', qr/^(501 5\.5\.[24]|250)/],
		['QUIT now', qr/^501 5\.5\.[24] /],
		['RSET now', qr/^501 5\.5\.[24] /],
		['DATA now', qr/^50[13] 5\.5\.[124] /],
		['VRFY alice', qr/^252 2\.[15]\.\d |^502 5\.5\.1 /],
		['EXPN staff', qr/^(502 5\.5\.1|550 5\.7\.\d|252 2\.\d\.\d) /],
		['HELP', qr/^214 2\.0\.0 /],
	);
	for (@cases) {
		my ($command, $expect) = @$_;
		like($c->command($command), $expect, $command =~ s/\001/\\001/r);
	}
	$c->ehlo;
	like($c->command('mail from:<alice@example.org> size=100 body=8bitmime'),
	    qr/^250/, 'case does not matter');
	@cases = (
		['RCPT', qr/^501 5\.(5\.[24]|1\.3) /],
		['RCPT TO:<>', qr/^501 5\.(5\.[24]|1\.3) /],
		['RCPT TO:bob', qr/^501 5\.(5\.[24]|1\.3) /],
		['RCPT TO:<bob@exa mple.net>', qr/^(501|555) 5\./],
		['RCPT TO:<bob@example.net> FROB=1', qr/^555 5\.5\.4 /],
		['RCPT TO:<bob@-example.net>', qr/^(501|553) 5\./],
		['RCPT TO:<"a b"@example.net>', qr/^250 2\.1\.5 /],
		['RCPT TO:<bob@[192.0.2.1]>', qr/^250 2\.1\.5 /],
		['RCPT TO:<@relay.example:bob@example.net>', qr/^(250|501|553)/],
	);
	for (@cases) {
		my ($command, $expect) = @$_;
		like($c->command($command), $expect, $command);
	}
	$c->command('RSET');
	$c->command('MAIL FROM:<alice@example.org>');
	my $local = 'x' x 65;
	like($c->command("RCPT TO:<$local\@example.net>"), qr/^(501|553) 5\.1\.\d |^501 5\.5/,
	    'local part of 65 octets');
	like($c->command('NOOP ' . 'x' x 3000), qr/^500 5\.5\.[246] /,
	    'a line that is too long');
	like($c->command('NOOP'), qr/^250/, 'and the session goes on');

	# Ever more octets without a line end.
	my $long = $instance->authenticated;
	$long->send('NOOP ' . 'x' x 100_000);
	my $reply = $long->command('') ;
	like($reply, qr/^(500|421) /, 'an endless line');
};

subtest 'parameters' => sub {
	my $c = $instance->authenticated;
	for my $mail ('<>', '<alice@example.org> BODY=7BIT',
		'<alice@example.org> BODY=8BITMIME SIZE=65536',
		'<alice@example.org> AUTH=<>', '<alice@example.org> REQUIRETLS',
		'<alice@example.org> AUTH=alice+2Bx@example.org') {
		like($c->command("MAIL FROM:$mail"), qr/^250 2\.1\.0 /, $mail);
		$c->command('RSET');
	}
	like($c->command('MAIL FROM:<alice@example.org> AUTH=a+ZZ'),
	    qr/^501 5\.5\.4 /, 'AUTH= is checked as xtext');
};

subtest 'size and recipients' => sub {
	my $c = $instance->authenticated;
	my $big = message(body => join("", ('x' x 70 . "\r\n") x 1000));
	like($c->transaction($big), qr/^552 5\.3\.4 /, 'a message too large');
	like($c->command('NOOP'), qr/^250/, 'the session lives on');
	my $fits = message(body => join("", ('x' x 70 . "\r\n") x 800));
	like($c->transaction($fits), qr/^250 2\.\d\.\d /, 'one that fits');
	$c->command('MAIL FROM:<alice@example.org>');
	like($c->command("RCPT TO:<r$_\@example.net>"), qr/^250/, "recipient $_")
	    for 1 .. 5;
	like($c->command('RCPT TO:<r6@example.net>'), qr/^452 4\.5\.3 /,
	    'one recipient too many');
	like($c->command('DATA'), qr/^354/, 'the others go on');
	like($c->content(message()), qr/^250 2\.\d\.\d /, 'accepted');
	ok($instance->arrived(2), 'both arrive');
};

subtest 'only CRLF ends a line' => sub {
	my $before = $smarthost->count;
	my $m = message(body => 'x');
	my @bad = (
		['bare LF', "a\nb\r\n"], ['bare CR', "a\rb\r\n"],
		['NUL', "a\0b\r\n"], ['CR CR LF', "a\r\r\nb\r\n"],
		['LF.LF', "a\n.\nMAIL FROM:<evil\@example.org>\r\n"],
		['LF.CRLF', "a\n.\r\nMAIL FROM:<evil\@example.org>\r\n"],
		['CR.CR', "a\r.\rMAIL FROM:<evil\@example.org>\r\n"],
		['CRLF.LF', "a\r\n.\nMAIL FROM:<evil\@example.org>\r\n"],
		['CRLF.CR', "a\r\n.\rMAIL FROM:<evil\@example.org>\r\n"],
		['bare CR at the end', "a\r\n\r"],
	);
	for (@bad) {
		my ($name, $octets) = @$_;
		my $c = $instance->authenticated;
		$c->command('MAIL FROM:<alice@example.org>');
		$c->command('RCPT TO:<bob@example.net>');
		$c->command('DATA');
		$c->send(message(body => $octets) . "\r\n.\r\n");
		like($c->reply, qr/^55[04] 5\.6\.\d /, "$name in a message is refused");
	}
	for my $command ("NOOP\n", "NOOP\r", "NO\0OP\r\n", "NOOP\rx\r\n") {
		my $c = $instance->authenticated;
		$c->{timeout} = 1;
		$c->send($command);
		unlike($c->reply // '', qr/^250/,
		    'command ' . $command =~ s/([\r\n\0])/sprintf '\\x%02x', ord $1/ger);
	}
	sleep 0.3;
	is($smarthost->count, $before, 'nothing of that went on');
};

subtest 'pipelining' => sub {
	my $c = $instance->authenticated;
	my $before = $smarthost->count;
	$c->send("MAIL FROM:<alice\@example.org>\r\nRCPT TO:<bob\@example.net>\r\n"
	    . "RCPT TO:bad\r\nDATA\r\n");
	like($c->reply, qr/^250/, 'MAIL');
	like($c->reply, qr/^250/, 'RCPT');
	like($c->reply, qr/^501/, 'a bad RCPT');
	like($c->reply, qr/^354/, 'DATA');
	my $m = message();
	like($c->content($m), qr/^250/, 'final dot');
	# A message and the next transaction in one write.
	$c->send("MAIL FROM:<alice\@example.org>\r\nRCPT TO:<bob\@example.net>\r\n"
	    . "DATA\r\n");
	$c->reply for 1 .. 3;
	my $stuffed = $m =~ s/\r\n\./\r\n../gr;
	$c->send("$stuffed.\r\nMAIL FROM:<alice\@example.org>\r\nRSET\r\nNOOP\r\n");
	like($c->reply, qr/^250/, "reply $_") for 1 .. 4;
	ok($instance->arrived($before + 2), 'both messages arrive');
};

subtest 'transactions one after another, in small pieces' => sub {
	my $c = $instance->authenticated;
	my $before = $smarthost->count;
	for my $char (split //, "MAIL FROM:<alice\@example.org>\r\n") {
		$c->send($char);
	}
	like($c->reply, qr/^250/, 'MAIL an octet at a time');
	$c->command('RCPT TO:<bob@example.net>');
	$c->command('DATA');
	$c->send($_) for split //, message() =~ s/\r\n\./\r\n../gr . ".\r\n";
	like($c->reply, qr/^250/, 'the message as well');
	like($c->transaction(message()), qr/^250/, 'another one');
	ok($instance->arrived($before + 2), 'both arrive');
};

subtest 'a client that leaves' => sub {
	my $before = $smarthost->count;
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org>');
	$c->command('RCPT TO:<bob@example.net>');
	$c->command('DATA');
	$c->send(message());
	$c->close;
	$c = $instance->client(clear => 1);
	$c->close;
	$c = $instance->authenticated;
	$c->send("MAIL FROM:<alice\@exa");
	$c->close;
	sleep 0.3;
	is($smarthost->count, $before, 'nothing half is sent on');
	ok($instance->authenticated, 'and others are served');
};

subtest 'a client that only makes mistakes' => sub {
	my %mistakes = (MAIL => ['MAIL FROM:<alice', ''], FROB => ['FROB', ''],
		RCPT => ['RCPT TO:<bob', 'MAIL FROM:<alice@example.org>'],
		'a cancelled AUTH' => ["AUTH LOGIN\r\n*", '']);
	for my $name (sort keys %mistakes) {
		my ($mistake, $first) = @{ $mistakes{$name} };
		my $c = $name =~ /AUTH/ ? $instance->client
		    : $instance->authenticated;
		$c->command($first) if $first;
		my ($count, $reply) = (0, '');
		while ($count++ < 60 && $reply !~ /^421/) {
			for (split /\r\n/, $mistake) {
				$reply = $c->command($_);
				last if $reply =~ /^421/;
			}
		}
		like($reply, qr/^421 4\.7\.0 /, "$name: sent away");
		ok($count > 40, 'but not at once');
	}
};

subtest 'what is added' => sub {
	$smarthost->forget;
	my $c = $instance->authenticated(implicit => 1, version => 'TLSv1_3');
	like($c->transaction("Subject: bare\r\n\r\nx\r\n"), qr/^250/, 'accepted');
	ok($instance->arrived(1), 'arrived') or return;
	my ($m) = $smarthost->messages;
	my ($received) = $m =~ /\A(Received:(?:[^\r\n]*\r\n[ \t])*[^\r\n]*\r\n)/;
	ok($received, 'a Received field on top') or diag($m);
	$received //= '';
	like($received, qr/by mail\.example\.org/, 'by');
	like($received, qr/with ESMTPSA/, 'with');
	like($received, qr/TLS ?1\.3|TLSv1\.3/, 'TLS version');
	like($received, qr/AES|CHACHA/, 'cipher');
	like($received, qr/\bid \S+/, 'queue id');
	unlike($received, qr/127\.0\.0\.1|client\.example/, 'nothing of the client');
	unlike($received, qr/alice/, 'nor its name');
	like($m, qr/^Date: /m, 'Date');
	like($m, qr/^Message-ID: <[^<> ]+\@[^<> ]+>\r$/mi, 'Message-ID');
	like($m, qr/\r\n\r\nx\r\n\z/, 'the body as it was');
};

# Who does not come to an end before the server does is told so.
subtest 'the end of the server' => sub {
	my $data = $instance->authenticated;
	$data->command('MAIL FROM:<alice@example.org>');
	$data->command('RCPT TO:<bob@example.net>');
	$data->command('DATA');
	$data->send("Subject: never ends\r\n\r\n" . "x\r\n" x 1000);
	my $auth = $instance->client;
	$auth->command('AUTH LOGIN');
	my $idle = $instance->authenticated;
	my $before = $smarthost->count;
	$instance->stop_ok;
	like($idle->reply, qr/^421 4\.3\.2 /, 'one that waits is told 421');
	like($data->reply, qr/^421 4\.3\.2 /, 'one that sends a message');
	like($auth->reply, qr/^421 4\.3\.2 /, 'one that authenticates');
	is($smarthost->count, $before, 'half a message is not sent on');
};
done_testing;
