#!/usr/bin/perl
# What is wrong in an AUTH exchange gets the right reply, proves nobody, and
# leaves the session as it was: in the same one, the right password then logs
# in and a message goes out.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Scram;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"50ms"',
		'auth-free-failures' => 1_000_000, 'auth-tries' => 20,
		'sessions-per-client' => 1000 },
	submission => { 'client-cert' => 'ask' });
my ($cert, $key) = Sallyport::Certs->authority($instance->{scratch}, 'peers')
    ->issue('branch', dns => ['branch.example'], purpose => 'client');
my ($status, undef, $err) = $instance->tool('user', 'bind', 'alice', $cert);
die "user bind: $err" if $status;

my $denied = qr/^535 5\.7\.8 authentication credentials invalid$/;
my $malformed = qr/^501 5\.5\.2 /;
my $cancelled = qr/^501 5\.7\.0 authentication cancelled$/;
my $next = qr/^334 /;
my $long = qr/^500 5\.5\.6 /;
my $order = qr/^503 5\.5\.1 /;
my $granted = qr/^235 2\.7\.0 /;
my $right = "\0alice\0correct horse";
my $sent = 0;

sub b64 {
	return encode_base64($_[0], '');
}

sub client {
	my (%o) = @_;
	return $instance->client(cert => $cert, key => $key, %o)
	    // BAIL_OUT('no connection');
}

# Log in rightly, in this session, and submit.
sub works_on {
	my ($client, $name) = @_;
	like($client->command('MAIL FROM:<alice@example.org>'), qr/^530 5\.7\.0 /,
	    "$name: nobody is logged in");
	like($client->plain('alice', 'correct horse'), $granted,
	    "$name: the right password does");
	like($client->transaction(message(subject => $name)), qr/^250 2\.0\.0 /,
	    "$name: and a message is taken");
	$sent++;
}

# Each row: what it is, then lines and what each is to be answered.  A line can
# be a function of the client and the reply before.
sub check {
	my (@rows) = @_;
	for (@rows) {
		my ($name, @steps) = @$_;
		my $client = client();
		my $reply = '';
		while (my ($line, $expect) = splice @steps, 0, 2) {
			$line = $line->($client, $reply) if ref $line;
			$reply = $client->command($line);
			my $shown = length $line > 60 ? substr($line, 0, 57)
			    . '...' : $line;
			like($reply, $expect, "$name: '$shown'");
		}
		works_on($client, $name);
	}
}

# What a client of a SCRAM mechanism says at each step.
sub scram {
	my ($mechanism, %o) = @_;
	my $scram;
	my $first = sub {
		my ($client) = @_;
		$scram = Sallyport::Scram->new(user => 'alice',
			password => 'correct horse',
			hash => $mechanism =~ /SHA-1/ ? 'SHA-1' : 'SHA-256',
			$mechanism =~ /PLUS/
			? (binding => Sallyport::Scram->binding($client)) : (),
			%o);
		return $scram->first;
	};
	return ($first, sub { $scram->final($_[1]) },
		sub { $scram->signed($_[0]) });
}

my @scram = qw(SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1);

# So that what follows fails for the reason it is meant to fail for.
subtest 'right' => sub {
	for my $mechanism (@scram) {
		my $client = client();
		my ($first, $final, $signed) = scram($mechanism);
		my $reply = $client->command("AUTH $mechanism "
		    . $first->($client));
		$reply = $client->command($final->($client, $reply));
		ok($signed->($reply), "$mechanism: the server proves itself");
		like($client->command(''), $granted, "$mechanism: granted");
		$client = client();
		($first, $final) = scram($mechanism);
		is($client->command("AUTH $mechanism"), '334 ',
		    "$mechanism without initial response");
		$reply = $client->command($first->($client));
		$client->command($final->($client, $reply));
		like($client->command(''), $granted, 'the same');
	}
	for my $initial (' =', ' ' . b64('alice'), ' ' . b64('alice@example.org'))
	{
		like(client()->command("AUTH EXTERNAL$initial"), $granted,
		    "EXTERNAL$initial");
	}
	my $client = client();
	is($client->command('AUTH EXTERNAL'), '334 ', 'EXTERNAL without');
	like($client->command(''), $granted, 'and an empty response');
};

subtest 'not base64' => sub {
	my @bad = ('!!!', 'AA', 'AAA', 'AAAAA', 'AA==AA==', 'AA=A', '====',
		'AAAA=', '=AAA', 'AA==AA', 'A A=', 'QUJD*', '-_-_', "AAA\x80");
	check(map({ ["initial response '$_'", "AUTH PLAIN $_",
			qr/^501 5\.5\.[24] /] } @bad),
		map({ ["response '$_'", 'AUTH PLAIN', qr/^334 $/,
			$_, $malformed] } @bad, '=', '**', '* ',
			b64($right) . ' ', ' ' . b64($right)),
		['the second of LOGIN', 'AUTH LOGIN', $next, b64('alice'), $next,
			'%%%%', $malformed],
		map({ my ($first) = scram($_);
			["proof of $_", "AUTH $_", $next, $first, $next,
				'%%%%', $malformed] } @scram));
};

