#!/usr/bin/perl
# A real Sendmail relays through us by its certificate, with EXTERNAL and
# without.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Sendmail;
use Sallyport::Test;
use Test::More;

if (my $why = Sallyport::Sendmail->unavailable) {
	plan skip_all => $why;
}

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"100ms"' },
	submission => { 'client-cert' => 'ask' });
my $peers = Sallyport::Certs->authority($instance->{scratch}, 'peers');
my ($cert, $key) = $peers->issue('branch', dns => ['branch.example'],
	purpose => 'client');
spew("$instance->{folder}/peers.pem", slurp($peers->file));
$instance->listener_option('submission', 'client-ca', '"peers.pem"');
ok($instance->reload, 'our authority for peers');
is(($instance->tool('user', 'add', 'branch', '--kind', 'server',
	'--no-password'))[0], 0, 'a user');

sub sendmail {
	return Sallyport::Sendmail->new(scratch(), name => 'mail.example.org',
		relay => $instance->{ports}{submission}, cert => $cert,
		key => $key, ca => "$instance->{folder}/tls/ca.pem", @_);
}

sub deliver {
	my ($sendmail, $subject) = @_;
	return $sendmail->deliver(message(subject => $subject)
		=~ s/alice\@/branch\@/r, 'branch@example.org', 'bob@example.net');
}

sub relays {
	my ($sendmail, $what, $pattern) = @_;
	my $before = $instance->{smarthost}->count;
	my $said = deliver($sendmail, $what);
	like($said, qr/$pattern.*Sent \(/s, "$what: Sendmail sends it")
	    or diag $said;
	ok($instance->arrived($before + 1), "$what: the smarthost has it");
	ok($instance->log_lines(qr/ accepted .*user=branch\@example\.org /),
	    "$what: and we know whose it is");
}

sub refused {
	my ($sendmail, $what, $pattern) = @_;
	my $before = $instance->{smarthost}->count;
	like(deliver($sendmail, $what), $pattern, "$what: we refuse it");
	is($instance->{smarthost}->count, $before, "$what: nothing went on");
}

my $external = sendmail(login => 'branch');
refused($external, 'bound to nobody', qr/AUTH EXTERNAL.*\n535 5\.7\.8 /);
is(($instance->tool('user', 'bind', 'branch', '--ca', $peers->file, '--san',
	'dns:branch.example'))[0], 0, 'bind its name');
relays($external, 'EXTERNAL', qr/AUTH EXTERNAL/);

my $silent = sendmail();
refused($silent, 'without AUTH', qr/MAIL From:.*\n530 5\.7\.0 /);
$instance->listener_option('submission', 'implicit-external', 'yes');
ok($instance->reload, 'a listener that takes the certificate alone');
relays($silent, 'the certificate alone', qr/^(?!.*>>> AUTH)/s);

$instance->stop_ok;
done_testing;
