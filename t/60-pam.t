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
		'auth-tries' => 10, 'auth-free-failures' => 1000 },
	submission => { backends => '{ "store", "pam" }' },
	submissions => { backends => '{ "pam" }' });

# pam_wrapper ends a process that finds the folder which another one is just
# making; that is nothing of ours.
my $stumbled = 0;
sub start {
	for (1 .. 20) {
		return if $instance->start(env => \%env, may_fail => 1);
		$instance->log_text =~ /PWRAP_ERROR/ or last;
		$stumbled = 1;
	}
	$instance->show_log;
	BAIL_OUT('sallyportd does not start');
}
start();

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

unlike($instance->client(implicit => 1)->ehlo, qr/EXTERNAL/, 'nor EXTERNAL');
{
	my ($status, $out, $err) = run({ env => \%env }, program('sallyportd'),
		'-c', $instance->{conf}, '-t');
	is($status, 0, '-t');
	like("$out$err", qr/listener submissions: .*SCRAM-SHA-256/,
	    'says what is not offered');
	unlike("$out$err", qr/listener submission: .*SCRAM/,
	    'and only where it is not');
}

subtest 'store before PAM' => sub {
	spew("$scratch/passdb", "peter:pan:sallyport\nalice:pam secret:sallyport\n");
	like(plain('alice', 'pam secret'), qr/^535 /,
	    'who is in the store is not looked for elsewhere');
	like(plain('alice', 'correct horse'), qr/^235 /, 'but there');
	like(plain('alice', 'pam secret', implicit => 1), qr/^235 /,
	    'where the store is no backend, PAM decides');
	like(plain('alice', 'correct horse', implicit => 1), qr/^535 /,
	    'alone');
	like(plain('PETER', 'pan'), qr/^535 /, 'PAM gets the name as it is');
	like(plain('peter@EXAMPLE.org', 'pan'), qr/^235 /,
	    'realms know no case');
	like(plain('peter@example.com', 'pan'), qr/^535 /,
	    'another realm is not asked for, beside the store neither');
};

subtest 'PAM before the store' => sub {
	$instance->listener_option('submission', backends => '{ "pam", "store" }');
	ok($instance->reload, 'the order turned round');
	like(plain('alice', 'pam secret'), qr/^235 /, 'what PAM knows is right');
	like(plain('alice', 'correct horse'), qr/^235 /,
	    'where it refuses, the store decides');
	like(plain('alice', 'neither'), qr/^535 /, 'where both do, nobody');
	like(plain('peter', 'pan'), qr/^235 /, 'PAM alone');
	like(plain('peter@example.com', 'pan'), qr/^535 /, 'nor another realm');
	my ($status, $out) = run({ env => \%env }, program('sallyportd'),
		'-c', $instance->{conf}, '-t');
	like($out, qr/listener submission: passwords are checked by pam, then store$/m,
	    '-t says the order');
	unlike($out, qr/listener submissions: passwords/, 'where there is one');
	($status, $out) = run({}, program('sallyport'), '-c', $instance->{conf},
		'user', 'check', 'alice');
	like($out, qr/^submission: pam: PLAIN LOGIN\n.*^submission: store: .*PLAIN LOGIN/ms,
	    'and so does user check');
	$instance->listener_option('submission', backends => '{ "store", "pam" }');
	ok($instance->reload, 'and back');
	($status, $out) = run({}, program('sallyport'), '-c', $instance->{conf},
		'user', 'check', 'alice');
	like($out, qr/^submission: store: .*^submission: pam: no/ms,
	    'where the store decides first, PAM is not asked');
	($status, $out) = run({ env => \%env }, program('sallyportd'),
		'-c', $instance->{conf}, '-t');
	like($out, qr/listener submission: passwords are checked by store, then pam$/m,
	    'as -t says');
};

subtest 'nothing is remembered' => sub {
	like(plain('peter', 'pan', implicit => 1), qr/^235 /, 'a password');
	spew("$scratch/passdb", "peter:hook:sallyport\n");
	like(plain('peter', 'pan', implicit => 1), qr/^535 /,
	    'that was changed is wrong at once');
	like(plain('peter', 'hook', implicit => 1), qr/^235 /,
	    'and the new one is right');
	spew("$scratch/passdb", '');
	like(plain('peter', 'hook', implicit => 1), qr/^535 /,
	    'nor is a user who is gone');
	spew("$scratch/passdb", "peter:pan:sallyport\nwendy:darling:other\n");
};