# RFC 4954, section 4: lines of 12,288 octets, CRLF and all.
subtest 'long' => sub {
	my $most = b64("\0alice\0" . 'x' x 9205); # 12,284 octets
	my $command = b64("\0alice\0" . 'x' x 9196);
	cmp_ok(length $most, '==', 12_284, 'a response with room for CRLF');
	check(['a response of 12,284 octets', 'AUTH PLAIN', $next, $most, $denied],
		['of 12,292', 'AUTH PLAIN', $next, $most . 'A' x 8, $long],
		['of 100,000', 'AUTH PLAIN', $next, 'A' x 100_000, $long],
		['a command of ' . length("AUTH PLAIN $command") . ' octets',
			"AUTH PLAIN $command", $denied],
		['of 12,300', 'AUTH PLAIN ' . 'A' x 12_289, qr/^500 5\.5\.[26] /],
		['of 100,000', 'AUTH PLAIN ' . 'A' x 100_000,
			qr/^500 5\.5\.[26] /],
		['a mechanism of 10,000 letters', 'AUTH ' . 'A' x 10_000,
			qr/^501 5\.5\.4 /],
		['LOGIN with a name of 9,000 octets', 'AUTH LOGIN', $next,
			b64('a' x 9000), $next, b64('correct horse'), $denied],
		['with a password of 9,000', 'AUTH LOGIN', $next, b64('alice'),
			$next, b64('a' x 9000), $denied],
		map({ ["$_ with a name of 9,000 octets", "AUTH $_ "
			. b64('n,,n=' . 'a' x 9000 . ',r=abcdefgh'),
			qr/^(334 |501 5\.5\.2|535 5\.7\.8)/, '*', qr/^50[01] /] }
			qw(SCRAM-SHA-256 SCRAM-SHA-1)));
};

# As octets of a message; one on the wire is no SMTP (t/20-smtp.t).
subtest 'NUL' => sub {
	check(map({ ["PLAIN: $_->[0]", 'AUTH PLAIN ' . b64($_->[1]), $_->[2]] }
			['one too many', "\0alice\0correct horse\0", $malformed],
			['in the name', "\0al\0ice\0correct horse", $malformed],
			['none', 'alice', $malformed],
			['one', "alice\0correct horse", $malformed],
			['nothing but', "\0\0", qr/^5(01 5\.5\.2|35 5\.7\.8) /],
			['and no password', "\0alice\0",
				qr/^5(01 5\.5\.2|35 5\.7\.8) /]),
		['LOGIN: in the name', 'AUTH LOGIN', $next, b64("alice\0x"),
			qr/^(334 |501 5\.5\.2|535 5\.7\.8)/,
			b64('correct horse'), qr/^(501 5\.5\.2|535 5\.7\.8|500 5\.5\.1)/],
		['in the password', 'AUTH LOGIN', $next, b64('alice'), $next,
			b64("correct horse\0"), qr/^(501 5\.5\.2|535 5\.7\.8)/],
		['EXTERNAL', 'AUTH EXTERNAL ' . b64("alice\0"),
			qr/^(501 5\.5\.2|535 5\.7\.8)/],
		map({ ["$_: in the name", "AUTH $_ "
			. b64("n,,n=al\0ice,r=abcdefgh"),
			qr/^(501 5\.5\.2|535 5\.7\.8)/] }
			qw(SCRAM-SHA-256 SCRAM-SHA-1)));
};

