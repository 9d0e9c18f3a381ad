#!/usr/bin/perl
# PAM: asked in helper processes, so that a slow module holds up nobody.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(time);

my ($wrapper) = glob '/usr/lib/*/libpam_wrapper.so*';
my ($matrix) = glob '/usr/lib/*/pam_wrapper/pam_matrix.so';
plan skip_all => 'pam_wrapper is not installed' unless $wrapper && $matrix;

my $scratch = scratch();
my $services = "$scratch/pam.d";
mkdir $services;
spew("$scratch/passdb", "peter:pan:sallyport\nwendy:darling:other\n");
chmod 0644, "$scratch/passdb";
spew("$services/sallyport", "auth required $matrix passdb=$scratch/passdb\n"
    . "account required $matrix passdb=$scratch/passdb\n");
spew("$services/other", "auth required pam_deny.so\naccount required pam_deny.so\n");
# A module that takes its time, by a service of its own.
spew("$services/slow", "auth optional pam_exec.so quiet /bin/sleep 4\n"
    . "auth required $matrix passdb=$scratch/passdb\n"
    . "account required $matrix passdb=$scratch/passdb\n");

my $preload = $wrapper;
if (sanitized()) {
	chomp(my $asan = `gcc -print-file-name=libasan.so`);
	$preload = "$asan $wrapper";
}
my %env = (LD_PRELOAD => $preload, PAM_WRAPPER => 1,
	PAM_WRAPPER_SERVICE_DIR => $services);

my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { 'pam-realms' => '{ "example.org" }',
		'auth-failure-delay' => '"300ms"', 'helper-deadline' => '"2s"',
		'auth-tries' => 10 },
	submission => { backends => '{ "store", "pam" }' },
	submissions => { backends => '{ "pam" }' });
$instance->start(env => \%env);

sub plain {
	my ($user, $password, %o) = @_;
	my $c = $instance->client(%o) or return 'no connection';
	return $c->plain($user, $password);
}

like(plain('peter', 'pan', implicit => 1), qr/^235 /, 'PLAIN is granted');
like(plain('peter@example.org', 'pan', implicit => 1), qr/^235 /, 'with the realm');
like(plain('peter', 'hook', implicit => 1), qr/^535 5\.7\.8 /, 'wrong password');
like(plain('nobody-here', 'pan', implicit => 1), qr/^535 5\.7\.8 /, 'unknown user');
like(plain('peter@example.com', 'pan', implicit => 1), qr/^535 5\.7\.8 /,
    'a realm that PAM is not asked for');
like(plain('wendy', 'darling', implicit => 1), qr/^535 5\.7\.8 /,
    'a user of another service: the account phase counts');
like(plain('', 'pan', implicit => 1), qr/^5(35|01) /, 'empty name');
like(plain('peter', '', implicit => 1), qr/^5(35|01) /, 'empty password');
like(plain('../peter', 'pan', implicit => 1), qr/^535 /, 'name outside the grammar');
{
	my $c = $instance->client(implicit => 1);
	$c->command('AUTH LOGIN');
	$c->command(encode_base64('peter', ''));
	like($c->command(encode_base64('pan', '')), qr/^235 /, 'LOGIN');
}

unlike($instance->client(implicit => 1)->ehlo, qr/SCRAM/,
    'SCRAM is not offered where only PAM could answer');
like($instance->client->ehlo, qr/SCRAM-SHA-256/, 'it is beside the store');
like(plain('peter', 'pan'), qr/^235 /, 'store and PAM: a user of PAM');
like(plain('alice', 'correct horse'), qr/^235 /, 'store and PAM: a user of the store');
like(plain('peter', 'hook'), qr/^535 /, 'store and PAM: a wrong password');

subtest 'a slow module' => sub {
	$instance->stop;
	$instance->option('pam-service', '"slow"');
	spew("$scratch/passdb", "peter:pan:slow\n");
	$instance->start(env => \%env);
	my $slow = $instance->client(implicit => 1);
	my $start = time;
	$slow->send('AUTH PLAIN ' . encode_base64("\0peter\0pan", '') . "\r\n");
	like(plain('alice', 'correct horse'), qr/^235 /, 'others log in meanwhile');
	cmp_ok(time - $start, '<', 1.5, 'at once');
	like($slow->reply, qr/^454 4\.7\.0 /, 'at the deadline: 454');
	cmp_ok(time - $start, '<', 3.9, 'not later');
};

subtest 'a helper that dies' => sub {
	$instance->stop;
	spew("$services/slow", "auth required pam_exec.so quiet /bin/false\n"
	    . "account required $matrix passdb=$scratch/passdb\n");
	$instance->start(env => \%env);
	like(plain('peter', 'pan', implicit => 1), qr/^(535|454) /, 'is a refusal');
	like(plain('alice', 'correct horse'), qr/^235 /, 'and no more');
};

$instance->stop_ok;
done_testing;