# A service of its own, from the next login on.
my $services_made = 0;
sub service {
	my ($text) = @_;
	my $name = 'service' . ++$services_made;
	spew("$services/$name", $text);
	spew("$scratch/passdb", "peter:pan:$name\n");
	$instance->option('pam-service', "\"$name\"");
	$instance->reload or BAIL_OUT('no reload');
}

my $auth = "auth required $matrix passdb=$scratch/passdb";
my $account = "account required $matrix passdb=$scratch/passdb\n";

subtest 'what a module is told' => sub {
	my $told = "$scratch/told";
	spew($told, '');
	chmod 0666, $told;
	spew("$scratch/tell", "#!/bin/sh\necho \"rhost=\$PAM_RHOST user=\$PAM_USER "
	    . "service=\$PAM_SERVICE type=\$PAM_TYPE\" >>$told\n");
	chmod 0755, "$scratch/tell";
	service("auth optional pam_exec.so quiet $scratch/tell\n$auth\n"
	    . "account optional pam_exec.so quiet $scratch/tell\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^235 /, 'a login');
	like(slurp($told), qr/^rhost=127\.0\.0\.1 user=peter service=service\d+ type=auth$/m,
	    'the address as a literal, the local part');
	like(slurp($told), qr/^rhost=127\.0\.0\.1 user=peter service=service\d+ type=account$/m,
	    'in both phases');
	spew($told, '');
	like(plain('peter', 'hook', implicit => 1), qr/^535 /, 'a failure');
	unlike(slurp($told), qr/type=account/, 'has no account phase');
};

subtest 'what a module answers' => sub {
	for (['auth=auth_err', 535], ['auth=user_unknown', 535],
		['auth=maxtries', 535], ['auth=cred_insufficient', 535],
		['auth=authinfo_unavail', 454], ['auth=system_err', 454],
		['auth=service_err', 454], ['acct=acct_expired', 535],
		['acct=new_authtok_reqd', 535], ['acct=perm_denied', 535],
		['acct=user_unknown', 535], ['acct=auth_err', 535]) {
		my ($answer, $code) = @$_;
		my ($auths, $accounts) = ("$auth\n", $account);
		($answer =~ /^auth/ ? $auths : $accounts)
		    .= ($answer =~ /^auth/ ? 'auth' : 'account')
		    . " required pam_debug.so $answer\n";
		service($auths . $accounts);
		like(plain('peter', 'pan', implicit => 1), qr/^$code /,
		    "$answer: $code");
	}
	service("auth required $matrix passdb=/nowhere\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^(454|535) /,
	    'a module that fails');
	service("auth required pam_nowhere.so\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^(454|535) /,
	    'a module that is not there');
};

subtest 'one hidden prompt' => sub {
	service("$auth\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^235 /, 'is answered');
	service("$auth echo\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^(535|454) /,
	    'a visible one is not');
	service("$auth\n$auth\n$account");
	like(plain('peter', 'pan', implicit => 1), qr/^(535|454) /,
	    'nor is a second one');
	unlike($instance->log_text, qr/pan\b.*pan\b/, 'and nothing is logged');
};

subtest 'its own delay' => sub {
	service("auth required pam_faildelay.so delay=3000000\n$auth\n$account");
	my $start = time;
	like(plain('peter', 'hook', implicit => 1), qr/^535 /, 'a failure');
	cmp_ok(time - $start, '<', 2.5, 'is answered when we say, not PAM');
};

subtest 'a slow module' => sub {
	$instance->stop;
	$instance->option('pam-service', '"slow"');
	spew("$scratch/passdb", "peter:pan:slow\n");
	start();
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
	start();
	like(plain('peter', 'pan', implicit => 1), qr/^(535|454) /, 'is a refusal');
	like(plain('alice', 'correct horse'), qr/^235 /, 'and no more');
};

$instance->stop_ok(deaths => $stumbled);
done_testing;