# Names and passwords that no SASLprep (RFC 4013) lets through.
subtest 'text' => sub {
	my %bad = ('not UTF-8' => "al\xffice", 'cut off' => "alice\xc3",
		'too long a form' => "al\xc0\xaeice", surrogate => "a\xed\xa0\x80",
		'beyond Unicode' => "a\xf4\x90\x80\x80",
		'control character' => "al\x07ice", delete => "al\x7fice",
		'not assigned' => "al\xf0\x9f\x98\x80ice",
		'private use' => "al\xee\x80\x80ice",
		'two directions' => "\xd8\xa7l", 'vanishes' => "\xc2\xad");
	check(map({ my $text = $bad{$_};
			(["PLAIN, name: $_", 'AUTH PLAIN '
				. b64("\0$text\0correct horse"), $denied],
			["PLAIN, password: $_", 'AUTH PLAIN '
				. b64("\0alice\0$text"), $denied],
			["PLAIN, authorization identity: $_", 'AUTH PLAIN '
				. b64("$text\0alice\0correct horse"), $denied],
			["LOGIN, name: $_", 'AUTH LOGIN', $next, b64($text),
				$next, b64('correct horse'), $denied],
			["LOGIN, password: $_", 'AUTH LOGIN', $next,
				b64('alice'), $next, b64($text), $denied],
			["EXTERNAL, authorization identity: $_",
				'AUTH EXTERNAL ' . b64($text), $denied],
			["SCRAM-SHA-256, name: $_", 'AUTH SCRAM-SHA-256 '
				. b64("n,,n=$text,r=abcdefgh"),
				qr/^(501 5\.5\.2|535 5\.7\.8) /])
		} sort keys %bad),
		['SCRAM: a name with a bare comma', 'AUTH SCRAM-SHA-256 '
			. b64('n,,n=al,ice,r=abcdefgh'),
			qr/^(501 5\.5\.2|535 5\.7\.8) /],
		['SCRAM: an extension that is demanded', 'AUTH SCRAM-SHA-256 '
			. b64('n,,m=x,n=alice,r=abcdefgh'),
			qr/^(501 5\.5\.2|535 5\.7\.8) /]);
};

subtest 'cancelled' => sub {
	check(['PLAIN', 'AUTH PLAIN', $next, '*', $cancelled],
		['LOGIN at the name', 'AUTH LOGIN', $next, '*', $cancelled],
		['LOGIN at the password', 'AUTH LOGIN', $next, b64('alice'), $next,
			'*', $cancelled],
		['LOGIN after an initial response', 'AUTH LOGIN ' . b64('alice'),
			$next, '*', $cancelled],
		['EXTERNAL', 'AUTH EXTERNAL', $next, '*', $cancelled],
		map({ my $mechanism = $_;
			my ($first, $final) = scram($mechanism);
			my ($again, $proof) = scram($mechanism);
			(["$mechanism before its first message",
				"AUTH $mechanism", $next, '*', $cancelled],
			["$mechanism before its proof", "AUTH $mechanism", $next,
				$first, $next, '*', $cancelled],
			# It was right, and is taken back.
			["$mechanism after its proof", "AUTH $mechanism", $next,
				$again, $next, $proof, $next, '*', $cancelled])
		} @scram),
		['three times', ('AUTH PLAIN', $next, '*', $cancelled) x 3],
		['and a star as initial response', 'AUTH PLAIN *',
			qr/^501 5\.5\.[24] /]);
};

subtest 'SCRAM' => sub {
	check(map({ my $mechanism = $_;
			my ($first, $final) = scram($mechanism);
			my ($second) = scram($mechanism);
			my ($other) = scram($mechanism, authzid => 'bob');
			my ($wrong, $proof) = scram($mechanism,
				password => 'wrong');
			(["$mechanism: words after the signature",
				"AUTH $mechanism", $next, $first, $next, $final,
				$next, b64('x'), $malformed],
			["$mechanism: a nonce that is not ours",
				"AUTH $mechanism", $next, $second, $next,
				b64('c=biws,r=zzz,p=AAAA'),
				qr/^(501 5\.5\.2|535 5\.7\.8) /],
			["$mechanism: a wrong proof", "AUTH $mechanism", $next,
				$wrong, $next, $proof, $denied])
		} @scram),
		map({ ["$_: broken first message", "AUTH $_ "
			. b64('n,,n=alice'), qr/^(501 5\.5\.2|535 5\.7\.8) /] }
			@scram),
		['without -PLUS a binding', 'AUTH SCRAM-SHA-256 '
			. b64('p=tls-exporter,,n=alice,r=abcdefgh'), $denied],
		map({ ["-PLUS with $_", 'AUTH SCRAM-SHA-256-PLUS '
			. b64("$_,,n=alice,r=abcdefgh"), $denied] }
			qw(n y p=tls-unique p=tls-server-end-point)),
		do {
			my ($first, $final) = scram('SCRAM-SHA-256-PLUS',
				binding => 'x' x 32);
			['-PLUS bound to another channel',
				'AUTH SCRAM-SHA-256-PLUS', $next, $first, $next,
				$final, $denied];
		});
};

