#!/usr/bin/perl
# Mail transactions upstream: CHUNKING where it is offered and safe, and many
# recipients in as few transactions as the next hop allows, at once.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

# Nothing that is deferred comes back by itself in the time of this test.
my $instance = Sallyport::Instance->new(scratch => scratch(),
	options => { 'retry-first' => '"1h"', 'retry-most' => '"1h"',
		recipients => 1000 });
my $smarthost = $instance->{smarthost};

my @same = (chunking => undef, limits => undef, 'rcpt-most' => undef,
	'mail-most' => undef, 'rset-most' => undef, pipelining => undef, size => undef, 'eight-bit' => undef, fault => {});

sub smarthost {
	my (%settings) = @_;
	$smarthost->restart(@same, %settings);
	$instance->tool('queue', 'flush');
}

my $serial = 0;

# Submitted to these; its mark.
sub submit {
	my ($body, @to) = @_;
	my $mark = 'mark' . ++$serial;
	my $reply = $instance->authenticated->transaction(
		message(subject => $mark, defined $body ? (body => $body) : ()),
		to => @to ? \@to : ['bob@example.net'],
		mail => ($body // '') =~ /[\x80-\xff]/
		    ? ' BODY=8BITMIME' : '');
	like($reply, qr/^250/, 'accepted');
	return $mark;
}

sub kept {
	my ($mark) = @_;
	return wait_until { (grep { /^Subject: \Q$mark\E\r$/m }
		$smarthost->messages)[0] };
}

# How often a command was said.
sub said {
	my ($command) = @_;
	return scalar(() = $smarthost->received('tls') =~ /^$command/mg);
}

my $lines = "one\r\n.a dot first\r\n..two\r\n.\r\n\r\nend\r\n";

subtest 'CHUNKING' => sub {
	smarthost(chunking => 'yes');
	my $kept = kept(submit($lines));
	like($kept, qr/\r\n\r\n\Q$lines\E\z/, 'every octet as it was');
	is(said('DATA'), 0, 'no DATA');
	my @flight = grep { /^MAIL FROM/m }
	    map { decode_base64($_->{octets}) } $smarthost->events('received');
	like($flight[0], qr/^RCPT .*^BDAT \d+ LAST\r\n.*\r\nend\r\nRSET\r\n\z/ms,
	    'all of it in one flight');
	my ($size) = $flight[0] =~ /^BDAT (\d+) LAST/m;
	is($size, length $kept, 'as long as it says');
	like($flight[0], qr/^MAIL .* SIZE=\Q$size\E\b/m, 'and as SIZE says');
	is(said('STARTTLS'), 0, 'inside TLS');
	kept(submit($lines)) for 1 .. 8;
	cmp_ok(scalar(my @tls = $smarthost->events('tls')), '<=', 3,
	    'the next over the same connection');
};

subtest 'CHUNKING, a large message' => sub {
	smarthost(chunking => 'yes');
	my $large = join '', map { ".$_ " . 'x' x 70 . "\r\n" } 1 .. 20000;
	my $kept = kept(submit($large));
	ok($kept =~ /\r\n\r\n\Q$large\E\z/, 'every octet as it was');
	is(said('BDAT \d+ LAST'), 1, 'by one BDAT');
	is(said('DATA'), 0, 'no DATA');
	kept(submit($lines)) for 1 .. 8;
	cmp_ok(scalar(my @tls = $smarthost->events('tls')), '<=', 3,
	    'the next over the same connection');
};

subtest 'CHUNKING without PIPELINING' => sub {
	smarthost(chunking => 'yes', pipelining => 'no');
	like(kept(submit($lines)), qr/\Q$lines\E\z/, 'every octet as it was');
	is(said('BDAT \d+ LAST'), 1, 'by BDAT');
	my @flight = grep { /^MAIL FROM/m }
	    map { decode_base64($_->{octets}) } $smarthost->events('received');
	unlike($flight[0], qr/RCPT|BDAT/, 'MAIL is answered first');
};

# A server that does not skip a chunk would take its lines for commands, with
# our login.
for my $line ('MAIL FROM:<boss@example.org>', ' mail  From:<>',
	'xMaIl fRoM:<a@example.org>', 'RCPT TO:<boss@example.org>') {
	for my $before ('', 'x' x 78 . "\r\n" x 2000) {
		subtest 'a message that reads as commands: '
		    . (length $before ? 'large, ' : '') . $line => sub {
			smarthost(chunking => 'yes');
			ok(kept(submit("$before$line\r\n")), 'delivered');
			is(said('DATA'), 1, 'by DATA');
			is(said('BDAT'), 0, 'not by BDAT');
		};
	}
}

subtest 'CHUNKING offered and not known' => sub {
	smarthost(chunking => 'unknown');
	my $body = "RSET\r\nNOOP\r\nQUIT\r\n";
	like(kept(submit($body)), qr/\Q$body\E\z/, 'delivered by DATA, at once');
	ok(kept(submit($lines)), 'the next one, too');
	is(said('BDAT'), 1, 'it is tried once');
	is($smarthost->count, 2, 'nothing else arrived');
	is(scalar(my @told = $instance->log_lines(
		qr/ chunking site=127\.0\.0\.1:\d+ .* reply="?502 /)), 1,
	    'and told once');
	smarthost();
	like($instance->reload // '', qr/result=ok/, 'a reload forgets it');
};

subtest 'recipients refused in a flight' => sub {
	smarthost(chunking => 'yes', fault => {
		'rcpt=nobody@example.net' => '550 5.1.1 no such user' });
	my $mark = submit($lines, 'nobody@example.net', 'bob@example.net');
	ok(kept($mark), 'delivered');
	my ($event) = grep { $_->{from} ne '' } $smarthost->events('message');
	is_deeply($event->{to}, ['bob@example.net'], 'to the other alone');
	ok($instance->logged(qr/ bounced .*rcpt=nobody\@example\.net .*5\.1\.1/),
	    'the one is told');
	submit($lines, 'nobody@example.net');
	ok(wait_until { $smarthost->count == 3 }, 'bounces for both');
	is(scalar(my @out = $instance->log_lines(qr/ chunking .*RSET/)), 0,
	    'and replies fit their commands');
};

for my $chunking ('yes', undef) {
	my $way = $chunking ? 'CHUNKING' : 'DATA';

	for my $reply ('452 4.5.3', '452', '552 5.5.3', '552') {
		subtest "$way: too many recipients, $reply" => sub {
			smarthost(chunking => $chunking, 'rcpt-most' => "3 $reply");
			my @to = map { "r$_\@example.net" } 1 .. 7;
			kept(submit($lines, @to));
			ok(wait_until { $smarthost->count == 3 }, 'three transactions');
			is_deeply([map { @{ $_->{to} } } $smarthost->events('message')],
				\@to, 'for all of them');
			is(scalar(my @tls = $smarthost->events('tls')), 1,
			    'over one connection');
			ok(wait_until { !$instance->queue }, 'nothing waits');
		};
	}

	subtest "$way: LIMITS" => sub {
		smarthost(chunking => $chunking, 'rcpt-most' => 3,
			limits => 'RCPTMAX=3 MAILMAX=2 OTHER=x');
		my @to = map { "r$_\@example.net" } 1 .. 7;
		kept(submit($lines, @to));
		ok(wait_until { $smarthost->count == 3 }, 'three transactions');
		is_deeply([map { @{ $_->{to} } } $smarthost->events('message')],
			\@to, 'for all of them');
		is(said('RCPT'), 7, 'nobody is named in vain');
		is(scalar(my @tls = $smarthost->events('tls')), 2,
		    'over two connections');
		ok(wait_until { !$instance->queue }, 'nothing waits');
	};

	# As OpenSMTPD does.
	subtest "$way: so many messages over a connection" => sub {
		my $late = () = $instance->log_lines(qr/ deferred /);
		smarthost(chunking => $chunking, 'mail-most' => 2, 'rcpt-most' => 3);
		submit($lines) for 1 .. 7;
		ok(wait_until { $smarthost->count == 7 }, 'all of them');
		my @to = map { "r$_\@example.net" } 1 .. 7;
		submit($lines, @to);
		ok(wait_until { $smarthost->count == 10 }, 'and one in parts');
		is(scalar(my @all = $instance->log_lines(qr/ deferred /)), $late,
		    'none is put off');
	};

	subtest "$way: the first message over a connection is put off" => sub {
		smarthost(chunking => $chunking, fault => {
			mail => '452 4.3.1 no room' });
		submit($lines, lc "$way\@example.net");
		ok($instance->logged(
			qr/ deferred .*rcpt=$way\@.*reply="452 4\.3\.1 no room"/i),
		    'so is the message');
		is(said('MAIL'), 1, 'and not tried twice');
		$instance->queue_empty;
	};

	# As Exim does.
	subtest "$way: a server that counts RSETs" => sub {
		smarthost(chunking => $chunking, 'rset-most' => 10, fault => {
			'rcpt=nobody@example.net' => '550 5.1.1 no such user' });
		my ($told, $late) = map { my $about = $_;
			sub { scalar(() = $instance->log_lines(
				qr/ $about .*rcpt=nobody\@/)) } } qw(bounced deferred);
		my @before = ($told->(), $late->());
		submit($lines, 'nobody@example.net') for 1 .. 40;
		ok(wait_until { $told->() + $late->() - $before[0] - $before[1]
			>= 40 }, 'all of them are answered');
		is($told->() - $before[0], 40, 'and for good');
		ok(wait_until { $smarthost->count == 40 }, 'who sent them is told');
	};

	subtest "$way: many recipients" => sub {
		smarthost(chunking => $chunking);
		my @to = map { "recipient-number-$_\@example.net" } 1 .. 450;
		kept(submit($lines, @to));
		my ($event) = $smarthost->events('message');
		is_deeply($event->{to}, \@to, 'in one transaction');
	};
}

subtest 'a full mailbox is not too many recipients' => sub {
	smarthost(fault => { 'rcpt=full@example.net' => '552 5.2.2 mailbox full',
		'rcpt=busy@example.net' => '452 4.2.2 mailbox full' });
	submit($lines, 'bob@example.net', 'full@example.net', 'busy@example.net');
	ok($instance->logged(qr/ bounced .*rcpt=full\@example\.net .*5\.2\.2/),
	    '552 5.2.2 is final');
	ok($instance->logged(qr/ deferred .*rcpt=busy\@example\.net .*4\.2\.2/),
	    '452 4.2.2 is not');
	is(said('RCPT TO:<busy'), 1, 'and is not repeated at once');
	$instance->queue_empty;
};

subtest 'what the next hop cannot take is not sent' => sub {
	smarthost(size => 2000);
	submit("x\r\n" x 1000);
	ok($instance->logged(qr/ bounced .*status=5\.3\.4 /), 'too large: 5.3.4');
	unlike($smarthost->received('tls'), qr/^MAIL FROM:<alice/m,
	    'MAIL is not even said');
	smarthost('eight-bit' => 'no');
	submit("gr\xc3\xbc\xc3\x9fe\r\n");
	ok($instance->logged(qr/ bounced .*status=5\.6\.3 /), '8bit: 5.6.3');
	unlike($smarthost->received('tls'), qr/^MAIL FROM:<alice/m,
	    'MAIL is not even said');
};

$instance->stop_ok;
done_testing;
