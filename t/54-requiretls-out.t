#!/usr/bin/perl
# REQUIRETLS and "TLS-Required: No" going out (RFC 8689): where the next hop
# cannot keep the promise, not one octet of the message crosses, and the
# sender is told at once; what is passing trouble is tried again.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $dated = 'until=2099-12-31 reason="a test"';

# What is known of a next hop is told at RCPT already: so each case has an
# instance of its own that knows nothing.
sub fresh {
	my ($row, %settings) = @_;
	my $instance = Sallyport::Instance->new(start => 0, users => 1,
		options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
	my $smarthost = $instance->{smarthost};
	$instance->sites('127.0.0.1:' . $smarthost->port . " out $row\n");
	$smarthost->set('client-ca' => undef, %settings);
	$instance->start;
	return $instance;
}

sub certificate {
	my ($instance, %o) = @_;
	my ($cert, $key) = $instance->{authority}->issue('shown',
		ip => ['127.0.0.1'], %o);
	$instance->{smarthost}->set(cert => $cert, key => $key);
}

# Submit: (queue id, mark in header, body and recipient).
sub submit {
	my ($instance, %o) = @_;
	my $mark = 'Mark' . int rand 1e9;
	my $message = message(subject => $mark, body => "$mark\r\n");
	$message = "$o{field}\r\n$message" if $o{field};
	my $reply = $instance->authenticated->transaction($message,
		from => 'alice@example.org', to => ["to-$mark\@example.net"],
		mail => $o{mail} // ' REQUIRETLS');
	like($reply, qr/^250/, 'accepted');
	# A hop that failed is left alone for an hour.
	$instance->tool('queue', 'flush');
	my $line = $instance->logged(qr/\b(?:delivered|deferred|bounced)\b.*to-$mark/)
	    // '';
	return ($mark, $line);
}

sub crossed_nothing {
	my ($instance, $mark) = @_;
	my $all = join '', map { $instance->{smarthost}->received($_) } qw(clear tls);
	unlike($all, qr/MAIL FROM:<alice/i, 'no MAIL');
	unlike($all, qr/RCPT TO:<to-$mark/i, 'no RCPT');
	unlike($all, qr/Subject: $mark/, 'nothing of the message');
}

subtest 'offered' => sub {
	my $instance = fresh('encrypt', requiretls => 'yes');
	my $smarthost = $instance->{smarthost};
	for my $n (1 .. 4) {
		my ($mark, $line) = submit($instance);
		like($line, qr/\bdelivered\b/, 'delivered');
		ok($instance->arrived($n), 'it is there');
		my @mail = $smarthost->received('tls') =~ /^(MAIL FROM:<alice.*)\r$/mg;
		like($mail[-1] // '', qr/ REQUIRETLS( |$)/, 'MAIL says REQUIRETLS');
	}
	my @tls = $smarthost->events('tls');
	cmp_ok(scalar @tls, '<=', 2, 'over connections that are kept');
	my ($mark, $line) = submit($instance, mail => '');
	like($line, qr/\bdelivered\b/, 'a message without it');
	my @mail = $smarthost->received('tls') =~ /^(MAIL FROM:<alice.*)\r$/mg;
	unlike($mail[-1] // '', qr/REQUIRETLS/, 'MAIL does not say it');
	$instance->stop_ok;
};

# Row, smarthost, its certificate, status, reason.
my $host = { ip => ['127.0.0.1'] };
for (['the keyword is missing', 'encrypt', {}, $host, '5.7.30', 'requiretls'],
	['the keyword in clear alone', 'encrypt', { requiretls => 'clear' }, $host,
		'5.7.30', 'requiretls'],
	['missing under lock', 'lock match=127.0.0.1', {}, $host, '5.7.30',
		'requiretls'],
	['a certificate of another name', 'encrypt', { requiretls => 'yes' },
		{ ip => ['127.0.0.2'] }, '5.7.5', 'certificate-name'],
	['a self-signed certificate', 'encrypt', { requiretls => 'yes' },
		{ %$host, self => 1 }, '5.7.5', 'certificate-(?:self-signed|untrusted)'],
	['clear text under may', "may $dated", { tls => 'none' }, $host, '5.7.4',
		'starttls-not-offered']) {
	my ($name, $row, $settings, $certificate, $status, $reason) = @$_;
	subtest $name => sub {
		my $instance = fresh($row, %$settings);
		certificate($instance, %$certificate);
		my ($mark, $line) = submit($instance);
		like($line, qr/\bbounced\b.*status=\Q$status\E /, 'told at once');
		like($line, qr/reason=$reason\b/, 'and why');
		crossed_nothing($instance, $mark);
		$instance->stop_ok;
	};
}

for (['STARTTLS answered 454', 'encrypt', { requiretls => 'yes',
		fault => { starttls => '454 4.7.0 later' } }, {}],
	['handshake cut off', 'encrypt', { requiretls => 'yes',
		fault => { handshake => 'drop' } }, {}],
	['nobody there', 'encrypt', { fault => { connect => 'drop' } }, {}],
	['an expired certificate, the row asks for another', 'verify',
		{ requiretls => 'yes' }, { from => -86400 * 9, to => -3600 }]) {
	my ($name, $row, $settings, $certificate) = @$_;
	subtest $name => sub {
		my $instance = fresh($row, %$settings);
		certificate($instance, %$certificate);
		my ($mark, $line) = submit($instance);
		like($line, qr/\bdeferred\b/, 'tried again');
		crossed_nothing($instance, $mark);
		$instance->stop_ok;
	};
}

# What one message asks does not hold back others that would go.
subtest 'a promise that waits alone' => sub {
	my $instance = fresh("may $dated", requiretls => 'yes',
		fault => { starttls => '454 4.7.0 later' });
	my ($mark, $line) = submit($instance);
	like($line, qr/\bdeferred\b/, 'REQUIRETLS: tried again');
	crossed_nothing($instance, $mark);
	like($instance->authenticated->transaction(message()), qr/^250/,
	    'a message without it');
	ok($instance->arrived(1), 'goes at once, by may');
	$instance->stop_ok;
};

subtest 'TLS-Required: No' => sub {
	my $field = 'TLS-Required: No';
	my $instance = fresh("lock match=127.0.0.1 tls-optional=yes $dated",
		tls => 'none');
	my $smarthost = $instance->{smarthost};
	my ($mark, $line) = submit($instance, mail => '');
	like($line, qr/\bdeferred\b/, 'without it: not in clear');
	crossed_nothing($instance, $mark);
	$instance->queue_empty;
	($mark, $line) = submit($instance, mail => '', field => $field);
	like($line, qr/\bdelivered\b/, 'with it: in clear');
	like($smarthost->received('clear'), qr/Subject: $mark/, 'it has crossed');
	my ($status, $out) = $instance->tool('status', '--json');
	like($out, qr/"in-clear":\s*1\b/, 'and is counted');
	my $others = $instance->authenticated;
	like($others->transaction(message()), qr/^250/, 'another without it');
	like($others->transaction("$field\r\n" . message()), qr/^250/,
	    'one with it is not held back by that');
	ok($instance->arrived(2), 'but delivered');
	is(scalar(() = $instance->queue), 1, 'while the other waits');
	$instance->queue_empty;
	$instance->sites('127.0.0.1:' . $smarthost->port
	    . " out lock match=127.0.0.1\n");
	like($instance->reload // '', qr/result=ok/, 'the row without tls-optional');
	$smarthost->forget;
	($mark, $line) = submit($instance, mail => '', field => $field);
	like($line, qr/\bdeferred\b/, 'the field changes nothing');
	crossed_nothing($instance, $mark);
	$instance->stop_ok;
};

done_testing;
