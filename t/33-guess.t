#!/usr/bin/perl
# Guessing passwords: slower and slower, and the owner is not locked out.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Scram;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $instance = Sallyport::Instance->new(options => {
	'auth-failure-delay' => '"100ms"', 'auth-free-failures' => 3,
	'auth-tries' => 20 });
$instance->user_add($_, 'right') for qw(carol dave);

sub client {
	my ($local) = @_;
	my $c = $instance->client(local => $local);
	$c->ehlo;
	return $c;
}

# Reply and seconds of one attempt.
sub attempt {
	my ($local, $user, $password) = @_;
	my $c = client($local);
	my $start = time;
	my $reply = $c->plain($user, $password);
	return ($reply, time - $start);
}

my ($reply, $took) = attempt('127.0.0.10', 'bob', 'battery staple');
like($reply, qr/^235 /, 'bob has been here');

my @took;
for my $try (1 .. 7) {
	($reply, $took) = attempt('127.0.1.20', "user$try", 'guess');
	like($reply, qr/^535 /, "guess $try is refused");
	push @took, $took;
}
cmp_ok($took[6], '>', 1.4, 'the seventh takes sixteen times as long');
cmp_ok($took[6], '>', 2 * $took[2], 'and the first ones did not');
my @lines = $instance->log_lines(qr/ auth .*result=failed/);
is(scalar @lines, 7, 'one line a failure');

subtest 'many at once' => sub {
	my @clients = map { client('127.0.1.20') } 1 .. 30;
	my $plain = encode_base64("\0bob\0guess", '');
	my $start = time;
	$_->send("AUTH PLAIN $plain\r\n") for @clients;
	sleep 1; # all are there
	($reply, $took) = attempt('127.0.0.10', 'bob', 'battery staple');
	like($reply, qr/^235 /, 'where he has been, the owner logs in');
	cmp_ok($took, '<', 10, 'and does not stand in the queue of half a minute');
	my @replies = map { $_->reply // 'timeout' } @clients;
	my $denied = grep { /^535 / } @replies;
	my $later = grep { /^454 4\.7\.0 / } @replies;
	is($denied + $later, 30, 'each gets an answer');
	cmp_ok($later, '>=', 8, 'most are told to come later');
	cmp_ok(time - $start, '>=', 1.6 * ($denied - 1), 'the others one by one');
};

subtest 'a name that strangers guess at' => sub {
	attempt("127.0.3.$_", $_ % 2 ? 'alice' : 'alice@EXAMPLE.org', 'guess')
	    for 1 .. 6;
	($reply, $took) = attempt('127.0.10.1', 'alice', 'guess');
	cmp_ok($took, '>', 0.19, 'gets slow answers, however it is spelled');
};

# The server's signature says that the password was right: it has to wait, and
# to be refused, as the answer after it.
subtest 'guesses by SCRAM' => sub {
	my $source = '127.0.40.1';
	# A client, and the line that is its proof.
	my $prepare = sub {
		my ($user, $password) = @_;
		my $c = client($source);
		my $scram = Sallyport::Scram->new(user => $user,
			password => $password);
		return ($c, $scram->final($c->command('AUTH SCRAM-SHA-256 '
			. $scram->first)));
	};
	# The reply to it, and seconds.
	my $prove = sub {
		my ($c, $final) = $prepare->(@_);
		my $start = time;
		my $reply = $c->command($final);
		return ($reply, time - $start, $c);
	};
	my ($reply, $took, $c) = $prove->('dave', 'right');
	like($reply, qr/^334 /, 'in quiet a right one is told at once');
	cmp_ok($took, '<', sanitized() ? 1 : 0.09, 'at once');
	$c->close; # so that dave has no lane
	for (1 .. 6) {
		($reply, $took) = $prove->("guess$_", 'wrong');
		like($reply, qr/^535 /, "guess $_ is refused");
	}
	# The answers of this source are spoken for until another has failed.
	my @others = map { client($source) } 1 .. 2;
	my $plain = encode_base64("\0guess\0wrong", '');
	$_->send("AUTH PLAIN $plain\r\n") for @others;
	sleep 0.05;
	($reply, $took, $c) = $prove->('dave', 'right');
	like($reply, qr/^334 /, 'after many failures, too');
	cmp_ok($took, '>', 0.8, 'but not before them');
	like($c->command(''), qr/^235 /, 'and granted in the end');
	$_->reply for @others;
	# Who would wait for more than half a minute is sent away, right or wrong.
	$instance->option('auth-failure-delay', '"2s"');
	ok($instance->reload, 'failures that take half a minute now');
	my @proofs = map { [$prepare->('carol', $_)] } qw(right wrong);
	my $other = client($source);
	$other->send("AUTH PLAIN $plain\r\n");
	sleep 0.2;
	my $start = time;
	$_->[0]->send("$_->[1]\r\n") for @proofs;
	my @replies = map { $_->[0]->reply } @proofs;
	like($replies[0], qr/^454 4\.7\.0 /, 'right: come later');
	is($replies[1], $replies[0], 'wrong: the same');
	cmp_ok(time - $start, '>', 1.9, 'and not at once');
	$instance->option('auth-failure-delay', '"100ms"');
	$instance->reload;
};

subtest 'AUTH before TLS' => sub {
	for (1 .. 4) {
		my $c = $instance->client(local => '127.0.20.1', clear => 1);
		$c->ehlo;
		like($c->plain('bob', 'battery staple'), qr/^538 5\.7\.11 /, 'refused');
	}
	($reply, $took) = attempt('127.0.20.1', 'zoe', 'guess');
	cmp_ok($took, '>', 0.3, 'counts');
	is(scalar(my @clear = $instance->log_lines(qr/ auth .*result=in-clear .*client=127\.0\.20\.1 /)),
	    4, 'and is logged');
};

subtest 'the fail2ban filter' => sub {
	my ($regex) = slurp('server/fail2ban.conf') =~ /^failregex = (.*)$/m;
	$regex =~ s/<HOST>/(?<host>[0-9.]+)/;
	# What a stranger calls himself is in the line too.
	for my $name ('x client=192.0.2.66 listener=y',
	    'x" client=192.0.2.66 listener=y', 'x\\" client=192.0.2.66 listener=y',
	    'client=192.0.2.66') {
		my $before = () = $instance->log_lines(qr/192\.0\.2\.66/);
		attempt('127.0.30.1', $name, 'guess');
		my @lines;
		wait_until {
			@lines = $instance->log_lines(qr/192\.0\.2\.66/);
			@lines > $before };
		is(scalar @lines, $before + 1, "\"$name\" is logged");
		ok($lines[-1] =~ /$regex/, 'and found');
		is($+{host}, '127.0.30.1', 'with his own address');
	}
	my @found = grep { /$regex/ } split /\n/, $instance->log_text;
	is(scalar(grep { /result=in-clear/ } @found), 4, 'finds AUTH before TLS');
	cmp_ok(scalar(grep { /result=failed/ } @found), '>=', 14, 'and failures');
	is(scalar(grep { /result=ok/ } @found), 0, 'and no success');
	$found[0] =~ /$regex/;
	is($+{host}, '127.0.1.20', 'with the address');
};

$instance->stop_ok;
done_testing;
