#!/usr/bin/perl
# Tokens: JWTs against a key set, an introspection endpoint, and logins of our
# own at a smarthost.
use strict;
use warnings;
use lib 't/lib';
use File::Basename qw(dirname);
use JSON::PP;
use MIME::Base64;
use POSIX ();
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Sallyport::Token;
use Test::More;
use Time::HiRes qw(time sleep);

my $scratch = scratch();
my $issuer = Sallyport::Token->new("$scratch/issuer", one => 'rsa',
	two => 'ec', three => 'ed25519');
my $other = Sallyport::Token->new("$scratch/other", one => 'rsa');

my %good = (iss => 'https://issuer.example', aud => 'sallyport',
	email => 'alice@example.org', email_verified => JSON::PP::true,
	scope => 'openid smtp', exp => int(time) + 3600);

sub section {
	my (%o) = @_;
	return "token {\n" . join('', map { "\t$_ = $o{$_}\n" } sort keys %o)
	    . "}\n";
}

my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { 'auth-failure-delay' => '"300ms"', 'auth-tries' => 20,
		'auth-free-failures' => 1000 });
my $conf = slurp($instance->{conf});

# Start anew with that section.
sub restart_with {
	my (%o) = @_;
	$instance->stop;
	my $text = $conf;
	my $section = section(%o);
	$text =~ s/^(end\s*=\s*true)/$section$1/m or die 'no end';
	$instance->conf_write($text);
	$instance->listener_option('submission', backends =>
		'{ "store", "token" }');
	$instance->listener_option('submissions', backends => '{ "token" }');
	$instance->start;
}

sub message_of {
	my ($mechanism, $name, $token) = @_;
	return encode_base64($mechanism eq 'XOAUTH2'
		? "user=$name\1auth=Bearer $token\1\1"
		: ($name ne '' ? "n,a=$name," : 'n,,')
		. "\1host=mail.example.org\1auth=Bearer $token\1\1", '');
}

# The reply that ends the exchange, and the explanation before it.
sub login {
	my ($mechanism, $name, $token, %o) = @_;
	my $c = $o{client} // $instance->client(%o);
	my $reply = $c->command("AUTH $mechanism "
	    . message_of($mechanism, $name, $token));
	my $explanation = '';
	if ($reply =~ /^334 (.*)/) {
		$explanation = decode_base64($1);
		$reply = $c->command($mechanism eq 'XOAUTH2' ? '' : 'AQ==');
	}
	return ($reply, $explanation);
}

