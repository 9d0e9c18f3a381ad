#!/usr/bin/perl
# Authentication: mechanisms, what strangers can learn, limits.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(time);

my $instance = Sallyport::Instance->new(
	start => 0,
	options => { 'auth-failure-delay' => '"500ms"', 'auth-tries' => 3,
		'auth-free-failures' => 1000 });
# gsasl compares the name it was told to connect to.
$instance->tool('cert', 'issue', 'mail.example.org', 'localhost', '--role',
	'server', '--out', "$instance->{folder}/tls/server");
$instance->start;

sub b64 {
	return encode_base64($_[0], '');
}

sub gsasl {
	my ($mechanism, $user, $password, @more) = @_;
	my ($status, $out, $err) = run({ timeout => 30 }, 'gsasl', '--smtp',
		"--connect=localhost:$instance->{ports}{submission}",
		"--x509-ca-file=$instance->{folder}/tls/ca.pem", '-a', $user,
		'-p', $password, '-m', $mechanism, '--quiet',
		$mechanism =~ /-PLUS/ ? () : '--no-cb', @more);
	return $status;
}

subtest 'PLAIN' => sub {
	for my $user (qw(alice alice@example.org)) {
		my $c = $instance->client;
		like($c->plain($user, 'correct horse'), qr/^235 2\.7\.0 /,
		    "initial response, $user");
	}
	my $c = $instance->client;
	is($c->command('AUTH PLAIN'), '334 ', 'without: an empty challenge');
	like($c->command(b64("\0alice\0correct horse")), qr/^235 2\.7\.0 /, 'granted');
	$c = $instance->client;
	like($c->command('AUTH plain ' . b64("\0alice\0correct horse")),
	    qr/^235 /, 'case does not matter');
	$c = $instance->client;
	like($c->command('AUTH PLAIN '
		. b64("alice\@example.org\0alice\0correct horse")), qr/^235 /,
	    'the same authorization identity');
	$c = $instance->client;
	like($c->command('AUTH PLAIN ' . b64("bob\0alice\0correct horse")),
	    qr/^535 5\.7\.8 /, 'another authorization identity');
	for (['wrong password', "\0alice\0wrong"], ['no such user', "\0zoe\0x"],
		['empty password', "\0alice\0"], ['empty name', "\0\0x"],
		['other realm', "\0alice\@example.com\0correct horse"],
		['prefix of the password', "\0alice\0correct hors"],
		['password of 600 octets', "\0alice\0" . 'x' x 600]) {
		my ($name, $response) = @$_;
		$c = $instance->client;
		like($c->command('AUTH PLAIN ' . b64($response)),
		    qr/^(535 5\.7\.8|501 5\.5\.2) /, $name);
		like($c->command('MAIL FROM:<alice@example.org>'),
		    qr/^530 5\.7\.0 /, "$name: and MAIL is refused");
	}
};

subtest 'LOGIN' => sub {
	my $c = $instance->client;
	is($c->command('AUTH LOGIN'), '334 VXNlcm5hbWU6', 'asks for the name');
	like($c->command(b64('alice')), qr/^334 UGFzc3dvcmQ6$/, 'for the password');
	like($c->command(b64('correct horse')), qr/^235 2\.7\.0 /, 'granted');
	$c = $instance->client;
	like($c->command('AUTH LOGIN ' . b64('alice')), qr/^334 UGFzc3dvcmQ6$/,
	    'with an initial response');
	like($c->command(b64('correct horse')), qr/^235 2\.7\.0 /, 'granted');
	$c = $instance->client;
	$c->command('AUTH LOGIN ' . b64('alice'));
	like($c->command(b64('wrong')), qr/^535 5\.7\.8 /, 'wrong password');
};

subtest 'SCRAM with a real client' => sub {
	for my $mechanism (qw(SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256
	    SCRAM-SHA-1)) {
		is(gsasl($mechanism, 'alice', 'correct horse'), 0, $mechanism);
		isnt(gsasl($mechanism, 'alice', 'wrong'), 0,
		    "$mechanism, wrong password");
		isnt(gsasl($mechanism, 'zoe', 'correct horse'), 0,
		    "$mechanism, no such user");
	}
	is(gsasl('PLAIN', 'alice', 'correct horse'), 0, 'PLAIN');
	is(gsasl('LOGIN', 'alice', 'correct horse'), 0, 'LOGIN');
};

