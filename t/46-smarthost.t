#!/usr/bin/perl
# We relay to a real Postfix: CHUNKING in one flight, many messages over few
# connections, more recipients than it takes at once, DSN, SMTPUTF8, and what it
# refuses.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::PostfixHub;
use Sallyport::Test;
use Test::More;

if (my $why = Sallyport::PostfixHub->unavailable) {
	plan skip_all => $why;
}

my $authority = Sallyport::Certs->authority(scratch(), 'upstream');
my ($cert, $key) = $authority->issue('hub', ip => ['127.0.0.1']);
my @many = map { "r$_\@example.net" } 1 .. 13;
my $hub = Sallyport::PostfixHub->new(scratch(), cert => $cert, key => $key,
	most => 5, boxes => ['alice@example.org', 'bob@example.net',
		"gr\xc3\xbcn\@example.net", @many]);
ok($hub->start, 'Postfix has started') or diag $hub->log_text;

# One connection at a time, and nothing that is put off comes back by itself.
my $instance = Sallyport::Instance->new(start => 0, authority => $authority,
	options => { 'retry-first' => '"1h"', 'retry-most' => '"1h"',
		'relay-threads' => 2, recipients => 100 });
my $unused = $instance->{smarthost}->port;
$instance->{smarthost}->stop;
$instance->conf_write(
	slurp($instance->{conf}) =~ s/:$unused\b/:$hub->{port}/gr);
$instance->start;
my $client = $instance->authenticated;

sub submit {
	my ($subject, @more) = @_;
	return $client->transaction(message(subject => $subject), @more) =~ /^250 /;
}

sub delivered {
	my ($subject) = @_;
	return scalar grep { /^Subject: $subject$/m } $hub->mail;
}

# Postfix counts 100 RSETs, but for mail that it takes.
subtest 'many messages' => sub {
	is(scalar(grep { submit("one$_", to => ['bob@example.net']) } 1 .. 120), 120,
		'accepted');
	ok(wait_until { delivered('one\d+') == 120 }, 'delivered');
	my $connections = () = $hub->log_text
	    =~ /TLS connection established from/g;
	cmp_ok($connections, '<=', 5, 'over few connections');
};

subtest 'more recipients than it takes at once' => sub {
	ok(submit('many', to => \@many), 'accepted');
	ok(wait_until { delivered('many') == 13 }, 'delivered to all');
};

subtest 'every octet as it was' => sub {
	my $large = join '', map { ".$_ " . 'x' x 70 . "\r\n" } 1 .. 5000;
	like($client->transaction(message(subject => 'large', body => $large),
		to => ['bob@example.net']), qr/^250 /, 'accepted');
	my $expected = $large =~ s/\r\n/\n/gr;
	ok(wait_until { grep { /\n\n\Q$expected\E\z/ } $hub->mail }, 'by BDAT');
};

subtest 'DSN' => sub {
	$client->command('MAIL FROM:<alice@example.org> RET=HDRS ENVID=QQ314159');
	$client->command('RCPT TO:<bob@example.net> NOTIFY=SUCCESS'
	    . ' ORCPT=rfc822;robert@example.net');
	$client->command('DATA');
	like($client->content(message()), qr/^250 /, 'accepted');
	ok(wait_until {
		grep { /^Original-Envelope-Id: QQ314159$/m && /^Action: delivered$/m
			&& /^Original-Recipient: rfc822; ?robert\@example\.net$/m
		} $hub->mail
	}, 'Postfix tells of the delivery');
};

subtest 'SMTPUTF8' => sub {
	$client->command(
		'MAIL FROM:<alice@example.org> SMTPUTF8 BODY=8BITMIME');
	$client->command("RCPT TO:<gr\xc3\xbcn\@example.net>");
	$client->command('DATA');
	like($client->content(message(subject => "gr\xc3\xbcn")), qr/^250 /,
		'accepted');
	ok(wait_until { delivered("gr\xc3\xbcn") == 1 }, 'delivered');
};

subtest 'what it refuses' => sub {
	is(scalar(grep { submit("bad$_", to => ["nobody$_\@example.net"]) } 1 .. 30),
		30, 'accepted');
	ok(wait_until { 30 == grep { /^Action: failed$/m } $hub->mail },
		'each is returned');
	is(scalar(my @late = $instance->log_lines(qr/ deferred /)), 0,
		'and none put off');
};

$instance->stop_ok;
ok($hub->logged(qr/disconnect from \S+ .*\bbdat=/), 'BDAT was said');
unlike($hub->log_text, qr/disconnect from \S+ .*\bdata=/, 'DATA was not');
unlike($hub->log_text, qr/too many errors|improper command/, 'nor nonsense');
$hub->stop;
done_testing;
