#!/usr/bin/perl
# REQUIRETLS and "TLS-Required: No" (RFC 8689), and the early answer at RCPT
# about what the next hop is known not to keep.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;
my $dated = 'until=2099-12-31 reason="a test"';
my $out = "127.0.0.1:$port out lock match=127.0.0.1 cert=client";

sub table {
	$instance->sites(join '', map { "$_\n" } @_);
	my $line = $instance->reload // '';
	like($line, qr/result=ok/, "table: @_") or diag($line);
}

# The reply to RCPT in a transaction that ends there.
sub rcpt {
	my ($to, $mail) = @_;
	my $c = $instance->authenticated;
	my $reply = $c->command('MAIL FROM:<alice@example.org>' . ($mail // ''));
	return "MAIL: $reply" if $reply !~ /^250/;
	$reply = $c->command("RCPT TO:<$to>");
	$c->command('QUIT');
	return $reply;
}

# One that says so within the time a proof takes to get here.
sub rcpt_becomes {
	my ($pattern, $name, @rcpt) = @_;
	my $reply;
	my $became = wait_until { ($reply = rcpt(@rcpt)) =~ $pattern } 10;
	ok($became, $name) or diag($reply);
	return $reply // '';
}

subtest 'offered inside TLS only' => sub {
	my $offer = qr/^250[- ]REQUIRETLS\r?$/m;
	my $c = $instance->client(clear => 1);
	unlike($c->ehlo, qr/REQUIRETLS/, 'not before TLS');
	like($c->command('MAIL FROM:<alice@example.org> REQUIRETLS'),
	    qr/^530 5\.7\.0 /, 'nor taken there');
	like($instance->client(silent => 1)->ehlo, $offer, 'after STARTTLS');
	like($instance->client(implicit => 1, silent => 1)->ehlo, $offer,
	    'in implicit TLS');
	like($instance->authenticated->ehlo, $offer, 'after AUTH');
};

subtest 'forms' => sub {
	my $c = $instance->authenticated;
	for ([' REQUIRETLS=yes', qr/^501 5\.5\.4 /], [' REQUIRETLS=', qr/^501 5\.5\.4 /],
		[' REQUIRETLS REQUIRETLS', qr/^501 5\.5\.4 /],
		[' REQUIRETLS SIZE=1 requiretls', qr/^501 5\.5\.4 /],
		[' REQUIRETLSNOT', qr/^555 5\.5\.4 /], [' REQUIRE-TLS', qr/^555 5\.5\.4 /],
		['REQUIRETLS', qr/^501 5\./],
		[' REQUIRETLS', qr/^250 /], [' requireTLS', qr/^250 /],
		[' SIZE=10 REQUIRETLS BODY=8BITMIME', qr/^250 /]) {
		my ($parameter, $expect) = @$_;
		like($c->command("MAIL FROM:<alice\@example.org>$parameter"), $expect,
		    "MAIL$parameter");
		$c->command('RSET');
	}
	like($c->command('MAIL FROM:<> REQUIRETLS'), qr/^250 /,
	    'with the null reverse-path');
	like($c->command('RCPT TO:<bob@example.net> REQUIRETLS'),
	    qr/^555 5\.5\.4 /, 'it is no parameter of RCPT');
};

subtest 'nothing is known of the next hop' => sub {
	table($out, 'far.example rcpt lock match=elsewhere.example');
	like(rcpt('bob@far.example'), qr/^250 /, 'a rcpt row is decided later');
	like(rcpt('bob@example.net', ' REQUIRETLS'), qr/^250 /,
	    'so is a promise');
};

subtest 'a row the next hop is known not to meet' => sub {
	like($instance->authenticated->transaction(message()), qr/^250/, 'mail');
	ok($instance->arrived(1), 'is delivered, which proves something');
	my $reply = rcpt_becomes(qr/^554 5\.7\.0 /, 'RCPT is refused',
		'bob@far.example');
	like($reply, qr/certificate-name.*sites:2/, 'and says why, and by which row');
	my $line = $instance->logged(qr/\bpolicy\b.*rcpt=bob\@far\.example /) // '';
	like($line, qr/session=\w+ .*site=127\.0\.0\.1 row=sites:1,sites:2 asked=lock /,
	    'the record in the log');
	like($line, qr/ verdict=refuse-permanent reason=certificate-name /,
	    'with what was answered');
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org>');
	like($c->command('RCPT TO:<bob@far.example>'), qr/^554 5\.7\.0 /, 'refused');
	like($c->command('DATA'), qr/^(503|554) 5\.5\.1 /, 'alone it is none');
	like($c->command('RCPT TO:<bob@example.net>'), qr/^250 /,
	    'others are not refused with it');
	like($c->command('RCPT TO:<bob@sub.far.example>'), qr/^250 /,
	    'nor is what the row is not about');
	$smarthost->forget;
	$c->command('DATA');
	like($c->content(message()), qr/^250/, 'accepted for the others');
	ok($instance->arrived(1), 'and delivered');
	unlike($smarthost->received('tls'), qr/bob\@far\.example/,
	    'but not to who was refused');
};

subtest 'a promise that cannot be kept' => sub {
	table($out);
	my $reply = rcpt_becomes(qr/^550 5\.7\.30 /,
		'no REQUIRETLS at the next hop: known at RCPT', 'bob@example.net',
		' REQUIRETLS');
	like($reply, qr/REQUIRETLS/i, 'and said');
	like($instance->logged(qr/\bpolicy\b.*rcpt=bob\@example\.net /) // '',
	    qr/ verdict=refuse-permanent reason=requiretls/, 'the record in the log');
	like(rcpt('bob@example.net'), qr/^250 /, 'without a promise it goes');
};

subtest 'a promise that is kept' => sub {
	$smarthost->restart(requiretls => 'yes');
	like($instance->authenticated->transaction(message()), qr/^250/, 'mail');
	ok($instance->arrived(1), 'is delivered to one that has learnt it');
	rcpt_becomes(qr/^250 /, 'RCPT is accepted', 'bob@example.net',
		' REQUIRETLS');
	$smarthost->forget;
	like($instance->authenticated->transaction(message(subject => 'promised'),
		mail => ' REQUIRETLS'), qr/^250/, 'accepted');
	ok($instance->arrived(1), 'delivered');
	like($smarthost->received('tls'),
	    qr/^MAIL FROM:<alice\@example\.org>.* REQUIRETLS\b/m,
	    'and the promise is passed on');
	unlike($smarthost->received('clear'), qr/MAIL/, 'nothing in clear');
	like($instance->logged(qr/\baccepted\b.* requiretls=yes/) // '', qr/\S/,
	    'the log says so');
};

subtest 'a new session process is told' => sub {
	table($out, 'far.example rcpt lock match=elsewhere.example');
	my $roles = $instance->roles;
	ok(kill('KILL', $roles->{session}), 'the session process dies');
	my $again = wait_until {
		my $now = $instance->roles->{session} // 0;
		return $now && $now != $roles->{session}
		    && $instance->ready('submission');
	};
	ok($again, 'there is a new one');
	rcpt_becomes(qr/^554 5\.7\.0 /, 'it knows what the next hop has proved',
		'bob@far.example');
};

subtest 'TLS-Required: No' => sub {
	$smarthost->restart(tls => 'none', requiretls => undef);
	my $n = 0;
	# Header fields, the rows, MAIL's parameter, whether it goes in clear.
	my $may = "127.0.0.1:$port out encrypt tls-optional=yes $dated";
	my $no = "TLS-Required: No\r\n";
	for (['the row alone', '', $may, '', 0],
		['the field alone', $no, "127.0.0.1:$port out encrypt", '', 0],
		['both', $no, $may, '', 1],
		['both, folded, in other case', "tls-required:\r\n\tNO\r\n", $may,
			'', 1],
		['another value', "TLS-Required: Yes\r\n", $may, '', 0],
		['two fields', $no . $no, $may, '', 0],
		['in the body', "Subject: a\r\n\r\n$no", $may, '', 0],
		['MAIL REQUIRETLS outweighs it', $no, $may, ' REQUIRETLS', 0],
		['the exception is over', $no, "127.0.0.1:$port out encrypt "
			. 'tls-optional=yes until=2020-12-31 reason="a test"', '', 0],
		['a rcpt row that makes no exception', $no, $may
			. "\nexample.net rcpt encrypt", '', 0]) {
		my ($name, $fields, $rows, $mail, $goes) = @$_;
		table($rows);
		$smarthost->forget;
		my $from = 'from-' . ++$n . '@example.org';
		my $reply = $instance->authenticated->transaction(
			$fields . message(), from => $from, mail => $mail);
		if ($reply =~ /^550 5\.7\.30 / && $mail) {
			pass("$name: refused at RCPT");
			next;
		}
		like($reply, qr/^250 /, "$name: accepted");
		my ($id) = ($instance->logged(qr/\baccepted\b.*from=<?\Q$from\E/) // '')
		    =~ /queue=(\S+)/;
		my $line = $instance->logged(
			qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/) // '';
		if ($goes) {
			like($line, qr/\bdelivered\b/, "$name: delivered");
			like($smarthost->received('clear'), qr/\Q$from\E/,
			    "$name: in clear");
			ok($instance->log_lines(
				qr/\baccepted\b.*queue=$id .* tls-optional=yes/),
			    "$name: the log says so");
		} else {
			unlike($line, qr/\bdelivered\b/, "$name: not delivered");
			unlike($smarthost->received('clear'), qr/MAIL|\Q$from\E/,
			    "$name: not one octet in clear");
		}
		$instance->queue_empty;
	}
};

$instance->stop_ok(deaths => 1);
done_testing;