sub refused {
	my ($what, $detail, $token, %o) = @_;
	my $mechanism = $o{mechanism} // 'OAUTHBEARER';
	my $seen = () = $instance->log_lines(qr/ auth .*result=failed/);
	my ($reply, $explanation) = login($mechanism, $o{name} // '', $token);
	like($reply, qr/^535 5\.7\.8 /, "$what: refused");
	like($explanation, $mechanism eq 'XOAUTH2' ? qr/"status":"401"/
		: qr/"status":"invalid_token"/, "$what: explained");
	my $line = wait_until { my @l = $instance->log_lines(
		qr/ auth .*result=failed/); @l > $seen ? $l[-1] : undef } 5;
	like($line // '', $detail, "$what: the log says why");
}

subtest 'a configuration that cannot work' => sub {
	my $check = sub {
		my (%o) = @_;
		my $text = $conf;
		my $section = section(%o);
		$text =~ s/^(end\s*=\s*true)/$section$1/m;
		$instance->conf_write($text);
		my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
			$instance->{conf}, '-t');
		return $status ? $out . $err : '';
	};
	my %keys = (issuer => '"i"', audience => '"a"',
		keys => qq("$scratch/set.json"));
	spew("$scratch/set.json", "{\n\"keys\": [\n}");
	like($check->(%keys), qr/: token: keys: \S+set\.json:3: /, 'broken JSON');
	spew("$scratch/set.json", '{"keys":[{"kty":"oct","k":"AA"}]}');
	like($check->(%keys), qr/set\.json: key 1: it is secret/,
	    'a shared secret');
	unlink "$scratch/set.json";
	like($check->(%keys), qr/token: keys: .*No such file/, 'no file');
	spew("$scratch/secret", "id:secret\n");
	chmod 0644, "$scratch/secret";
	my %endpoint = (introspection => '"https://127.0.0.1/x"',
		'introspection-login' => qq("$scratch/secret"));
	like($check->(%endpoint), qr/introspection-login: .*0644/,
	    'a secret that others can read');
	chmod 0600, "$scratch/secret";
	spew("$scratch/secret", "secret\n");
	like($check->(%endpoint), qr/secret:1: expected CLIENT-ID:SECRET/,
	    'a secret without a name');
	spew("$scratch/secret", "id:secret\n");
	is($check->(%endpoint), '', 'a good one');
	$instance->conf_write($conf);
};

my $set = $issuer->set("$scratch/set.json");
restart_with(issuer => '"https://issuer.example"', audience => '"sallyport"',
	keys => qq("$set"), scope => '"smtp"',
	'openid-configuration' => '"https://issuer.example/openid"');

subtest 'offered' => sub {
	my $ehlo = $instance->client(silent => 1)->ehlo;
	like($ehlo, qr/SCRAM-SHA-1 OAUTHBEARER XOAUTH2 PLAIN/,
	    'between SCRAM and PLAIN');
	$ehlo = $instance->client(implicit => 1, silent => 1)->ehlo;
	like($ehlo, qr/AUTH OAUTHBEARER XOAUTH2\s*$/m,
	    'alone where there is no other backend');
};

subtest 'signatures of OpenSSL' => sub {
	for (['one', 'RS256'], ['one', 'RS512'], ['one', 'PS256'],
		['one', 'PS384'], ['two', 'ES256'], ['three', 'EdDSA']) {
		my ($key, $alg) = @$_;
		my ($reply) = login('OAUTHBEARER', 'alice@example.org',
			$issuer->jwt($key, \%good, alg => $alg));
		like($reply, qr/^235 /, $alg);
	}
};

my $token = $issuer->jwt('two', \%good);

subtest 'who it is' => sub {
	for my $mechanism (qw(OAUTHBEARER XOAUTH2)) {
		for my $name ('alice@example.org', 'alice', '') {
			my ($reply) = login($mechanism, $name, $token);
			like($reply, qr/^235 /, "$mechanism, name \"$name\"");
		}
		refused("$mechanism, another's name", qr/token of somebody else/,
			$token, mechanism => $mechanism,
			name => 'bob@example.org');
	}
	ok($instance->logged(
		qr/ auth .*result=ok user=alice\@example\.org mechanism=XOAUTH2 /),
	    'the log has the name of the token');
	my ($reply) = login('XOAUTH2', '', $issuer->jwt('two',
		{ %good, email => 'carol@example.org' }));
	like($reply, qr/^235 /, 'one whom the store does not know');
	$instance->tool('user', 'disable', 'bob');
	refused('a disabled user', qr/disabled/,
	    $issuer->jwt('two', { %good, email => 'bob@example.org' }));
	$instance->tool('user', 'enable', 'bob');
};

subtest 'a message' => sub {
	my $c = $instance->client;
	login('OAUTHBEARER', '', $token, client => $c);
	like($c->transaction(message(subject => 'by token')), qr/^250 /,
	    'is taken');
	ok($instance->arrived(1), 'and delivered');
	$instance->{smarthost}->forget;
};

subtest 'user check' => sub {
	my ($status, $out) = $instance->tool('user', 'check', 'carol');
	is($status, 0, 'somebody would answer for one who is not in the store');
	like($out, qr/^submissions: token: OAUTHBEARER XOAUTH2$/m, 'an issuer');
	($status, $out) = $instance->tool('user', 'check', 'carol@example.com');
	is($status, 1, 'not in another realm');
};

subtest 'without an initial response' => sub {
	my $c = $instance->client;
	is($c->command('AUTH OAUTHBEARER'), '334 ', 'an empty challenge');
	like($c->command(message_of('OAUTHBEARER', '', $token)), qr/^235 /,
	    'then the token');
};

subtest 'tokens that are no good' => sub {
	my $sign = sub {
		my ($claims, %o) = @_;
		return $issuer->jwt($o{key} // 'two', { %good, %$claims }, %o);
	};
	refused('signed by somebody else', qr/signature is wrong/,
	    $other->jwt('one', \%good));
	refused('an unknown key', qr/no key of the set/,
	    $issuer->jwt('one', \%good, header => { kid => 'four' }));
	refused('alg none', qr/algorithm that is not accepted/,
	    $issuer->jwt('one', \%good, alg => 'none') . 'AA');
	refused('HS256 with the public key', qr/algorithm that is not accepted/,
	    $issuer->jwt('one', \%good, alg => 'HS256'));
	refused('expired', qr/token has expired \d+ s ago/,
	    $sign->({ exp => int(time) - 120 }));
	refused('without end', qr/token without end/,
	    do { my %c = %good; delete $c{exp}; $issuer->jwt('two', \%c) });
	refused('not yet', qr/token is not valid for another \d+ s/,
	    $sign->({ nbf => int(time) + 600 }));
	refused('of another issuer', qr/token of another issuer/,
	    $sign->({ iss => 'https://elsewhere.example' }));
	refused('for another audience', qr/token for another audience/,
	    $sign->({ aud => ['web'] }));
	refused('without scope', qr/token without the scope smtp/,
	    $sign->({ scope => 'openid' }));
	refused('without the claim', qr/token without the claim email/,
	    $sign->({ email => undef }));
	refused('unverified address', qr/has not verified/,
	    $sign->({ email_verified => JSON::PP::false }));
	refused('of another realm', qr/cannot vouch for/,
	    $sign->({ email => 'alice@example.com' }));
	refused('a name that is none', qr/no login name/,
	    $sign->({ email => 'a b@example.org' }));
	refused('a name that SASLprep makes another one', qr/no login name/,
	    $sign->({ email => "\xef\xbd\x81lice\@example.org" }));
	refused('critical extension', qr/calls critical/,
	    $sign->({}, header => { crit => ['x'], x => 1 }));
	refused('no token at all', qr/not a signed token/, 'opaque');
	like((login('XOAUTH2', '', $token))[0], qr/^235 /,
	    'and a good one is still good');
};

subtest 'bad input' => sub {
	my $c = $instance->client;
	like($c->command('AUTH OAUTHBEARER '
		. encode_base64("n,,\1auth=Bearer " . 'a' x 8193 . "\1\1", '')),
	    qr/^501 5\.5\.2 /, 'a token of more than 8 KiB');
	like($c->command('AUTH OAUTHBEARER '
		. encode_base64("p=tls-exporter,,\1auth=Bearer a\1\1", '')),
	    qr/^501 5\.5\.2 /, 'a channel binding that it does not have');
	like($c->command('AUTH XOAUTH2 '
		. encode_base64("user=\xff\1auth=Bearer a\1\1", '')),
	    qr/^501 5\.5\.2 /, 'not UTF-8');
	like($c->command('AUTH XOAUTH2 ='), qr/^501 5\.5\.2 /, 'empty');
	like($c->command('AUTH OAUTHBEARER ' . encode_base64("n,,\1auth=\1\1",
		    '')), qr/^334 /, 'asking what is wanted is answered');
	like($c->command('*'), qr/^501 5\.7\.0 /, 'cancelled there');
	like((login('OAUTHBEARER', '', $token, client => $c))[0], qr/^235 /,
	    'the session is intact');
};

subtest 'the refusal' => sub {
	my $c = $instance->client;
	my $start = time;
	my $reply = $c->command('AUTH OAUTHBEARER '
	    . message_of('OAUTHBEARER', '', 'opaque'));
	cmp_ok(time - $start, '>=', 0.3, 'not before the failure delay');
	my $object = decode_json(decode_base64($reply =~ s/^334 //r));
	is_deeply($object, { status => 'invalid_token', scope => 'smtp',
		'openid-configuration' => 'https://issuer.example/openid' },
	    'says what is wanted');
	like($c->command('AQ=='), qr/^535 5\.7\.8 /, 'and then no');
};

SKIP: {
	skip 'curl is not installed', 1 unless in_path('curl');
	subtest 'curl' => sub {
		my $port = $instance->{ports}{submission};
		my $curl = sub {
			my ($mechanism, $bearer) = @_;
			spew("$scratch/mail", message(subject => $mechanism));
			return run({ in => "oauth2-bearer = \"$bearer\"\n" },
				'curl', '-sS', '-K', '-', '--ssl-reqd',
				'--cacert', "$instance->{folder}/tls/ca.pem",
				'--resolve', "mail.example.org:$port:127.0.0.1",
				'--url', "smtp://mail.example.org:$port",
				'--user', 'alice@example.org:',
				'--login-options', "AUTH=$mechanism",
				'--mail-from', 'alice@example.org',
				'--mail-rcpt', 'bob@example.net',
				'--upload-file', "$scratch/mail");
		};
		for my $mechanism (qw(OAUTHBEARER XOAUTH2)) {
			my ($status, $out, $err) = $curl->($mechanism, $token);
			is($status, 0, "$mechanism: sent") or diag($err);
			ok($instance->log_lines(
				qr/ auth .*result=ok .*mechanism=$mechanism /),
			    "$mechanism: by that mechanism");
			($status) = $curl->($mechanism, 'opaque');
			is($status, 67, "$mechanism: a bad token is refused");
		}
		ok($instance->arrived(2), 'and delivered');
		$instance->{smarthost}->forget;
	};
}

subtest 'new keys after a reload' => sub {
	$issuer->key(four => 'ec');
	my $new = $issuer->jwt('four', \%good);
	refused('before', qr/no key of the set/, $new);
	$issuer->set($set);
	like($instance->reload // '', qr/result=ok/, 'reload');
	like((login('OAUTHBEARER', '', $new))[0], qr/^235 /, 'after');
	spew($set, '{');
	like($instance->reload // '', qr/result=refused/, 'a broken set');
	like((login('OAUTHBEARER', '', $new))[0], qr/^235 /, 'changes nothing');
};

# The endpoint.
mkdir "$scratch/endpoint";
my ($cert, $key) = $instance->{authority}->issue('endpoint',
	ip => ['127.0.0.1']);

sub endpoint {
	my (%o) = (cert => $cert, key => $key, login => 'a client:s%3A+e=cret',
		answer => 'json', @_);
	spew("$scratch/endpoint/settings.new",
	    join '', map { "$_ $o{$_}\n" } sort keys %o);
	rename "$scratch/endpoint/settings.new", "$scratch/endpoint/settings";
}

endpoint();
my $endpoint = fork // die "fork: $!";
if (!$endpoint) {
	open STDIN, '<', '/dev/null';
	open STDOUT, '>>', "$scratch/endpoint/errors";
	open STDERR, '>&', \*STDOUT;
	exec $^X, dirname(__FILE__) . '/lib/endpoint', "$scratch/endpoint"
	    or POSIX::_exit(127);
}
wait_until { -s "$scratch/endpoint/port" } or die 'endpoint: no port';
my $port = slurp("$scratch/endpoint/port");

sub known {
	my ($name, %claims) = @_;
	spew("$scratch/endpoint/token.$name", encode_json(\%claims));
	return $name;
}

my %active = (active => JSON::PP::true, email => 'alice@example.org');
my $authority = $instance->{authority}->file;
spew("$scratch/secret", "a client:s%3A+e=cret\n");
restart_with(introspection => qq("https://127.0.0.1:$port/introspect"),
	'introspection-login' => qq("$scratch/secret"),
	'introspection-ca' => qq("$authority"), audience => '"sallyport"');

subtest 'an endpoint says whose it is' => sub {
	my ($reply) = login('XOAUTH2', '', known('good', %active));
	like($reply, qr/^235 /, 'active');
	like(slurp("$scratch/endpoint/requests"),
	    qr{^POST /introspect HTTP/1\.1$}m, 'asked as RFC 7662 says');
	refused('inactive', qr/token is not active/,
	    known('inactive', %active, active => JSON::PP::false));
	refused('unknown', qr/token is not active/, 'nobodys');
	refused('for another audience', qr/another audience/,
	    known('aud', %active, aud => 'web'));
	refused('that has expired', qr/token has expired/,
	    known('exp', %active, exp => 1));
	refused('without the claim', qr/without the claim/,
	    known('claim', active => JSON::PP::true));
};

sub unavailable {
	my ($what, $detail, $seconds) = @_;
	my $seen = () = $instance->log_lines(qr/ auth .*result=unavailable/);
	my $start = time;
	my ($reply) = login('XOAUTH2', '', 'good');
	like($reply, qr/^454 4\.7\.0 /, $what);
	cmp_ok(time - $start, '<', $seconds, "$what: in time") if $seconds;
	my $line = wait_until { my @l = $instance->log_lines(
		qr/ auth .*result=unavailable/); @l > $seen ? $l[-1] : undef } 5;
	like($line // '', $detail, "$what: the log says why");
}

subtest 'an endpoint that cannot say' => sub {
	endpoint(answer => 'garbage');
	unavailable('garbage', qr/no JSON object with/);
	endpoint(answer => 'huge');
	unavailable('a huge answer', qr/more than 65536 octets/);
	endpoint(answer => 'fields');
	unavailable('header fields without end', qr/more than 65536 octets/, 5);
	endpoint(answer => '500');
	unavailable('an error', qr/answers 500/);
	endpoint(answer => 'redirect', elsewhere => $port);
	unavailable('a redirection is not followed', qr/answers 307/);
	endpoint(login => 'other:secret');
	unavailable('our own login is refused', qr/answers 401/);
	endpoint();
	like((login('XOAUTH2', '', 'good'))[0], qr/^235 /, 'it is back');
	$instance->option('helper-deadline', '"1s"');
	like($instance->reload // '', qr/result=ok/, 'reload');
	endpoint(answer => 'stall');
	unavailable('no answer', qr/deadline|[Tt]imeout/, 4);
	$instance->option('helper-deadline', '"30s"');
	endpoint();
};

subtest "the endpoint's certificate" => sub {
	my ($bad_cert, $bad_key) = $instance->{authority}->issue('wrong',
		dns => ['elsewhere.example'], cn => '127.0.0.1');
	my $asked = slurp("$scratch/endpoint/requests");
	$instance->reload;
	endpoint(cert => $bad_cert, key => $bad_key);
	unavailable('of another name', qr/introspection: /);
	my ($foreign_cert, $foreign_key) = Sallyport::Certs->authority($scratch,
		'foreign')->issue('endpoint2', ip => ['127.0.0.1']);
	endpoint(cert => $foreign_cert, key => $foreign_key);
	unavailable('of another authority', qr/introspection: /);
	is(slurp("$scratch/endpoint/requests"), $asked, 'it was told nothing');
	endpoint();
	like((login('XOAUTH2', '', 'good'))[0], qr/^235 /, 'a good one');
};
kill TERM => $endpoint;
waitpid $endpoint, 0;

# Logins of our own, with tokens that change.
$instance->stop;
$instance->conf_write($conf);
$instance->option($_ => $_ =~ /^retry/ ? '"1s"' : '"upstream"')
    for qw(upstream retry-first retry-most);
my $hop = $instance->{smarthost};
my $place = '127.0.0.1:' . $hop->port;

# The upstream file's line, the row and what the smarthost wants; started.
sub upstream {
	my ($line, %o) = @_;
	$instance->stop;
	spew("$instance->{folder}/upstream", "isp $line\n");
	chmod 0600, "$instance->{folder}/upstream";
	$instance->sites("$place out lock cert=client match=127.0.0.1"
	    . ($o{row} // '') . " auth=isp\n* both encrypt\n");
	$hop->restart(token => 'relay@isp.example:' . ($o{wants} // 'tok.first-9e1'),
		mechanisms => 'PLAIN XOAUTH2 OAUTHBEARER', tickets => 'no');
	$instance->queue_empty;
	return $instance->start(%{ $o{start} // {} });
}

# What is submitted, and the log line of the login for it.
sub attempt {
	my $seen = () = $instance->log_lines(qr/ login site=/);
	like($instance->authenticated->transaction(message()), qr/^250 /,
	    'accepted');
	return wait_until {
		my @lines = $instance->log_lines(qr/ login site=/);
		@lines > $seen ? $lines[-1] : undef } 15;
}

my $file = "$instance->{folder}/token";
for my $mechanism (qw(XOAUTH2 OAUTHBEARER)) {
	subtest "$mechanism at a smarthost, token from a file" => sub {
		spew($file, "tok.first-9e1\nsecond line\n");
		chmod 0600, $file;
		upstream("$mechanism relay\@isp.example file:token");
		like(attempt() // '', qr/mechanism=$mechanism result=ok/,
		    'logged in');
		ok($instance->arrived(1), 'and delivered');
		$hop->restart(token => 'relay@isp.example:tok.renewed-9e1');
		like(attempt() // '', qr/result=failed/, 'the old token');
		my ($answer) = $hop->events('auth answer');
		is($answer->{line}, $mechanism eq 'XOAUTH2' ? '' : 'AQ==',
		    'its refusal is answered');
		like($instance->logged(qr/ login=isp .*result=refused /) // '',
		    qr/detail=.*status.*401.*schemes/, 'and logged');
		spew($file, "tok.renewed-9e1\r\n");
		ok($instance->arrived(1), 'the new one, with nothing restarted');
	};
}

subtest 'a token from a command' => sub {
	my $command = "$scratch/print-token";
	spew($command, "#!/bin/sh\n"
	    . "[ \$# = 0 ] && [ -z \"\$SECRET\" ] || exit 3\n"
	    . "cat $scratch/public-token\n");
	chmod 0755, $command;
	spew("$scratch/public-token", "tok.made-9e1\n");
	chmod 0644, "$scratch/public-token";
	upstream("XOAUTH2 relay\@isp.example command:$command",
		wants => 'tok.made-9e1', start => { env => { SECRET => 'x' } });
	like(attempt() // '', qr/mechanism=XOAUTH2 result=ok/, 'logged in');
	ok($instance->arrived(1), 'and delivered');
	# Others that do not end well, one after another.
	for (["exit 7", qr/no token in the first line/, qr/exit=7/],
		["echo 'a b'", qr/no token in the first line/],
		["head -c 20000 /dev/zero | tr '\\0' a",
			qr/no token in the first line/]) {
		my ($script, $why, $logged) = @$_;
		spew($command, "#!/bin/sh\n$script\n");
		$hop->restart;
		$instance->queue_empty;
		like(attempt() // '', qr/result=failed/, "$script: no login");
		ok($instance->logged($why), "$script: the log says why");
		ok($instance->logged(qr/ token-command login=isp .*$logged/),
		    "$script: how it ended") if $logged;
	}
	spew($command, "#!/bin/sh\necho tok.made-9e1\n");
	ok($instance->arrived(1), 'it is good again');
};

subtest 'what is not a source' => sub {
	my $check = sub {
		my ($line) = @_;
		spew("$instance->{folder}/upstream", "isp $line\n");
		my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
			$instance->{conf}, '-t');
		return ($status, $out . $err);
	};
	chmod 0644, $file;
	my ($status, $said) = $check->('XOAUTH2 relay file:token');
	is($status, 1, 'a file that others can read');
	like($said, qr/upstream: login isp: .*token: mode 0644/, 'is named');
	chmod 0600, $file;
	($status, $said) = $check->('XOAUTH2 relay file:later');
	is($status, 0, 'a file that is not there yet');
	like($said, qr/no token in .*later yet/, 'is a warning');
	($status, $said) = $check->('XOAUTH2 relay command:/nonexistent');
	is($status, 1, 'a command that is not there');
	($status, $said) = $check->('XOAUTH2 relay literal');
	is($status, 1, 'a token in the file of logins');
	like($said, qr/upstream:1: expected file:PATH or command:PATH/,
	    'is refused');
};

subtest 'any never sends a token' => sub {
	$hop->restart(mechanisms => 'XOAUTH2 OAUTHBEARER');
	spew("$instance->{folder}/upstream", "isp any relay\@isp.example first\n");
	$instance->stop;
	$instance->start;
	like(attempt() // '', qr/mechanism=none result=failed/, 'no login');
	is(scalar(my @tried = $hop->events('auth')), 0, 'nothing was tried');
};

my $log = $instance->log_text;
is(index($log, '-9e1'), -1, 'no token of ours is in the log');
is(index($log, $token), -1, 'no token is in the log');
is(index($log, 's%3A+e=cret'), -1, 'nor the login for the endpoint');
$instance->stop_ok;
done_testing;