subtest 'in the name of somebody else' => sub {
	check(map({ my $other = $_;
			(["PLAIN for $other", 'AUTH PLAIN '
				. b64("$other\0alice\0correct horse"), $denied],
			["EXTERNAL for $other", 'AUTH EXTERNAL ' . b64($other),
				$denied],
			map({ my ($first, $final) = scram($_,
					authzid => $other);
				["$_ for $other", "AUTH $_", $next, $first,
					qr/^(334|535 5\.7\.8) /,
					sub { $_[1] =~ /^334/ ? $final->(@_)
						: 'NOOP' },
					qr/^(535 5\.7\.8|250) /]
			} @scram))
		} qw(bob alice@example.com bob@example.org nobody root)));
	# One's own, however it is spelled.
	for my $mechanism (@scram) {
		my $client = client();
		my ($first, $final) = scram($mechanism,
			authzid => 'alice@example.org');
		$client->command("AUTH $mechanism");
		my $reply = $client->command($first->($client));
		$client->command($final->($client, $reply));
		like($client->command(''), $granted,
		    "$mechanism with one's own");
	}
};

# RFC 4954, section 4: "=" is a response of no octets, and only as the initial
# response.
subtest 'nothing' => sub {
	check(['PLAIN =', 'AUTH PLAIN =', $malformed],
		['PLAIN, empty line', 'AUTH PLAIN', $next, '', $malformed],
		['LOGIN =', 'AUTH LOGIN =', qr/^(334 |501 5\.5\.2)/,
			b64('correct horse'), qr/^(535 5\.7\.8|501|500 5\.5\.1) /],
		['LOGIN, empty name', 'AUTH LOGIN', $next, '',
			qr/^(334 |501 5\.5\.2)/, b64('correct horse'),
			qr/^(535 5\.7\.8|501|500 5\.5\.1) /],
		['LOGIN, empty password', 'AUTH LOGIN', $next, b64('alice'), $next,
			'', qr/^(501 5\.5\.2|535 5\.7\.8) /],
		map({ ["$_ =", "AUTH $_ =", qr/^(501 5\.5\.2|535 5\.7\.8) /] }
			@scram),
		map({ ["$_, empty line", "AUTH $_", $next, '',
			qr/^(501 5\.5\.2|535 5\.7\.8) /] } @scram),
		['no mechanism', 'AUTH', qr/^501 5\.5\.[24] /],
		['blanks', 'AUTH   ', qr/^501 5\.5\.[24] /],
		['an unknown one', 'AUTH NTLM =', qr/^504 5\.5\.4 /],
		map({ ["$_, which is not offered", "AUTH $_", qr/^504 5\.5\.4 /] }
			qw(ANONYMOUS CRAM-MD5 DIGEST-MD5 GSSAPI GS2-KRB5
			SECURID OPENID20 SAML20 SCRAM-SHA-512 OAUTHBEARER
			XOAUTH2)));
	my $bare = $instance->client(implicit => 1);
	like($bare->command('AUTH EXTERNAL ='), qr/^504 5\.5\.4 /,
	    'EXTERNAL without a certificate');
	works_on($bare, 'EXTERNAL without a certificate');
};

subtest 'out of order' => sub {
	my $client = client();
	like($client->plain('alice', 'correct horse'), $granted, 'AUTH');
	for my $again ('AUTH PLAIN', 'AUTH PLAIN ' . b64($right),
		'AUTH EXTERNAL =', 'AUTH LOGIN', 'AUTH', 'AUTH PLAIN !!!') {
		like($client->command($again), $order, "a second time: $again");
	}
	like($client->transaction(message()), qr/^250 /, 'and mail goes on');
	$sent++;
	like($client->command('AUTH PLAIN ' . b64($right)), $order,
	    'after a message');
	$client->command('MAIL FROM:<alice@example.org>');
	like($client->command('AUTH PLAIN ' . b64($right)), $order,
	    'in a transaction');
	$client->command('RCPT TO:<bob@example.net>');
	like($client->command('AUTH LOGIN'), $order, 'after RCPT');
	like($client->command('DATA'), qr/^354 /, 'which is still there');
	like($client->content(message(subject => 'in between')), qr/^250 /,
	    'and sent');
	$sent++;
	like($client->ehlo, qr/^250/, 'EHLO');
	like($client->command('AUTH PLAIN ' . b64($right)), $order,
	    'changes nothing about it');

	# Where certificates log in by themselves, MAIL has.
	$instance->listener_option('submission', 'implicit-external' => 'yes');
	ok($instance->reload, 'reload') or return;
	$client = client();
	like($client->command('MAIL FROM:<alice@example.org>'), qr/^250 /,
	    'MAIL by certificate');
	like($client->command('AUTH PLAIN ' . b64($right)), $order,
	    'AUTH in its transaction');
	$client->command('RSET');
	like($client->command('AUTH PLAIN ' . b64($right)), $order,
	    'and after it');
	like($client->transaction(message()), qr/^250 /, 'and mail goes on');
	$sent++;
};

ok($instance->arrived($sent, 60), "all $sent messages arrive");
ok(!$instance->log_lines(qr/ (role-died|protocol) /), 'nothing is alarming');
$instance->stop_ok;
done_testing;
