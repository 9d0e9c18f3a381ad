#!/usr/bin/perl
# Logins at a smarthost: another sallyportd that takes all four mechanisms, and
# one that says yes too early.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

# What Instance asks of a smarthost and of its authority.
package Peer {
	sub port { return $_[0]{port} }
	sub file { return $_[0]{file} }
}

my $peer = Sallyport::Instance->new(senders => { bob => ['*'] },
	options => { 'auth-failure-delay' => '"100ms"' });
my $hop = bless { port => $peer->{ports}{submission},
	file => "$peer->{folder}/tls/ca.pem", settings => { tls => 'starttls' } },
    'Peer';
my $instance = Sallyport::Instance->new(start => 0, smarthost => $hop,
	authority => $hop, options => { upstream => '"upstream"',
		'retry-first' => '"1s"', 'retry-most' => '"1s"' });

sub sites {
	my ($port, $match, $level) = @_;
	$instance->sites("127.0.0.1:$port out "
	    . ($level // "lock match=$match") . " auth=isp\n");
}

# A message with another way to log in; the log line that says how it went.
sub attempt {
	my ($mechanism, $user, $password) = @_;
	spew("$instance->{folder}/upstream", "isp $mechanism $user \"$password\"\n");
	chmod 0600, "$instance->{folder}/upstream";
	$instance->queue_empty;
	$instance->stop;
	$instance->start;
	my $seen = () = $instance->log_lines(qr/ login site=/);
	like($instance->authenticated->transaction(message(subject => $mechanism),
		subject => $mechanism), qr/^250 /, 'accepted');
	return wait_until {
		my @lines = $instance->log_lines(qr/ login site=/);
		@lines > $seen ? $lines[-1] : undef } 15;
}

sites($hop->port, 'mail.example.org');
my $count = 0;
for my $mechanism (qw(SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256
    SCRAM-SHA-1 PLAIN LOGIN any)) {
	subtest "$mechanism at another sallyportd" => sub {
		my $used = $mechanism eq 'any' ? 'SCRAM-SHA-256-PLUS' : $mechanism;
		like(attempt($mechanism, 'bob', 'battery staple') // '',
		    qr/mechanism=$used result=ok/, 'logged in');
		ok($peer->arrived(++$count), 'and delivered');
		ok($peer->log_lines(qr/ auth .*result=ok user=bob\S* mechanism=$used /),
		    'the other side says so too');
		like(attempt($mechanism, 'bob', 'battery') // '',
		    qr/mechanism=$used result=failed/, 'a wrong password');
		is($peer->{smarthost}->count, $count, 'delivers nothing');
	};
}

subtest 'no login below the level of the row' => sub {
	sites($hop->port, 'smtp.other.example');
	my $tries = () = $peer->log_lines(qr/ auth /);
	spew("$instance->{folder}/upstream", "isp PLAIN bob \"battery staple\"\n");
	$instance->stop;
	$instance->start;
	like($instance->authenticated->transaction(message()), qr/^250 /, 'accepted');
	ok($instance->logged(qr/\bdeferred\b/), 'deferred');
	is(scalar(my @after = $peer->log_lines(qr/ auth /)), $tries, 'no AUTH was said');
	is($peer->{smarthost}->count, $count, 'nothing delivered');
};

subtest 'a yes before SCRAM is over' => sub {
	my $hasty = $peer->{smarthost};
	$hasty->restart(login => 'bob:x', mechanisms => 'SCRAM-SHA-256',
		fault => { auth => '235 2.7.0 welcome' }, 'client-ca' => '');
	sites($hasty->port, undef, 'encrypt');
	my $text = slurp($instance->{conf});
	my $port = $hasty->port;
	$text =~ s/(address = "127\.0\.0\.1:)\d+"/$1$port"/ or die 'no smarthost';
	$instance->conf_write($text);
	like(attempt('SCRAM-SHA-256', 'bob', 'battery staple') // '',
	    qr/mechanism=SCRAM-SHA-256 result=failed/, 'is not believed');
	ok($instance->logged(qr/\bdeferred\b.*before SCRAM-SHA-256 is over/),
	    'deferred, and the log says why');
	unlike($hasty->received('tls'), qr/^MAIL/m, 'MAIL was not said');
};

is(index($instance->log_text, 'battery'), -1, 'no password is in the log');
is(index($peer->log_text, 'battery'), -1, 'nor in that of the other side');
$instance->stop_ok;
$peer->stop_ok;
done_testing;
