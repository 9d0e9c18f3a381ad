#!/usr/bin/perl
# CRAM-MD5 and DIGEST-MD5: where configured, for users marked for them, in
# children whose crash costs one login.
use strict;
use warnings;
use lib 't/lib';
use Digest::MD5 qw(md5_hex);
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my %password = %Sallyport::Instance::password;
my $instance = Sallyport::Instance->new(start => 0,
	options => { 'auth-failure-delay' => '"500ms"', 'auth-tries' => 10,
		'auth-free-failures' => 1000, 'helper-deadline' => '"3s"' },
	submission => { mechanisms => '{ "SCRAM-SHA-256", "DIGEST-MD5", '
		. '"CRAM-MD5", "PLAIN" }' });
$instance->tool('cert', 'issue', 'mail.example.org', 'localhost', '--role',
	'server', '--out', "$instance->{folder}/tls/server");

sub marked {
	my ($how, $name, $password) = @_;
	my ($status, $out, $err) = $instance->tool({ in => "$password\n" },
		'user', $how, $name, '--password-stdin', '--legacy-secret');
	is($status, 0, "user $how $name --legacy-secret") or diag($err);
}

marked('passwd', 'alice', $password{alice});
marked('add', 'carl', 'staple battery');
$instance->tool('user', 'disable', 'carl');
$instance->start;

sub b64 {
	return encode_base64($_[0], '');
}

my @to = ('localhost', $instance->{ports}{submission});
my $ca = "$instance->{folder}/tls/ca.pem";

my $before; # lines about logins, before the last one

sub gsasl {
	my ($mechanism, $user, $password, @more) = @_;
	$before = () = $instance->log_lines(qr/ auth session=/);
	my ($status, $out, $err) = run({ timeout => 30 }, 'gsasl', '--smtp',
		'--connect=' . join(':', @to), "--x509-ca-file=$ca", '-a', $user,
		'-p', $password, '-m', $mechanism, '--quiet', '--no-cb',
		'--service=smtp', '--hostname=localhost', '--realm=example.org',
		'--quality-of-protection=qop-auth', @more);
	return $status;
}

sub last_auth {
	return wait_until {
		my @lines = $instance->log_lines(qr/ auth session=/);
		@lines > $before ? $lines[-1] : undef } 5;
}

# HMAC-MD5 (RFC 2104) of an ASCII key.
sub hmac {
	my ($text, $key) = @_;
	$key .= "\0" x (64 - length $key);
	return md5_hex(($key ^ "\x5c" x 64)
	    . pack('H*', md5_hex(($key ^ "\x36" x 64) . $text)));
}

sub cram {
	my ($c, $user, $password) = @_;
	my ($challenge) = $c->command('AUTH CRAM-MD5') =~ /^334 (\S+)$/
	    or return 'no challenge';
	return $c->command(b64("$user "
		. hmac(decode_base64($challenge), $password)));
}

# Children of the spawner.
sub helpers {
	my $spawner = $instance->roles->{helpers};
	return grep { (slurp("/proc/$_/stat") =~ /.*\) \S (\d+) /s ? $1 : 0)
		== $spawner }
	    map { m{(\d+)$} } glob "/proc/$spawner/../[0-9]*";
}

sub no_helpers {
	return wait_until { !helpers() } 2;
}

like($instance->client->ehlo,
    qr/^250-AUTH SCRAM-SHA-256 DIGEST-MD5 CRAM-MD5 PLAIN\r?$/m,
    'offered where configured, below SCRAM');
unlike($instance->client(implicit => 1)->ehlo, qr/MD5/, 'nowhere else');
like($instance->client(implicit => 1)->command('AUTH CRAM-MD5'),
    qr/^504 5\.5\.4 /, 'nor accepted there');

{
	my ($status, $out) = $instance->tool('user', 'check', 'alice');
	like($out, qr/^submission: store:.* DIGEST-MD5 CRAM-MD5\b/m,
	    'user check: alice is marked for them');
	($status, $out) = $instance->tool('user', 'check', 'bob');
	like($out, qr/not by DIGEST-MD5, CRAM-MD5: /, 'and bob is not');
}

