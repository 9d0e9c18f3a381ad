#!/usr/bin/perl
# Addresses and headers in UTF-8 (RFC 6531, 6532, 6533): what a client may say,
# what is passed on to a next hop that offers SMTPUTF8, and what becomes of it
# where one does not.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Report;
use Sallyport::Test;
use Test::More;

my $u = "\xc3\xbc"; # a small u with dots
my $juergen = "j${u}rgen\@example.net";
my $domain = "b${u}cher.example";
my $ascii = 'xn--bcher-kva.example';

my $instance = Sallyport::Instance->new(
	senders => { alice => ['alice@example.org', "al${u}ce\@example.org",
		"\@$ascii"] },
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"' });
my $smarthost = $instance->{smarthost};

sub settled {
	ok(wait_until { my @none = $instance->queue; @none == 0 },
	    'the queue is empty');
}

# A message with this header, to these; the reply to what ended it.
sub submit {
	my (%o) = @_;
	my $from = $o{from} // 'alice@example.org';
	my $header = $o{header} // "From: <$from>\r\nSubject: hello\r\n";
	my $c = $instance->authenticated;
	my $reply = $c->command("MAIL FROM:<$from>" . ($o{mail} // ' SMTPUTF8'));
	return $reply if $reply !~ /^250 /;
	for my $to (@{ $o{to} }) {
		$reply = $c->command("RCPT TO:<$to>" . ($o{rcpt} // ''));
		return $reply if $reply !~ /^250 /;
	}
	$c->command('DATA');
	return $c->content("$header\r\n" . ($o{body} // "hello\r\n"));
}

sub commands {
	my ($verb) = @_;
	return $smarthost->received('tls') =~ /^($verb [^\r]*)\r$/mg;
}

# Messages that the smarthost has, the null reverse-path's alone or the others.
sub kept {
	my ($null) = @_;
	return map { slurp("$smarthost->{folder}/Maildir/new/$_->{file}") }
	    grep { ($_->{from} eq '') == !!$null } $smarthost->events('message');
}

subtest 'what may be said' => sub {
	my $c = $instance->client(clear => 1);
	like($c->ehlo, qr/^250[- ]SMTPUTF8\r?$/m, 'offered');
	$c = $instance->authenticated;
	like($c->ehlo, qr/^250[- ]SMTPUTF8\r?$/m, 'offered inside TLS');
	my $too_long = $u x 32 . 'x';
	for (['alice@example.org> SMTPUTF8', qr/^250 /],
		['alice@example.org> smtputf8 BODY=8BITMIME', qr/^250 /],
		["al${u}ce\@example.org> SMTPUTF8", qr/^250 /],
		["x\@$domain> SMTPUTF8", qr/^250 /],
		["x\@B\xc3\x9cCHER.Example> SMTPUTF8", qr/^250 /],
		["$u\@$ascii> SMTPUTF8", qr/^250 /],
		["\"a $u\"\@$domain> SMTPUTF8", qr/^250 /],
		['> SMTPUTF8', qr/^250 /],
		['alice@example.org> SMTPUTF8=yes', qr/^501 5\.5\.4 /],
		['alice@example.org> SMTPUTF8 SMTPUTF8', qr/^501 5\.5\.4 /],
		["al${u}ce\@example.org>", qr/^553 5\.6\.7 /],
		["x\@$domain>", qr/^553 5\.6\.7 /],
		["x\@$domain> BODY=8BITMIME", qr/^553 5\.6\.7 /],
		["$too_long\@$ascii> SMTPUTF8", qr/^501 5\.1\.0 /],
		["a\xfc\@example.org> SMTPUTF8", qr/^501 5\.5\.2 /],
		["a\xfc\@example.org>", qr/^501 5\.5\.2 /],
		["a\xc0\xafb\@example.org> SMTPUTF8", qr/^501 5\.5\.2 /],
		["a\xed\xa0\x80\@example.org> SMTPUTF8", qr/^501 5\.5\.2 /],
		["a\xc2\x85\@example.org> SMTPUTF8", qr/^501 5\.5\.2 /],
		["a\xe2\x80\xaeb\@example.org> SMTPUTF8", qr/^501 5\.5\.2 /],
		["x\@a\xcd\xb8.example> SMTPUTF8", qr/^501 5\.1\.7 /],
		["x\@\xef\xbc\x91.\xef\xbc\x92> SMTPUTF8", qr/^501 5\.1\.7 /],
		["boss\@$domain.example> SMTPUTF8", qr/^553 5\.7\.1 /],
		["b${u}ss\@example.org> SMTPUTF8", qr/^553 5\.7\.1 /]) {
		my ($path, $expect) = @$_;
		like($c->command("MAIL FROM:<$path"), $expect,
		    'MAIL ' . $path =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger);
		$c->command('RSET');
		if ($expect =~ /5\\\.5\\\.2/) { # sent away before long
			$c = $instance->authenticated;
		}
	}
	$c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org>');
	for ($juergen, "x\@$domain") {
		like($c->command("RCPT TO:<$_>"), qr/^553 5\.6\.7 /,
		    'RCPT without SMTPUTF8');
	}
	like($c->command("RCPT TO:<j\xfcrgen\@example.net>"), qr/^501 5\.5\.2 /,
	    'no UTF-8');
	like($c->command("RCPT TO:<bob\@example.net> ORCPT=utf-8;$juergen"),
	    qr/^501 5\.5\.4 /, 'ORCPT');
	like($c->command('RCPT TO:<bob@example.net> ORCPT=utf-8;j\x{FC}@x'),
	    qr/^250 /, 'ORCPT in ASCII');
	$c->command('RSET');
	$c->command('MAIL FROM:<alice@example.org> SMTPUTF8');
	for ("<$juergen>", "<x\@$domain>", "<\"j $u\"\@$domain>",
		"<bob\@example.net> ORCPT=utf-8;$juergen",
		'<Postmaster>') {
		like($c->command("RCPT TO:$_"), qr/^250 /, 'RCPT with it');
	}
	for ("<bob\@example.net> ORCPT=rfc822;$juergen",
		"<bob\@example.net> ORCPT=utf-8;a\xfc") {
		like($c->command("RCPT TO:$_"), qr/^501 5\.5\.4 /, 'no ORCPT');
	}
	like($c->command("VRFY $juergen"), qr/^252 /, 'VRFY');
};

subtest 'passed on' => sub {
	$smarthost->restart(smtputf8 => 'yes', dsn => 'yes');
	my $header = "From: J${u}rgen <al${u}ce\@example.org>\r\n"
	    . "To: <$juergen>\r\nSubject: Gr${u}\xc3\x9fe\r\n";
	like(submit(from => "al${u}ce\@example.org", header => $header,
		mail => ' BODY=8BITMIME SMTPUTF8',
		to => [$juergen, "x\@B${u}cher.Example", 'bob@example.net'],
		rcpt => " ORCPT=utf-8;$juergen", body => "$u\r\n"),
	    qr/^250 /, 'accepted');
	ok($instance->arrived(1), 'arrived') or return;
	like((commands('MAIL'))[0], qr/^MAIL\ FROM:<al${u}ce\@example\.org>
	    \ SIZE=\d+\ BODY=8BITMIME\ SMTPUTF8$/x, 'MAIL');
	is_deeply([commands('RCPT')], [map {
		"RCPT TO:<$_> ORCPT=utf-8;$juergen" } $juergen, "x\@$ascii",
		'bob@example.net'], 'RCPT; domains as A-labels');
	my ($message) = kept();
	is(without_trace($message) =~ s/\A(?:(?:Date|Message-ID):.*\r\n)+//r,
	    "$header\r\n$u\r\n", 'the message is as it was');
	like($message, qr/^Received: by mail\.example\.org .* with UTF8SMTPSA /m,
	    'with UTF8SMTPSA');
	like($instance->logged(qr/ accepted .*smtputf8=yes/) // '',
	    qr/from=/, 'and logged');
	settled();

	$smarthost->forget;
	like(submit(mail => ' BODY=8BITMIME', to => ['bob@example.net'],
		body => "$u\r\n"), qr/^250 /, 'without SMTPUTF8');
	ok($instance->arrived(1), 'arrived') or return;
	unlike((commands('MAIL'))[0], qr/SMTPUTF8/, 'it is not said');
	like((kept())[0], qr/ with ESMTPSA /, 'nor traced');

	$smarthost->forget;
	like(submit(from => "al${u}ce\@example.org", to => ['bob@example.net'],
		header => "Subject: no author\r\n"), qr/^250 /,
	    'a message without From field');
	ok($instance->arrived(1), 'arrived') or return;
	like((kept())[0], qr/^From: <al${u}ce\@example\.org>\r$/m, 'gets one');
	settled();
};

subtest 'to a next hop that does not offer it' => sub {
	$smarthost->restart(smtputf8 => undef, dsn => 'yes');
	like(submit(from => "alice\@$domain", to => ["x\@$domain"],
		header => "From: <alice\@$ascii>\r\nSubject: plain\r\n",
		rcpt => " ORCPT=utf-8;$juergen"), qr/^250 /, 'all of it ASCII');
	ok($instance->arrived(1), 'goes') or return;
	like((commands('MAIL'))[0], qr/^MAIL FROM:<alice\@$ascii> SIZE=\d+$/,
	    'without the parameter');
	is_deeply([commands('RCPT')],
	    ["RCPT TO:<x\@$ascii> ORCPT=utf-8;j\\x{FC}rgen\@example.net"],
	    'ORCPT in ASCII');

	$smarthost->forget;
	like(submit(to => [$juergen, 'bob@example.net']), qr/^250 /,
	    'one recipient of two');
	ok($instance->arrived(2), 'message and notification') or return;
	is_deeply([grep { /bob|rgen/ } commands('RCPT')],
	    ['RCPT TO:<bob@example.net>'], 'the other gets it');
	my $report = report_ok(kept(1));
	is_deeply([map { $_->{type} } @{ $report->{parts} }], ['text/plain',
		'message/delivery-status', 'text/rfc822-headers'],
	    'a notification as any other');
	is($report->{status}[1]{'Final-Recipient'},
	    'utf-8; j\x{FC}rgen@example.net', 'who');
	is($report->{status}[1]{Status}, '5.6.7', 'why');
	is($report->{parts}[0]{charset}, 'utf-8', 'to people');
	like($report->{parts}[0]{text}, qr/^<j\x{fc}rgen\@example\.net>:\r?$/m,
	    'the address itself');
	unlike((kept(1))[0], qr/[^\r\n -~\t]/, 'in ASCII throughout');

	$smarthost->forget;
	like(submit(to => ['bob@example.net'], mail =>
		' SMTPUTF8 BODY=8BITMIME RET=FULL', header =>
		"From: <alice\@example.org>\r\nSubject: Gr${u}\xc3\x9fe\r\n",
		body => "k${u}hl =\r\n"), qr/^250 /, 'a header in UTF-8');
	ok($instance->arrived(1), 'a notification') or return;
	$report = report_ok(kept(1));
	is($report->{status}[1]{Status}, '5.6.9', 'why');
	is($report->{parts}[2]{type}, 'message/global', 'RET=FULL');
	like($report->{parts}[2]{text}, qr/\r\n\r\nk\x{fc}hl =\r\n/, 'all of it');
	is($report->{returned}{Subject}, "Gr\x{fc}\x{df}e", 'the header');
	unlike((kept(1))[0], qr/[^\r\n -~\t]/, 'encoded');
	is_deeply([commands('MAIL')], [grep { /^MAIL FROM:<> SIZE=\d+$/ }
	    commands('MAIL')], 'sent to whoever has no 8BITMIME');

	$smarthost->forget;
	like(submit(to => ['bob@example.net'], mail => ' SMTPUTF8 BODY=8BITMIME',
		header => "From: <alice\@example.org>\r\nSubject: parts\r\n"
		    . "Content-Type: multipart/mixed; boundary=b\r\n",
		body => "--b\r\nContent-Type: text/plain; name=\"$u.txt\"\r\n"
		    . "\r\nhello\r\n--b--\r\n"), qr/^250 /, 'a file\'s name');
	ok($instance->arrived(1), 'a notification') or return;
	is(report_ok(kept(1))->{status}[1]{Status}, '5.6.9', 'why');

	$smarthost->forget;
	like(submit(from => "al${u}ce\@example.org", to => ['bob@example.net']),
	    qr/^250 /, 'a sender in UTF-8');
	ok($instance->logged(qr/ held .*rcpt="?al.*5\.6\.7/),
	    'cannot be told there: held');
	my $held;
	ok(wait_until { ($held) = grep { $_->{state} eq 'held' }
		$instance->queue }, 'and listed') or return;
	like(($instance->tool('queue', 'show', $held->{queue}))[1],
	    qr/\bSMTPUTF8\b/, 'and shown');
	$smarthost->restart(smtputf8 => 'yes');
	is(($instance->tool('queue', 'release', $held->{queue}))[0], 0,
	    'until it can');
	ok($instance->arrived(1), 'then it goes') or return;
	$report = report_ok(kept(1));
	like((commands('MAIL'))[0], qr/^MAIL FROM:<>.* SMTPUTF8$/, 'with SMTPUTF8');
	is_deeply([commands('RCPT')], ["RCPT TO:<al${u}ce\@example.org>"],
	    'to the sender');
	is_deeply([map { $_->{type} } @{ $report->{parts} }], ['text/plain',
		'message/global-delivery-status', 'message/global-headers'],
	    'the types of RFC 6533');
	is($report->{status}[1]{Status}, '5.6.7', 'why');
	is($report->{fields}{To}, "al\x{fc}ce\@example.org", 'To');
	settled();
};

subtest 'notifications in UTF-8' => sub {
	$smarthost->restart(smtputf8 => 'yes', fault => {
		"rcpt=$juergen" => '550 5.1.1 no such person here' });
	like(submit(from => "al${u}ce\@example.org", to => [$juergen],
		rcpt => ' ORCPT=utf-8;j\x{FC}@example.net'), qr/^250 /,
	    'accepted');
	ok($instance->arrived(1), 'a notification') or return;
	my $report = report_ok(kept(1));
	is($report->{status}[1]{'Final-Recipient'},
	    "utf-8; j\x{fc}rgen\@example.net", 'Final-Recipient');
	is($report->{status}[1]{'Original-Recipient'},
	    "utf-8; j\x{fc}\@example.net", 'Original-Recipient');
	is($report->{status}[1]{Status}, '5.1.1', 'why');
	settled();

	$smarthost->forget;
	like(submit(to => [$juergen], rcpt => " ORCPT=utf-8;$juergen"),
	    qr/^250 /, 'of a sender in ASCII');
	ok($instance->arrived(1), 'a notification') or return;
	$report = report_ok(kept(1));
	is($report->{status}[1]{"$_-Recipient"},
	    'utf-8; j\x{FC}rgen@example.net', "$_-Recipient")
	    for qw(Original Final);
	unlike((commands('MAIL'))[1], qr/SMTPUTF8/, 'SMTPUTF8 is not needed');
	settled();
};

# Python's smtplib says SMTPUTF8 where an address needs it.
subtest 'a real client' => sub {
	$smarthost->restart(smtputf8 => 'yes');
	my $script = "$instance->{scratch}/client.py";
	spew($script, <<'END');
import smtplib, ssl, sys
from email.message import EmailMessage
port, ca, password = int(sys.argv[1]), sys.argv[2], sys.stdin.readline().strip()
message = EmailMessage()
message['From'] = 'J\u00fcrgen <al\u00fcce@example.org>'
message['To'] = '\u7528\u6237@b\u00fccher.example'
message['Subject'] = 'Gr\u00fc\u00dfe'
message.set_content('k\u00fchl\n')
client = smtplib.SMTP('127.0.0.1', port)
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
client.starttls(context=context)
client.login('alice', password)
client.send_message(message)
client.quit()
END
	my ($status, $out, $err) = run({ timeout => 60,
		in => "$Sallyport::Instance::password{alice}\n" },
	    '/usr/bin/python3', $script, $instance->{ports}{submission},
	    "$instance->{folder}/tls/ca.pem");
	is($status, 0, 'sends') or diag($err);
	ok($instance->arrived(1), 'arrived') or return;
	like((commands('MAIL'))[0], qr/^MAIL FROM:<al${u}ce\@example\.org> .* SMTPUTF8$/,
	    'MAIL');
	is_deeply([commands('RCPT')],
	    ["RCPT TO:<\xe7\x94\xa8\xe6\x88\xb7\@$ascii>"], 'RCPT');
	like((kept())[0], qr/^From: J${u}rgen <al${u}ce\@example\.org>\r$/m,
	    'the header is as it was');
	settled();
};

subtest 'sender rights in the message' => sub {
	my $mine = "al${u}ce\@example.org";
	for (['an address of its own', "From: <$mine>\r\n", qr/^250 /],
		['in quotes', "From: \"al${u}ce\"\@example.org\r\n", qr/^250 /],
		['a domain as U-labels', "From: x\@$domain\r\n", qr/^250 /],
		['a domain as A-labels', "From: $u\@$ascii\r\n", qr/^250 /],
		['another', "From: b${u}ss\@example.org\r\n", qr/^553 5\.7\.1 /],
		['decomposed, another', "From: alu\xcc\x88ce\@example.org\r\n",
			qr/^553 5\.7\.1 /],
		['another domain', "From: x\@$domain.example\r\n",
			qr/^553 5\.7\.1 /],
		['as Sender, another', "From: $mine\r\n"
			. "Sender: b${u}ss\@example.org\r\n", qr/^553 5\.7\.1 /],
		['turned round', "From: x\xe2\x80\xae\@$ascii\r\n",
			qr/^550 5\.6\.7 /],
		['a header in Latin 1', "From: $mine\r\nSubject: \xfc\r\n",
			qr/^550 5\.6\.0 /],
		['a name in Latin 1', "From: J\xfcrgen <$mine>\r\n",
			qr/^550 5\.6\.0 /]) {
		my ($what, $header, $expect) = @$_;
		like(submit(header => $header, to => ['bob@example.net']),
		    $expect, $what);
	}
	for (['an address of its own', "From: <$mine>\r\n", qr/^550 5\.6\.7 /],
		['a domain of its own', "From: x\@$domain\r\n", qr/^550 5\.6\.7 /],
		['in Latin 1', "From: al\xfcce\@$ascii\r\n", qr/^550 5\.6\.7 /],
		['a name in Latin 1', "From: J\xfcrgen <alice\@example.org>\r\n",
			qr/^250 /]) {
		my ($what, $header, $expect) = @$_;
		like(submit(header => $header, to => ['bob@example.net'],
			mail => ''), $expect, "without SMTPUTF8: $what");
	}
};

# Whatever form an address is written in, the same rows speak.
subtest 'routes and rows' => sub {
	spew("$instance->{folder}/routes", join '', map { "$_\n" }
	    "$ascii rcpt error:5.1.2 \"no mail to them\"",
	    "$juergen rcpt error:5.1.6 \"he has moved\"");
	$instance->option(routes => '"routes"');
	like($instance->reload // '', qr/result=ok/, 'routes');
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org> SMTPUTF8');
	for ("x\@$ascii", "x\@$domain", "x\@B\xc3\x9cCHER.example",
		"x\@bu\xcc\x88cher\xe3\x80\x82example") {
		like($c->command("RCPT TO:<$_>"), qr/^550 5\.1\.2 /, 'by domain');
	}
	like($c->command("RCPT TO:<$juergen>"), qr/^550 5\.1\.6 /, 'by mailbox');
	like($c->command("RCPT TO:<ju\xcc\x88rgen\@example.net>"), qr/^250 /,
	    'which is octets');
	for ("x\@$domain", $juergen) {
		my ($status, $out) = $instance->tool('route', 'explain',
			'alice@example.org', $_);
		like($out, qr/refused with 5\.1\.[26] /, 'explained');
	}
};

$instance->stop_ok;
done_testing;
