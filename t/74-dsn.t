#!/usr/bin/perl
# Delivery status notifications (RFC 3461): what a client asks for is passed on
# to a next hop that offers DSN, and done by ourselves where it does not; and
# delays are told.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Report;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"' });
my $smarthost = $instance->{smarthost};

# One transaction with parameters of MAIL and RCPT; the reply to the dot.
sub submit {
	my ($mail, $to, %o) = @_;
	my $c = $instance->authenticated;
	my $from = $o{from} // 'alice@example.org';
	like($c->command("MAIL FROM:<$from>$mail"), qr/^250 /, "MAIL$mail");
	for my $rcpt (sort keys %$to) {
		like($c->command("RCPT TO:<$rcpt>$to->{$rcpt}"), qr/^250 /,
		    "RCPT$to->{$rcpt}");
	}
	$c->command('DATA');
	like($c->content(message(subject => $o{subject} // 'dsn',
		body => $o{body})), qr/^250 /, 'accepted');
}

# Notifications that the smarthost got, as {to, octets}; each is looked at by
# another's parser as well.
sub notices {
	my @notices = grep { $_->{octets} =~ /^Content-Type: multipart\/report;/m }
	    map { { to => $_->{to}, octets => slurp(
		"$smarthost->{folder}/Maildir/new/$_->{file}") } }
	    grep { $_->{from} eq '' } $smarthost->events('message');
	report_ok($_->{octets}) for @notices;
	return @notices;
}

sub commands {
	my ($verb) = @_;
	return $smarthost->received('tls') =~ /^($verb [^\r]*)\r$/mg;
}

sub settled {
	ok(wait_until { my @none = $instance->queue; @none == 0 },
	    'the queue is empty');
}

subtest 'what may be asked' => sub {
	my $c = $instance->authenticated;
	for my $mail ('RET=FULL', 'RET=hdrs ENVID=QQ314159', 'ENVID=a+2Bb+20c',
		'ENVID=' . 'x' x 100) {
		like($c->command("MAIL FROM:<alice\@example.org> $mail"),
		    qr/^250 /, substr $mail, 0, 40);
		$c->command('RSET');
	}
	for my $mail ('RET', 'RET=', 'RET=BODY', 'RET=FULL RET=FULL',
		'RET=HDRS RET=FULL', 'ENVID', 'ENVID=', 'ENVID=a+b',
		'ENVID=a+0D+0Ab', 'ENVID=a+2bb', 'ENVID=1 ENVID=2',
		'ENVID=' . 'x' x 101, 'ENVID=a=b') {
		like($c->command("MAIL FROM:<alice\@example.org> $mail"),
		    qr/^501 5\.5\.4 /, substr $mail, 0, 40);
	}
	like($c->command('MAIL FROM:<alice@example.org> NOTIFY=NEVER'),
	    qr/^555 5\.5\.4 /, 'NOTIFY is of RCPT');
	$c->command('MAIL FROM:<alice@example.org>');
	for my $rcpt ('NOTIFY=NEVER', 'NOTIFY=SUCCESS,FAILURE,DELAY',
		'notify=delay ORCPT=rfc822;b+2Bx@example.net',
		'ORCPT=x400;/c+3Dde/', 'ORCPT=rfc822;' . 'x' x 493) {
		like($c->command("RCPT TO:<bob\@example.net> $rcpt"),
		    qr/^250 /, substr $rcpt, 0, 50);
	}
	for my $rcpt ('NOTIFY', 'NOTIFY=', 'NOTIFY=NEVER,DELAY',
		'NOTIFY=DELAY,NEVER', 'NOTIFY=ALWAYS', 'NOTIFY=DELAY,',
		'NOTIFY=NEVER NOTIFY=NEVER', 'ORCPT', 'ORCPT=',
		'ORCPT=b@example.net', 'ORCPT=;b', 'ORCPT=rfc822;',
		'ORCPT=rfc822;b+', 'ORCPT=rfc822;b+0D+0Ac',
		'ORCPT=rfc822;b ORCPT=rfc822;b',
		'ORCPT=rfc822;' . 'x' x 494) {
		like($c->command("RCPT TO:<bob\@example.net> $rcpt"),
		    qr/^501 5\.5\.4 /, substr $rcpt, 0, 50);
	}
	like($c->command('RCPT TO:<bob@example.net> RET=FULL'),
	    qr/^555 5\.5\.4 /, 'RET is of MAIL');
};