for my $mechanism (qw(CRAM-MD5 DIGEST-MD5)) {
	subtest "gsasl: $mechanism" => sub {
		for my $user (qw(alice alice@example.org)) {
			is(gsasl($mechanism, $user, $password{alice}), 0, $user);
		}
		like($instance->logged(qr/ result=ok .*mechanism=$mechanism/),
		    qr/user=alice\@example\.org /, 'and the log has her name');
		for (['wrong password', 'alice', 'wrong'],
			['user without the mark', 'bob', $password{bob}],
			['no such user', 'zoe', 'x'],
			['disabled user', 'carl', 'staple battery'],
			['other realm', 'alice@example.com', $password{alice}],
			['no name', 'al ice', $password{alice}]) {
			my ($what, $user, $password) = @$_;
			isnt(gsasl($mechanism, $user, $password), 0, $what);
			like(last_auth(),
			    qr/ result=failed .*mechanism=$mechanism/,
			    "$what: is a failed login");
		}
	};
}

subtest 'authorization identity of DIGEST-MD5' => sub {
	is(gsasl('DIGEST-MD5', 'alice', $password{alice}, '-z', 'alice'), 0, 'own');
	isnt(gsasl('DIGEST-MD5', 'alice', $password{alice}, '-z', 'bob'), 0,
	    "another's");
	like(last_auth(),
	    qr/authorization identity of somebody else/, 'for that reason');
};

subtest 'curl' => sub {
	spew("$instance->{scratch}/message", message());
	my $count = $instance->{smarthost}->count;
	for my $mechanism (qw(CRAM-MD5 DIGEST-MD5)) {
		for my $password ($password{alice}, 'wrong') {
			my ($status) = run({ timeout => 30 }, 'curl', '--silent',
				'--ssl-reqd', '--cacert', $ca, '--user',
				"alice:$password", '--login-options',
				"AUTH=$mechanism", '--mail-from',
				'alice@example.org', '--mail-rcpt',
				'bob@example.net', '--upload-file',
				"$instance->{scratch}/message",
				'smtp://' . join(':', @to));
			is($status, $password eq 'wrong' ? 67 : 0,
			    "$mechanism, $password");
		}
	}
	ok(wait_until { $instance->{smarthost}->count >= $count + 2 },
	    'both messages arrive');
};

subtest 'swaks' => sub {
	plan skip_all => 'swaks is not installed' unless in_path('swaks');
	for my $mechanism (qw(CRAM-MD5 DIGEST-MD5)) {
		for my $password ($password{alice}, 'wrong') {
			my ($status, $out) = run({ timeout => 30 }, 'swaks',
				'--server', $to[0], '--port', $to[1], '--tls',
				'--auth', $mechanism, '--auth-user', 'alice',
				'--auth-password', $password, '--quit-after',
				'AUTH');
			is($status, $password eq 'wrong' ? 28 : 0,
			    "$mechanism, $password") or diag($out);
		}
	}
};

subtest 'Python' => sub {
	plan skip_all => 'python3 is not installed' unless in_path('python3');
	for my $password ($password{alice}, 'wrong') {
		my ($status, $out, $err) = run({ timeout => 30, in => <<"END" }, 'python3', '-');
import smtplib, ssl
s = smtplib.SMTP('$to[0]', $to[1])
s.starttls(context=ssl.create_default_context(cafile='$ca'))
s.ehlo()
s.user, s.password = 'alice', '$password'
s.auth('CRAM-MD5', s.auth_cram_md5)
END
		is($status, $password eq 'wrong' ? 1 : 0, $password);
		like($err, qr/\b535\b/, 'with 535') if $password eq 'wrong';
	}
};

subtest 'answers are equal' => sub {
	my %answer;
	for (['alice', 'wrong'], ['bob', $password{bob}], ['zoe', 'x'],
		['carl', 'staple battery'], ['@', 'x']) {
		my ($user, $password) = @$_;
		my $c = $instance->client;
		my $start = time;
		$answer{cram($c, $user, $password)}++;
		my $took = time - $start;
		cmp_ok($took, '>=', 0.5, "$user: not early");
		cmp_ok($took, '<', sanitized() ? 2 : 0.9, "$user: not late");
	}
	is_deeply([keys %answer], ['535 5.7.8 authentication credentials invalid'],
	    'one reply for all');
};