subtest 'who was made to believe that -PLUS is not offered' => sub {
	my $c = $instance->client;
	like($c->command('AUTH SCRAM-SHA-256 ' . b64('y,,n=alice,r=abcdefghijkl')),
	    qr/^535 5\.7\.8 /, 'is refused');
	ok($instance->logged(qr/ alarm auth .*result=downgrade/), 'with an alarm');
	like($c->command('AUTH SCRAM-SHA-1 ' . b64('y,,n=alice,r=abcdefghijkl')),
	    qr/^535 5\.7\.8 /, 'again');
	ok($instance->logged(qr/ warning auth .*result=downgrade/),
	    'with a warning: a stranger cannot make a flood of alarms');
	like($c->plain('alice', 'correct horse'), qr/^235 /, 'and may go on');
	$c = $instance->client;
	like($c->command('AUTH SCRAM-SHA-256-PLUS '
		. b64('p=tls-unique,,n=alice,r=abcdefghijkl')),
	    qr/^535 5\.7\.8 /, 'tls-unique is not taken');
};

subtest 'a network that has to bind' => sub {
	my $before = slurp($instance->{conf});
	$instance->option('require-binding' => '{ "127.0.5.0/24", "::/0" }');
	ok($instance->reload, 'reload');
	my $c = $instance->client(local => '127.0.5.1');
	like($c->ehlo, qr/^250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS\r?$/m,
	    'is offered -PLUS alone');
	like($c->plain('alice', 'correct horse'), qr/^504 5\.5\.4 /, 'PLAIN is refused');
	like($c->command('AUTH SCRAM-SHA-256 ' . b64('n,,n=alice,r=abcdefghijkl')),
	    qr/^504 5\.5\.4 /, 'and SCRAM that does not bind');
	like($c->command('AUTH SCRAM-SHA-256-PLUS '
		. b64('p=tls-exporter,,n=alice,r=abcdefghijkl')), qr/^334 /, '-PLUS is not');
	like($instance->client->plain('alice', 'correct horse'), qr/^235 /,
	    'other networks are as before');
	$instance->option('require-binding' => '{ "127.0.0.0/8" }');
	ok($instance->reload, 'reload');
	is(gsasl('SCRAM-SHA-256-PLUS', 'alice', 'correct horse'), 0,
	    'a real client that binds is let in');
	isnt(gsasl('PLAIN', 'alice', 'correct horse'), 0, 'PLAIN is not');
	$instance->conf_write($before);
	ok($instance->reload, 'reload');
};

# Reply and seconds of PLAIN.
sub timed {
	my ($c, $user, $password) = @_;
	my $start = time;
	my $reply = $c->plain($user, $password);
	return ($reply, time - $start);
}

# The right password of a login that something else forbids, and a wrong one:
# nobody can tell which it was, by PLAIN or by SCRAM.
sub like_wrong {
	my ($user, $what) = @_;
	my ($wrong, $wrong_took) = timed($instance->client, $user, 'wrong');
	my ($reply, $took) = timed($instance->client, $user, 'their own');
	like($reply, qr/^535 5\.7\.8 /, "$what: refused");
	is($reply, $wrong, "$what: like a wrong password");
	# How alike is t/44's to say: here it is one try of each.
	cmp_ok($_, '>=', 0.49, "$what: not before its time")
	    for $took, $wrong_took;
	cmp_ok(abs($took - $wrong_took), '<', 0.45, "$what: nor later");
	isnt(gsasl('SCRAM-SHA-256', $user, 'their own'), 0, "$what: by SCRAM");
	ok($instance->logged(
	    qr/ auth .*result=failed user=\Q$user\E.* mechanism=SCRAM.* detail="?\Q$what\E"?$/),
	    "$what: the log says so");
}

