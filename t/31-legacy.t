#!/usr/bin/perl
# Old ways of logging in: who still practises them, and the day they end.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(time);

my $instance = Sallyport::Instance->new(options => {
	'auth-failure-delay' => '"300ms"', 'auth-free-failures' => 1000 });

sub b64 {
	return encode_base64($_[0], '');
}

sub login {
	my ($c, $user, $password) = @_;
	$c->command('AUTH LOGIN ' . b64($user));
	return $c->command(b64($password));
}

sub with_program {
	my ($program) = @_;
	return message() =~ s/^Subject:/User-Agent: $program\r\nSubject:/mr;
}

sub report {
	my (@arguments) = @_;
	my ($status, $out, $err) = $instance->tool('report', 'legacy', @arguments);
	is($status, 0, "report legacy @arguments") or diag($err);
	return $out;
}

# The rows of one user and program; the session tells them when it ends.
sub rows {
	my ($user, $program) = @_;
	my $rows = wait_until {
		my ($status, $out) = $instance->tool('report', 'legacy', '--json',
			'--user', $user);
		my @found = grep { ($_->{program} // '') eq $program }
		    @{ decode_json($out || '[]') };
		@found ? \@found : undef;
	};
	return $rows // [];
}

my $today = do {
	my @t = gmtime;
	sprintf '%d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3];
};

is(report(), '', 'nobody yet');
is(report('--json'), "[]\n", 'and as JSON');

subtest 'what is seen' => sub {
	my $c = $instance->client(version => 'TLSv1_2');
	like(login($c, 'alice', 'correct horse'), qr/^235 /, 'LOGIN over TLS 1.2');
	like($c->transaction(with_program('Mutt/2.2 (2022-11-05)')), qr/^250 /,
	    'a message says which program');
	$c->command('QUIT');
	my $rows = rows('alice', 'Mutt/2.2 (2022-11-05)');
	is(scalar @$rows, 1, 'one row') or return;
	is_deeply($rows->[0]{practices}, [qw(tls1.2 login unbound)], 'its practices');
	is($rows->[0]{user}, 'alice@example.org', 'the user');
	is($rows->[0]{client}, '127.0.0.1', 'from where');
	is($rows->[0]{count}, 1, 'how often');
	like($rows->[0]{first}, qr/^\Q$today\ET[0-9:]{8}Z$/, 'since when');
	is($rows->[0]{last}, $rows->[0]{first}, 'until when');
	ok(!exists $rows->[0]{'taken-until'}, 'and there is no end to it yet');

	$c = $instance->client(version => 'TLSv1_2');
	login($c, 'alice', 'correct horse');
	$c->transaction(with_program('Mutt/2.2 (2022-11-05)'));
	$c->command('QUIT');
	ok(wait_until { (rows('alice', 'Mutt/2.2 (2022-11-05)')->[0]{count}
		// 0) == 2 }, 'the same again is counted');

	$c = $instance->client;
	$c->ehlo('scanner.example.org');
	like(login($c, 'bob', 'battery staple'), qr/^235 /, 'no message is sent');
	$c->command('QUIT');
	$rows = rows('bob', 'scanner.example.org');
	is_deeply(($rows->[0] // {})->{practices}, [qw(login unbound)],
	    'then it is the name of EHLO');
};

subtest 'AUTH before TLS' => sub {
	my $c = $instance->client(clear => 1);
	$c->ehlo('old.example.org');
	like($c->plain('bob', 'battery staple'), qr/^538 /, 'is refused');
	$c->starttls;
	$c->ehlo('old.example.org');
	like($c->plain('bob', 'battery staple'), qr/^235 /, 'and then done well');
	$c->command('QUIT');
	my $rows = rows('bob', 'old.example.org');
	is_deeply(($rows->[0] // {})->{practices}, [qw(auth-in-clear unbound)],
	    'is in the report');
	$c = $instance->client(clear => 1);
	$c->ehlo('stubborn.example.org');
	$c->plain('carol', 'wrong');
	$c->command('QUIT');
	$rows = rows('carol', 'stubborn.example.org');
	is_deeply(($rows->[0] // {})->{practices}, [qw(auth-in-clear)],
	    'so is who never did well, by the name that was claimed');
	$c = $instance->client(clear => 1);
	$c->ehlo('stranger.example.org');
	$c->command('AUTH PLAIN ' . b64($_)) for "\0no name\0x", "\0\0x",
	    "\0j\xc3\xbcrgen\0x", "\0dave", 'dave', '';
	$c->command('AUTH LOGIN ' . b64('dave'));
	$c->command('QUIT');
	ok($instance->logged(qr/ disconnect .*commands=9 /), 'a client of no name');
	unlike(report(), qr/stranger|dave/, 'is not');
	ok(!$instance->log_lines(qr/ alarm protocol /), 'and nobody minds');
};

subtest 'a program may call itself as it likes' => sub {
	my $c = $instance->client;
	login($c, 'alice', 'correct horse');
	like($c->transaction(with_program("\e[2J\"evil\\")), qr/^250 /, 'taken');
	$c->command('QUIT');
	my $shown = wait_until { my ($status, $out) = $instance->tool('report',
		'legacy'); $out =~ /^  .*\[2J"evil\\$/m };
	ok($shown, 'and is shown');
	unlike(report(), qr/[^\n\x20-\x7e]/, 'without harm to a terminal');
};

subtest 'text' => sub {
	my $text = report();
	is((sort { length $b <=> length $a } split /\n/, $text)[0] =~ /^.{81}/ ? 1
		: 0, 0, 'no line has more than 80 columns');
	like($text, qr{^alice\@example\.org\n  Mutt/2\.2 \(2022-11-05\)\n    tls1\.2 login unbound\n      2 times, $today, last from 127\.0\.0\.1\n}m,
	    'the first user');
	like($text, qr/^alice.*^bob/ms, 'sorted');
	unlike(report('--user', 'alice'), qr/^bob/m, 'of one user');
	is(report('--since', '2999-01-01'), '', 'since a day');
	like(report('--since', $today), qr/^alice/, 'since today');
	for (['--since', '2027-02-30'], ['--user', '@'], ['--frob'], ['more']) {
		is(($instance->tool('report', 'legacy', @$_))[0], 2, "usage: @$_");
	}
	is(($instance->tool('report'))[0], 2, 'of what?');
};

subtest 'a day to come' => sub {
	$instance->option('legacy-until' => '"2999-12-31"');
	ok($instance->reload, 'reload');
	like(login($instance->client(version => 'TLSv1_2'), 'alice',
		'correct horse'), qr/^235 /, 'is to come');
	like(report('--user', 'alice'), qr/^      will be refused after 2999-12-31$/m,
	    'the report says so');
	is(rows('alice', 'Mutt/2.2 (2022-11-05)')->[0]{'taken-until'},
	    '2999-12-31', 'as JSON too');
};

# Reply and seconds.
sub timed {
	my ($how, $user, $password) = @_;
	my $c = $instance->client(version => 'TLSv1_2');
	my $start = time;
	my $reply = $how eq 'LOGIN' ? login($c, $user, $password)
	    : $c->plain($user, $password);
	return ($reply, time - $start);
}

subtest 'a day that is over' => sub {
	$instance->option('legacy-until' => '"2020-02-29"');
	ok($instance->reload, 'reload');
	my ($wrong, $wrong_took) = timed('PLAIN', 'alice', 'wrong');
	for my $how (qw(PLAIN LOGIN)) {
		my ($reply, $took) = timed($how, 'alice', 'correct horse');
		is($reply, $wrong, "$how over TLS 1.2: refused like a wrong password");
		cmp_ok($_, '>=', 0.29, 'not before its time') for $took, $wrong_took;
		cmp_ok(abs($took - $wrong_took), '<', 0.25, 'nor later');
	}
	like($wrong, qr/^535 5\.7\.8 /, 'which is 535');
	ok($instance->logged(qr/ auth .*result=failed user=alice\@example\.org mechanism=LOGIN .*detail="tls1\.2 login: not taken after 2020-02-29, expected TLS 1\.3, and SCRAM-SHA-256 or PLAIN"/),
	    'the log says why, and what to do');
	like($instance->client->plain('alice', 'correct horse'), qr/^235 /,
	    'PLAIN over TLS 1.3 is let in');
	like(login($instance->client, 'alice', 'correct horse'), qr/^535 /,
	    'LOGIN is not');
	like(($instance->tool('user', 'check', 'alice'))[1],
	    qr/^submission: store: (?!.*LOGIN).*PLAIN\n    not by .*LOGIN: an old way, not taken after \S+$/m,
	    'user check knows');
	like(report('--user', 'alice'), qr/^  \(refused before it said its name\)\n    tls1\.2\n      1 time, .*\n      refused after 2020-02-29\n    login\n/m,
	    'who still tries is in the report');
	unlike(report('--user', 'zoe'), qr/./, 'guesses are not');
	my ($regex) = slurp('server/fail2ban.conf') =~ /^failregex = (.*)$/m;
	$regex =~ s/<HOST>/(?<host>[0-9.]+)/;
	my @failed = $instance->log_lines(qr/ auth .*result=failed/);
	is(scalar(grep { /$regex/ && $+{host} eq '127.0.0.1' } @failed),
	    scalar @failed, 'the fail2ban filter finds each');
};

subtest 'a day of one user' => sub {
	is(($instance->tool('user', 'limit', 'bob', '--legacy-until', 'never'))[0],
	    0, 'never');
	like(($instance->tool('user', 'check', 'bob'))[1],
	    qr/^submission: store: .*PLAIN LOGIN$/m, 'user check knows');
	like(login($instance->client, 'bob', 'battery staple'), qr/^235 /,
	    'he may, though the day of all others is over');
	unlike(report('--user', 'bob'), qr/refused after/, 'the report knows');
	is(($instance->tool('user', 'limit', 'bob', '--legacy-until',
		'2999-01-31'))[0], 0, 'another day');
	like(login($instance->client, 'bob', 'battery staple'), qr/^235 /,
	    'which is to come');
	like(report('--user', 'bob'), qr/^      will be refused after 2999-01-31$/m,
	    'the report knows this, too');
	is(($instance->tool('user', 'limit', 'bob', '--legacy-until',
		'default'))[0], 0, 'the day of all');
	like(login($instance->client, 'bob', 'battery staple'), qr/^535 /,
	    'which is over');
};

subtest 'only what the list has' => sub {
	$instance->option('legacy' => '{ tls1.2 }');
	ok($instance->reload, 'reload');
	like(login($instance->client, 'alice', 'correct horse'), qr/^235 /, 'LOGIN again');
	like((timed('PLAIN', 'alice', 'correct horse'))[0], qr/^535 /, 'TLS 1.2 not');
	unlike(report('--user', 'bob'), qr/refused after/, 'nothing of bob ends');
	$instance->option('legacy' => '{ unbound }');
	ok($instance->reload, 'reload');
	like($instance->client->plain('alice', 'correct horse'), qr/^535 /,
	    'unbound, if asked for');
};

subtest 'without the server' => sub {
	my $before = report();
	ok($instance->stop, 'stop');
	is(report(), $before, 'the report is the same');
	my $file = "$instance->{folder}/state/store/legacy.json";
	is(sprintf('%o', (stat $file)[2] & 07777), '600', 'its file is nobody else\'s');
	spew($file, slurp($file) . '}');
	my ($status, undef, $err) = $instance->tool('report', 'legacy');
	is($status, 1, 'a damaged file is no report');
	like($err, qr/\Q$file\E: /, 'which is said, by name');
	$instance->start;
	is(report(), '', 'it stops no start');
	ok($instance->logged(qr/ warning legacy .*\.damaged/), 'and is set aside');
};

$instance->stop_ok;
done_testing;