subtest 'bad input' => sub {
	my $c = $instance->client;
	like($c->command('AUTH CRAM-MD5 ' . b64('alice x')), qr/^501 5\.5\.2 /,
	    'an initial response where the server speaks first');
	for my $mechanism (qw(CRAM-MD5 DIGEST-MD5)) {
		for (['an empty response', ''], ['noise', b64("\xff" x 200)],
			['a NUL', b64("alice\0 " . '0' x 32)],
			['a digest that is too short', b64('alice 00')],
			['9,000 octets', b64('a' x 9000)]) {
			my ($what, $response) = @$_;
			like($c->command("AUTH $mechanism"), qr/^334 \S/,
			    "$mechanism: a challenge");
			like($c->command($response), qr/^(501 5\.5\.2|535 5\.7\.8) /,
			    "$mechanism: $what");
			$c = $instance->client;
		}
		like($c->command("AUTH $mechanism"), qr/^334 /, "$mechanism: again");
		is(scalar(helpers()), 1, 'a child waits');
		like($c->command('*'), qr/^501 5\.7\.0 /, 'cancelled');
		ok(no_helpers(), 'the child is gone');
	}
	like(cram($c, 'alice', $password{alice}), qr/^235 /, 'the session goes on');
	$c = $instance->client;
	$c->command('AUTH CRAM-MD5');
	$c->close;
	ok(no_helpers(), 'the client leaves, and so does the child');
};

subtest 'a child that crashes' => sub {
	my ($c, $other) = map { $instance->client } 1, 2;
	$c->command('AUTH DIGEST-MD5');
	my ($child) = helpers();
	ok($child, 'one child runs');
	my ($challenge) = $other->command('AUTH CRAM-MD5') =~ /^334 (\S+)$/;
	kill KILL => $child;
	wait_until { !grep { $_ == $child } helpers() };
	like($c->command(b64('anything')), qr/^454 4\.7\.0 /, 'costs its login');
	like($other->command(b64('alice '
		. hmac(decode_base64($challenge), $password{alice}))), qr/^235 /,
	    'and no other');
	like(cram($c, 'alice', $password{alice}), qr/^235 /,
	    'the same session logs in with another');
};

subtest 'what a child may do' => sub {
	my $c = $instance->client;
	$c->command('AUTH CRAM-MD5');
	my ($child) = helpers();
	my $status = slurp("/proc/$child/status");
	like($status, qr/^Seccomp:\s+2$/m, 'only calls on a list');
	like($status, qr/^NoNewPrivs:\s+1$/m, 'and no new privileges');
	my @open = map { readlink } glob "/proc/$child/fd/*";
	is(scalar(grep { !m{^/dev/null$|^socket:} } @open), 0,
	    'nothing is open but its channel') or diag("@open");
	$c->close;
};

subtest 'the deadline covers the client too' => sub {
	my $c = $instance->client;
	like($c->command('AUTH CRAM-MD5'), qr/^334 /, 'a challenge');
	ok(wait_until(sub { !helpers() }, 8), 'a child does not wait for ever');
	like($c->command(b64('alice ' . '0' x 32)), qr/^454 4\.7\.0 /,
	    'who answers later gets 454');
	like(cram($c, 'alice', $password{alice}), qr/^235 /, 'and can try again');
};

subtest 'clients that wait do not keep others out' => sub {
	$instance->option(helpers => 2);
	$instance->option('helper-deadline' => '"30s"');
	like($instance->reload, qr/result=ok/, 'two helpers');
	my @waiting = map { $instance->client } 1 .. 2;
	for (@waiting) {
		like($_->command('AUTH CRAM-MD5'), qr/^334 /, 'a challenge');
		sleep 0.05;
	}
	like(cram($instance->client, 'alice', $password{alice}), qr/^235 /,
	    'a third one gets in');
	like($waiting[0]->command(b64('alice ' . '0' x 32)), qr/^454 4\.7\.0 /,
	    'the one that has waited longest had to go');
	like($waiting[1]->command(b64('alice ' . '0' x 32)), qr/^535 5\.7\.8 /,
	    'the other one did not');
};

subtest 'the mark can go' => sub {
	my ($status) = $instance->tool({ in => "another one\n" }, 'user', 'passwd',
		'alice', '--password-stdin');
	is($status, 0, 'user passwd without --legacy-secret');
	like(cram($instance->client, 'alice', 'another one'), qr/^535 /, 'refused');
	like($instance->client->plain('alice', 'another one'), qr/^235 /,
	    'but not with PLAIN');
};

subtest 'no store, no MD5' => sub {
	$instance->listener_option('submission', backends => '{ "pam" }');
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 0, '-t passes');
	for my $mechanism (qw(CRAM-MD5 DIGEST-MD5)) {
		like($err, qr/listener submission: $mechanism is not offered/,
		    "and warns of $mechanism");
	}
};

unlike($instance->log_text, qr/correct horse|staple battery/,
    'no password in the log');
$instance->stop_ok;
done_testing;