subtest 'a login that something else than its password forbids' => sub {
	$instance->user_add('dave', 'their own');
	my $limit = sub {
		is(($instance->tool('user', 'limit', 'dave', @_))[0], 0,
		    "limit @_");
	};
	is(gsasl('SCRAM-SHA-256', 'dave', 'their own'), 0, 'nothing yet');
	$limit->('--network', '192.0.2.0/24');
	like_wrong('dave', 'not from this network');
	$limit->('--network', '127.0.0.0/8');
	is(gsasl('SCRAM-SHA-256', 'dave', 'their own'), 0, 'from where he may');
	$limit->('--any-network', '--binding', 'required');
	like_wrong('dave', 'channel binding is required');
	is(gsasl('SCRAM-SHA-256-PLUS', 'dave', 'their own'), 0, 'bound, he may');
	$limit->('--binding', 'optional');
	is(($instance->tool('user', 'disable', 'dave'))[0], 0, 'disable');
	like_wrong('dave', 'disabled');
	is(($instance->tool('user', 'enable', 'dave'))[0], 0, 'enable');
	like($instance->client->plain('dave', 'their own'), qr/^235 /, 'as before');
};

# The server's first SCRAM message for a name: salt and count.
sub scram_first {
	my ($user, $mechanism) = @_;
	my $c = $instance->client;
	my $reply = $c->command("AUTH $mechanism "
	    . b64("n,,n=$user,r=abcdefghijklmnop"));
	$c->command('*');
	$reply =~ /^334 (\S+)/ or return "reply: $reply";
	my ($nonce, $salt, $count) =
	    decode_base64($1) =~ /^r=([^,]+),s=([^,]+),i=(\d+)$/
	    or return "challenge: $1";
	return "$salt $count";
}