subtest 'passed on' => sub {
	$smarthost->restart(dsn => 'yes');
	my $long = 'rfc822;' . 'o' x 493;
	submit(' RET=HDRS ENVID=QQ+2B1', {
		'bob@example.net' => ' NOTIFY=delay,success ORCPT=rfc822;b+2Bx@example.net',
		'carol@example.net' => ' NOTIFY=NEVER',
		'dave@example.net' => '',
		'eve@example.net' => " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=$long" });
	ok($instance->arrived(1), 'arrived') or return;
	like((commands('MAIL'))[0],
	    qr/^MAIL FROM:<alice\@example\.org> SIZE=\d+ RET=HDRS ENVID=QQ\+2B1$/,
	    'MAIL as it was given, and SIZE');
	is_deeply([commands('RCPT')], [
		'RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@example.net',
		'RCPT TO:<carol@example.net> NOTIFY=NEVER',
		'RCPT TO:<dave@example.net>',
		"RCPT TO:<eve\@example.net> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=$long",
	], 'and each RCPT');
	settled();
	is(scalar(my @none = notices()), 0, 'the next hop will tell, not we');

	$smarthost->forget;
	submit(' BODY=8BITMIME', { 'bob@example.net' => '' });
	ok($instance->arrived(1), 'arrived') or return;
	like((commands('MAIL'))[0], qr/ SIZE=\d+ BODY=8BITMIME$/,
	    'nothing is added to what has none');
	is((commands('RCPT'))[0], 'RCPT TO:<bob@example.net>', 'nor here');
};

subtest 'success where the next hop has no DSN' => sub {
	$smarthost->restart(dsn => undef);
	submit(' RET=FULL ENVID=QQ+2B2', {
		'bob@example.net' => ' NOTIFY=SUCCESS ORCPT=rfc822;b+2Bx@example.net',
		'carol@example.net' => '',
		'dave@example.net' => ' NOTIFY=NEVER' });
	ok($instance->arrived(2), 'message and notice') or return;
	unlike($smarthost->received('tls'), qr/ENVID|NOTIFY=|ORCPT=|RET=FULL /,
	    'nothing of it is said');
	my ($notice, @others) = notices();
	is(@others, 0, 'one notice');
	is_deeply($notice->{to}, ['alice@example.org'], 'to the sender');
	my $text = $notice->{octets};
	like($text, qr/^Action: relayed\r$/m, 'Action');
	like($text, qr/^Status: 2\.\d\.\d\r$/m, 'Status');
	like($text, qr/^Original-Envelope-Id: QQ\+2\r$/m, 'ENVID');
	like($text, qr/^Original-Recipient: rfc822; b\+x\@example\.net\r$/m, 'ORCPT');
	like($text, qr/^Final-Recipient: rfc822; bob\@example\.net\r$/m, 'for whom');
	unlike($text, qr/carol|dave/, 'and for nobody else');
	like($text, qr/^Subject: dsn\r$/m, 'the header');
	unlike($text, qr/message\/rfc822/, 'alone, as nothing has failed');
	settled();

	$smarthost->forget;
	submit('', { 'bob@example.net' => ' NOTIFY=SUCCESS' }, from => '');
	ok($instance->arrived(1), 'from the null reverse-path') or return;
	settled();
	is(scalar(my @none = notices()), 0, 'nobody is told');
};

