#!/usr/bin/perl
# What cannot be delivered comes back as RFC 3464 says, or is held.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Report;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"',
		expire => '"4s"' });
my $smarthost = $instance->{smarthost};

# The messages kept by the smarthost, envelope included.
sub kept {
	return map { { %$_, octets => slurp(
	    "$smarthost->{folder}/Maildir/new/$_->{file}") } }
	    $smarthost->events('message');
}

sub bounce_ok {
	my ($bounce, %o) = @_;
	is($bounce->{from}, '', 'null reverse-path');
	is_deeply($bounce->{to}, ['alice@example.org'], 'to the sender');
	my $text = $bounce->{octets};
	report_ok($text);
	unlike($text, qr/(?<!\r)\n|\r(?!\n)/, 'CRLF throughout');
	unlike($text, qr/[\x80-\xff]/, 'US-ASCII throughout');
	my ($head) = split /\r\n\r\n/, $text, 2;
	$head =~ s/\r\n[ \t]+/ /g;
	like($head, qr/^$_:/mi, "$_ field") for qw(From To Subject Date Message-ID);
	like($head, qr/^Auto-Submitted: auto-replied/mi, 'Auto-Submitted');
	like($head, qr/^Content-Type: multipart\/report;.*report-type="?delivery-status/mi,
	    'multipart/report');
	my ($boundary) = $head =~ /boundary="?([^";\r\n]+)/;
	my @parts = split /\r\n--\Q$boundary\E(?:--)?(?:\r\n|\z)/, "\r\n$text";
	shift @parts;
	like($parts[0] // '', qr/\Q$o{recipient}\E/, 'part for people names the recipient');
	like($parts[1] // '', qr/\AContent-Type: message\/delivery-status/mi,
	    'part for machines');
	like($parts[1], qr/^Reporting-MTA: dns; ?mail\.example\.org\r$/mi, 'Reporting-MTA');
	like($parts[1], qr/^Final-Recipient: rfc822; ?\Q$o{recipient}\E\r$/mi, 'Final-Recipient');
	like($parts[1], qr/^Action: failed\r$/mi, 'Action');
	like($parts[1], qr/^Status: $o{status}\r$/mi, 'Status');
	like($parts[1], qr/^Remote-MTA: dns; ?\[127\.0\.0\.1\]\r$/mi, 'Remote-MTA')
	    if $parts[1] =~ /^Diagnostic-Code: smtp;/mi;
	like($parts[1], $o{diagnostic}, 'Diagnostic-Code') if $o{diagnostic};
	like($parts[2] // '', qr/\AContent-Type: (?:message\/rfc822|text\/rfc822-headers)/mi,
	    'part with the message or its header');
	like($parts[2] // '', qr/^Subject: $o{subject}\r$/m, 'the header of the message');
}

subtest 'a permanent refusal' => sub {
	$smarthost->fault('rcpt=gone@example.net' => '550 5.1.1 no such person here');
	my $reply = $instance->authenticated->transaction(
		message(subject => 'to nobody'), to => ['gone@example.net']);
	like($reply, qr/^250 /, 'accepted');
	ok($instance->arrived(1), 'a bounce arrives') or return;
	my ($bounce) = kept();
	bounce_ok($bounce, recipient => 'gone@example.net', status => qr/5\.1\.1/,
		subject => 'to nobody',
		diagnostic => qr/^Diagnostic-Code: smtp; ?550 5\.1\.1 no such person/mi);
	ok($instance->logged(qr/\bbounced\b/), 'and the log says so');
	ok(wait_until { my @none = $instance->queue; @none == 0 }, 'the queue is empty');
};

subtest 'one recipient of two' => sub {
	$smarthost->forget;
	$instance->authenticated->transaction(message(subject => 'half'),
		to => ['bob@example.net', 'gone@example.net']);
	ok($instance->arrived(2), 'message and bounce arrive') or return;
	my ($message, $bounce) = sort { $b->{from} cmp $a->{from} } kept();
	is_deeply($message->{to}, ['bob@example.net'], 'the one has it');
	bounce_ok($bounce, recipient => 'gone@example.net', status => qr/5\.1\.1/,
		subject => 'half');
	unlike($bounce->{octets}, qr/Final-Recipient: rfc822; ?bob/i,
	    'the bounce is about the other alone');
};

subtest 'a header that is not ASCII' => sub {
	$smarthost->forget;
	$instance->authenticated->transaction(message(subject => "caf\xc3\xa9"),
		mail => ' BODY=8BITMIME', to => ['gone@example.net']);
	ok($instance->arrived(1), 'a bounce arrives') or return;
	my ($bounce) = kept();
	unlike($bounce->{octets}, qr/[\x80-\xff]/, 'it needs no 8BITMIME');
	report_ok($bounce->{octets});
	like($bounce->{octets}, qr/^Content-Transfer-Encoding: quoted-printable\r$/m,
	    'as RFC 6522 says');
	like($bounce->{octets}, qr/^Subject: caf=C3=A9\r$/m, 'the header is there');
};

subtest 'refused after the data' => sub {
	$smarthost->forget;
	$smarthost->fault(dot => '554 5.6.0 not this');
	$instance->authenticated->transaction(message(subject => 'bad content'));
	ok($instance->logged(qr/\bbounced\b.*5\.6\.0/), 'bounced') or return;
	# The bounce itself is refused as well: it is held.
	ok($instance->logged(qr/\bheld\b/), 'a bounce that is refused is held');
	my @queue = $instance->queue;
	is(@queue, 1, 'and listed');
	$smarthost->fault();
	$instance->queue_empty;
	is(scalar(my @none = $instance->queue), 0, 'until an operator removes it');
};

subtest 'expiry' => sub {
	$smarthost->forget;
	$smarthost->fault('rcpt=bob@example.net' => '451 4.2.2 mailbox full');
	$instance->authenticated->transaction(message(subject => 'too late'));
	ok($instance->arrived(1, 40), 'a bounce after the time is up') or return;
	my ($bounce) = kept();
	bounce_ok($bounce, recipient => 'bob@example.net', status => qr/[45]\.\d\.\d+/,
		subject => 'too late', diagnostic => qr/451 4\.2\.2 mailbox full/);
};

# RFC 8689, section 5.
subtest 'a message that asked for TLS all the way' => sub {
	$smarthost->restart(requiretls => 'yes', fault => {
		'rcpt=gone@example.net' => '550 5.1.1 no such person here' });
	# What is known of it is renewed by a message that asks for nothing.
	$instance->authenticated->transaction(message());
	ok($instance->arrived(1), 'any message') or return;
	$smarthost->forget;
	my $reply;
	my $accepted = wait_until {
		$reply = $instance->authenticated->transaction(
			message(subject => 'kept'), mail => ' REQUIRETLS',
			to => ['gone@example.net']);
		$reply =~ /^250 /;
	};
	ok($accepted, 'accepted') or diag($reply);
	ok($instance->arrived(1), 'a bounce arrives') or return;
	my ($bounce) = kept();
	bounce_ok($bounce, recipient => 'gone@example.net', status => qr/5\.1\.1/,
		subject => 'kept');
	my @mail = $smarthost->received('tls') =~ /^(MAIL FROM:[^\r]*)/mg;
	like($_, qr/ REQUIRETLS\b/, "$_") for @mail;
	is(scalar @mail, 2, 'message and bounce, both with the promise');

	# Accepted before it is known that the next hop has unlearnt it.
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org> REQUIRETLS');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^250 /, 'accepted');
	$smarthost->restart(requiretls => undef, fault => {});
	$c->command('DATA');
	like($c->content(message(subject => 'broken')), qr/^250 /, 'and stored');
	ok($instance->arrived(1), 'a bounce arrives') or return;
	($bounce) = kept();
	is_deeply($bounce->{to}, ['alice@example.org'], 'to the sender');
	my $text = $bounce->{octets};
	report_ok($text, 'of two parts');
	like($text, qr/^Status: 5\.7\.30\r$/m, 'Status');
	like($text, qr/^X-Sallyport-Decision:.*?reason=requiretls/ms, 'the decision');
	like($text, qr/^Final-Recipient: rfc822; bob\@example\.net\r$/m, 'for whom');
	unlike($text, qr/broken|rfc822-headers/, 'nothing of the message');
	unlike($smarthost->received('tls'), qr/broken|RCPT TO:<bob/,
	    'nor did it cross before');
	unlike($smarthost->received('tls'), qr/^MAIL .*REQUIRETLS/m, 'no promise is made');
	ok(wait_until { my @none = $instance->queue; @none == 0 }, 'the queue is empty');
};

# A row that comes after RCPT has been answered.
subtest 'refused by the table for good' => sub {
	$smarthost->restart;
	my $port = $smarthost->port;
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org>');
	like($c->command('RCPT TO:<bob@far.example>'), qr/^250 /, 'accepted');
	my $row = "127.0.0.1:$port out lock match=127.0.0.1 cert=client\n";
	$instance->sites($row . "far.example rcpt lock match=elsewhere.example "
	    . "fail=permanent\n");
	$instance->reload;
	$c->command('DATA');
	like($c->content(message(subject => 'locked')), qr/^250 /, 'and stored');
	ok($instance->arrived(1), 'a bounce arrives') or return;
	my ($bounce) = kept();
	bounce_ok($bounce, recipient => 'bob@far.example', status => qr/5\.7\.\d+/,
		subject => 'locked');
	my $record = qr/site=127\.0\.0\.1\s+row=sites:1,sites:2\s+asked=lock
		\s+reached=\w+\s+verdict=refuse-permanent
		\s+reason=certificate-name/x;
	like($bounce->{octets}, qr/X-Sallyport-Decision:.*?$record/s,
	    'the decision for machines');
	like($bounce->{octets}, qr/demanded of it:\r\n.*?$record.*?For whoever/s,
	    'and for people');
	like($instance->logged(qr/\bbounced\b.*far\.example/) // '', $record,
	    'which is that of the log');
	$instance->sites($row);
	$instance->reload;
};

subtest 'a null sender' => sub {
	$smarthost->forget;
	$smarthost->fault('rcpt=gone@example.net' => '550 5.1.1 no such person here');
	my $reply = $instance->authenticated->transaction(
		message(subject => 'from nobody'), from => '', to => ['gone@example.net']);
	like($reply, qr/^250 /, 'accepted');
	ok($instance->logged(qr/\bheld\b/), 'held, for there is nobody to tell');
	is($smarthost->count, 0, 'no bounce of a bounce');
	my ($kept) = $instance->queue;
	ok($kept, 'listed');
	$instance->stop;
	$instance->start;
	is(scalar(my @still = $instance->queue), 1, 'a restart keeps it');
	$instance->queue_empty;
};

$instance->stop_ok;
done_testing;