subtest 'what SCRAM tells about unknown users' => sub {
	for my $mechanism (qw(SCRAM-SHA-256 SCRAM-SHA-1)) {
		my $known = scram_first('alice', $mechanism);
		like($known, qr/^\S+ \d+$/, "$mechanism: a challenge");
		my ($count) = $known =~ / (\d+)$/;
		cmp_ok($count // 0, '>=', 10_000, 'at least 10,000 iterations');
		my $unknown = scram_first('zoe', $mechanism);
		like($unknown, qr/ \Q$count\E$/, 'the same count for an unknown name');
		is(length $unknown, length $known, 'a salt of the same length');
		is(scram_first('zoe', $mechanism), $unknown, 'the same the next time');
		isnt(scram_first('zack', $mechanism), $unknown, 'another for another name');
		is(scram_first('alice', $mechanism), $known, 'and a known name keeps its own');
	}
	my $before = scram_first('zoe', 'SCRAM-SHA-256');
	ok($instance->stop, 'stop');
	$instance->start;
	is(scram_first('zoe', 'SCRAM-SHA-256'), $before, 'stable over a restart');
};

subtest 'unknown user and wrong password' => sub {
	my (%reply, %took);
	for my $round (1 .. 5) {
		for my $user (qw(alice zoe)) {
			my $c = $instance->client;
			my $start = time;
			$reply{$user} = $c->plain($user, "wrong $round");
			push @{ $took{$user} }, time - $start;
		}
	}
	like($reply{alice}, qr/^535 5\.7\.8 /, 'refused');
	is($reply{zoe}, $reply{alice}, 'the same reply');
	my ($known, $unknown) = map { median(@{ $took{$_} }) } qw(alice zoe);
	diag(sprintf 'wrong password %.4f s, unknown user %.4f s', $known, $unknown);
	cmp_ok($known, '>=', 0.49, 'not before the delay');
	cmp_ok(abs($known - $unknown), '<', sanitized() ? 0.1 : 0.02,
	    'the same time');
	my $c = $instance->client;
	my $start = time;
	$c->plain('alice', 'correct horse');
	cmp_ok(time - $start, '<', sanitized() ? 2 : 0.4, 'a success does not wait');
};

subtest 'a delayed failure holds up nobody' => sub {
	my @waiting = map { $instance->client } 1 .. 20;
	$_->send('AUTH PLAIN ' . b64("\0alice\0wrong") . "\r\n") for @waiting;
	my $start = time;
	my $c = $instance->authenticated;
	cmp_ok(time - $start, '<', sanitized() ? 2 : 0.45, 'another login is served meanwhile');
	like($_->reply, qr/^535 /, 'refused') for @waiting;
};

# Nanoseconds the auth role works on ten refusals.
sub work {
	my ($user) = @_;
	my $file = '/proc/' . $instance->roles->{auth} . '/schedstat';
	my @clients = map { $instance->client } 1 .. 10;
	my ($before) = split / /, slurp($file);
	$_->send('AUTH PLAIN ' . b64("\0$user\0wrong") . "\r\n") for @clients;
	$_->reply for @clients;
	my ($after) = split / /, slurp($file);
	return $after - $before;
}

subtest 'an unknown name is as much work as a wrong password' => sub {
	plan skip_all => 'no schedstat in /proc' if !-e '/proc/self/schedstat';
	my ($known, $unknown) = (work('alice'), work('zoe'));
	diag(sprintf 'wrong password %.1f ms, unknown user %.1f ms',
		$known / 1e6, $unknown / 1e6);
	cmp_ok($unknown, '>', $known / 2, 'whoever waits beside it cannot tell');
};

subtest 'malformed' => sub {
	my $c = $instance->client;
	my @cases = (['AUTH', qr/^501 5\.5\.[24] /],
		['AUTH FROB', qr/^504 5\.5\.4 /],
		['AUTH EXTERNAL =', qr/^504 5\.5\.4 /],
		['AUTH NTLM', qr/^504 5\.5\.4 /],
		['AUTH PLAIN !!!', qr/^501 5\.5\.2 /],
		['AUTH PLAIN AA', qr/^501 5\.5\.2 /],
		['AUTH PLAIN AA==AA', qr/^501 5\.5\.[24] /],
		['AUTH PLAIN a b', qr/^501 5\.5\.[24] /]);
	for (@cases) {
		my ($command, $expect) = @$_;
		$c = $instance->client;
		like($c->command($command), $expect, $command);
	}
	$c = $instance->client;
	is($c->command('AUTH PLAIN'), '334 ', 'AUTH PLAIN');
	like($c->command('*'), qr/^501 5\.(7\.0|5\.2|0\.0) /, 'cancelled with *');
	like($c->plain('alice', 'correct horse'), qr/^235 /, 'another try is granted');
	$c = $instance->client;
	$c->command('AUTH LOGIN');
	like($c->command('*'), qr/^501 /, 'LOGIN cancelled at the name');
	$c = $instance->client;
	$c->command('AUTH LOGIN ' . b64('alice'));
	like($c->command('*'), qr/^501 /, 'LOGIN cancelled at the password');
	$c = $instance->client;
	$c->command('AUTH PLAIN');
	like($c->command('x' x 13_000), qr/^(500|501|535) 5\.[57]\.\d /,
	    'a response longer than 12,288 octets');
	$c = $instance->client;
	like($c->command('AUTH SCRAM-SHA-256 ' . b64('n,,n=alice')),
	    qr/^(501|535) 5\.[57]\.\d /, 'broken SCRAM message');
	$c = $instance->client;
	like($c->command('AUTH SCRAM-SHA-256 '
		. b64("n,,n=alice,r=abcdefghijkl")), qr/^334 /, 'SCRAM first');
	like($c->command(b64('c=biws,r=zzz,p=AAAA')), qr/^(501|535) 5\.[57]\.\d /,
	    'a nonce that is not ours');
	$c = $instance->client;
	like($c->command('AUTH PLAIN ' . b64("\0al\0ice\0x")),
	    qr/^(501|535) 5\.[57]\.\d /, 'a NUL too many');
};

subtest 'tries' => sub {
	my $c = $instance->client;
	my @replies = map { $c->plain('alice', "wrong $_") } 1 .. 3;
	like($replies[0], qr/^535 /, 'first');
	like($replies[1], qr/^535 /, 'second');
	like($replies[2], qr/^(535|421) /, 'third');
	my $last = $replies[2] =~ /^421/ ? '' : $c->plain('alice', 'correct horse');
	unlike($last, qr/^235/, 'no fourth, not even with the right password');
	ok($c->closed || $last eq '', 'it closes');
};

subtest 'changes are in force at once' => sub {
	$instance->user_add('carol', 'first');
	my $c = $instance->client;
	like($c->plain('carol', 'first'), qr/^235 /, 'added while it runs');
	my ($status, undef, $err) = $instance->tool({ in => "second\n" }, 'user',
		'passwd', 'carol', '--password-stdin');
	is($status, 0, 'passwd') or diag($err);
	like($instance->client->plain('carol', 'first'), qr/^535 /,
	    'the old password, which was cached, is refused');
	like($instance->client->plain('carol', 'second'), qr/^235 /, 'the new one');
	($status, undef, $err) = $instance->tool('user', 'remove', 'carol');
	is($status, 0, 'remove') or diag($err);
	like($instance->client->plain('carol', 'second'), qr/^535 /, 'gone');
};

subtest 'the log' => sub {
	ok($instance->log_lines(qr/\bauth\b.*result=ok.*user="?alice/),
	    'successes are logged');
	ok($instance->log_lines(qr/\bauth\b.*result=failed.*user="?zoe/),
	    'failures, with the name');
	my $log = $instance->log_text;
	for my $secret ('correct horse', 'battery staple', b64("\0alice\0correct horse"),
		b64('correct horse'), 'wrong 1') {
		is(index($log, $secret), -1, 'no secret is in the log');
	}
	my $store = slurp("$instance->{folder}/state/store/users.kch");
	isnt($store, '', 'the store');
	is(index($store, 'correct horse'), -1, 'holds no password');
	my $mode = (stat "$instance->{folder}/state/store/users.kch")[2] & 0777;
	is(sprintf('%o', $mode), '600', 'its mode');
};

subtest 'a certificate of a login that something else forbids' => sub {
	my $authority = Sallyport::Certs->authority($instance->{scratch}, 'peers');
	my ($cert, $key) = $authority->issue('branch', dns => ['branch.example'],
		purpose => 'client');
	$instance->listener_option($_, 'client-cert', 'ask')
	    for qw(submission submissions);
	$instance->listener_option('submissions', 'implicit-external', 'yes');
	ok($instance->reload, 'reload');
	is(($instance->tool('user', 'add', 'branch', '--kind', 'server',
		'--certificate', $cert))[0], 0, 'a user by certificate');
	my $external = sub {
		my $c = $instance->client(cert => $cert, key => $key);
		my $explicit = $c->command('AUTH EXTERNAL =');
		$c = $instance->client(cert => $cert, key => $key, implicit => 1);
		return $explicit . ' ' . $c->command('MAIL FROM:<branch@example.org>');
	};
	like($external->(), qr/^235 .* 250 /, 'is let in');
	for my $limit (['--network', '192.0.2.0/24'], ['--until', '2999-01-01']) {
		is(($instance->tool('user', 'limit', 'branch', @$limit))[0], 0,
		    "limit @$limit");
		like($external->(), $limit->[0] eq '--network'
			? qr/^535 5\.7\.8 .* 530 5\.7\.0 / : qr/^235 .* 250 /,
		    'which decides');
		$instance->tool('user', 'limit', 'branch', '--any-network');
	}
	is(($instance->tool('user', 'limit', 'branch', '--binding',
		'required'))[0], 0, 'limit --binding required');
	like($external->(), qr/^235 .* 250 /, 'a certificate is bound by itself');
	is(($instance->tool('user', 'disable', 'branch'))[0], 0, 'disable');
	like($external->(), qr/^535 5\.7\.8 .* 530 5\.7\.0 /, 'is refused');
};

$instance->stop_ok;

subtest 'a store that others may read' => sub {
	my $store = "$instance->{folder}/state/store/users.kch";
	chmod 0640, $store;
	my ($status, undef, $err) = $instance->tool('user', 'list');
	is($status, 1, 'user list');
	like($err, qr/\Q$store\E: mode 640, expected 600/, 'says where and what');
	like($instance->refused // '', qr/\Q$store\E: mode 640, expected 600/,
	    'and nothing starts');
	chmod 0600, $store;
};
done_testing;