subtest 'failure' => sub {
	$smarthost->restart(dsn => 'yes', fault => {
		'rcpt=gone@example.net' => '550 5.1.1 no such person here' });
	submit('', { 'bob@example.net' => '',
		'gone@example.net' => ' NOTIFY=NEVER' });
	ok($instance->logged(qr/\bbounced\b.*gone\@example\.net/), 'failed');
	settled();
	is(scalar(my @none = notices()), 0, 'NEVER');

	$smarthost->forget;
	submit('', { 'gone@example.net' => ' NOTIFY=SUCCESS,DELAY',
		'bob@example.net' => '' });
	ok($instance->arrived(1), 'to the other');
	settled();
	is(scalar(@none = notices()), 0, 'not asked for');

	$smarthost->forget;
	submit(' RET=FULL ENVID=Q3', { 'gone@example.net' =>
		' NOTIFY=FAILURE ORCPT=rfc822;g@example.net' },
		body => "the body itself\r\n");
	ok($instance->arrived(1), 'asked for') or return;
	my ($notice) = notices();
	like($notice->{octets}, qr/^Action: failed\r$/m, 'Action');
	like($notice->{octets}, qr/^Original-Envelope-Id: Q3\r$/m, 'ENVID');
	like($notice->{octets}, qr/^Original-Recipient: rfc822; g\@example\.net\r$/m, 'ORCPT');
	like($notice->{octets}, qr/^Content-Type: message\/rfc822\r\n.*^the body itself\r$/ms,
	    'RET=FULL: all of it');

	$smarthost->forget;
	submit(' RET=HDRS', { 'gone@example.net' => '' },
		body => "the body itself\r\n");
	ok($instance->arrived(1), 'told unasked') or return;
	($notice) = notices();
	like($notice->{octets}, qr/^Content-Type: text\/rfc822-headers\r$/m, 'RET=HDRS');
	unlike($notice->{octets}, qr/the body itself/, 'the header alone');

	$smarthost->forget;
	submit(' RET=FULL', { 'gone@example.net' => '' },
		body => scalar(('x' x 70 . "\r\n") x 4000));
	ok($instance->arrived(1), 'larger than what is returned') or return;
	($notice) = notices();
	cmp_ok(length $notice->{octets}, '<', 16384, 'the header alone as well');
	settled();
};

subtest 'delay' => sub {
	$smarthost->restart(dsn => 'yes', fault => { map {
		("rcpt=$_\@example.net" => '451 4.2.2 mailbox full') }
		qw(bob carol dave eve) });
	$instance->option('delay-notice', '"1s"');
	like($instance->reload // '', qr/result=ok/, 'told after a second from now on');
	submit(' RET=FULL ENVID=Q4', {
		'bob@example.net' => '',
		'carol@example.net' => ' NOTIFY=NEVER',
		'dave@example.net' => ' NOTIFY=SUCCESS,FAILURE',
		'eve@example.net' => ' NOTIFY=DELAY ORCPT=rfc822;e@example.net' });
	submit('', { 'bob@example.net' => ' NOTIFY=DELAY' }, from => '');
	ok($instance->arrived(1), 'a notice arrives') or return;
	my ($notice) = notices();
	is_deeply($notice->{to}, ['alice@example.org'], 'to the sender');
	my $text = $notice->{octets};
	is_deeply([$text =~ /^Final-Recipient: rfc822; (\w+)/mg], [qw(bob eve)],
	    'about those who did not say that they need none');
	is_deeply([$text =~ /^Action: (\w+)\r$/mg], [qw(delayed delayed)], 'Action');
	is_deeply([$text =~ /^Status: (.*)\r$/mg], [qw(4.2.2 4.2.2)], 'Status');
	like($text, qr/^Original-Envelope-Id: Q4\r$/m, 'ENVID');
	like($text, qr/^Original-Recipient: rfc822; e\@example\.net\r$/m, 'ORCPT');
	like($text, qr/^Diagnostic-Code: smtp; ?451 4\.2\.2 mailbox full/m, 'why');
	like($text, qr/^Will-Retry-Until: \w/m, 'until when');
	unlike($text, qr/message\/rfc822/, 'the header alone');

	$instance->stop;
	$instance->start;
	# Tried again, so that it would have been told again, too.
	$smarthost->forget;
	ok(wait_until { my @again = commands('RCPT'); @again >= 12 },
	    'tried again after a restart');
	is(scalar(my @none = notices()), 0, 'and not told again');
	my ($queued) = grep { $_->{recipient_total} == 4 } $instance->queue;
	my ($status, $out) = $instance->tool('queue', 'show', $queued->{queue} // '');
	like($out, qr/^delay told, 20/m, 'an operator sees that it was told');
	$smarthost->fault();
	settled();
	is(scalar(@none = notices()), 0, 'once is enough');
};

$instance->stop_ok;
done_testing;
