#!/usr/bin/perl
# A real Postfix relays through us: by its certificate alone, which it shows but
# cannot use with EXTERNAL, and by passwords.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Postfix;
use Sallyport::Test;
use Test::More;

if (my $why = Sallyport::Postfix->unavailable) {
	plan skip_all => $why;
}

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"100ms"' },
	map { $_ => { 'client-cert' => 'ask', 'implicit-external' => 'yes' } }
		qw(submission submissions));
my $peers = Sallyport::Certs->authority($instance->{scratch}, 'peers');
my ($cert, $key) = $peers->issue('branch', dns => ['branch.example'],
	purpose => 'client');
spew("$instance->{folder}/peers.pem", slurp($peers->file));
$instance->listener_option($_, 'client-ca', '"peers.pem"')
    for qw(submission submissions);
ok($instance->reload, 'our authority for peers');

sub postfix {
	my (%o) = @_;
	my $listener = $o{wrapper} ? 'submissions' : 'submission';
	my $postfix = Sallyport::Postfix->new(scratch(),
		relay => $instance->{ports}{$listener}, name => 'mail.example.org',
		ca => "$instance->{folder}/tls/ca.pem", %o);
	ok($postfix->start, 'Postfix has started') or diag $postfix->log_text;
	return $postfix;
}

sub letter {
	my ($from, $subject) = @_;
	return message(subject => $subject) =~ s/alice\@/$from\@/r;
}

# It is taken by Postfix, which sends it through us to the smarthost.
sub relays {
	my ($postfix, $from, $what) = @_;
	my $before = $instance->{smarthost}->count;
	like($postfix->submit(letter($from, $what), from => "$from\@example.org"),
	    qr/^250 /, "$what: Postfix takes it");
	ok($instance->arrived($before + 1), "$what: the smarthost has it")
	    or diag $postfix->log_text;
	ok($postfix->logged(qr/status=sent \(250 /), "$what: Postfix knows");
}

sub refused {
	my ($postfix, $what) = @_;
	my $before = $instance->{smarthost}->count;
	like($postfix->submit(letter('branch', $what),
		from => 'branch@example.org'), qr/^250 /, "$what: Postfix takes it");
	ok($postfix->logged(qr/said: 530 5\.7\.0 .*in reply to MAIL FROM/),
	    "$what: we do not") or diag $postfix->log_text;
	is($instance->{smarthost}->count, $before, "$what: nothing went on");
}

my %shown = (cert => $cert, key => $key);

subtest 'a certificate by its key' => sub {
	refused(my $postfix = postfix(%shown), 'a certificate of nobody');
	is(($instance->tool('user', 'add', 'branch', '--kind', 'server',
		'--certificate', $cert))[0], 0, 'bind it');
	relays($postfix, 'branch', 'STARTTLS');
	ok($instance->logged(qr/ auth .*result=ok user=branch\@example\.org mechanism=EXTERNAL .*listener=submission /),
	    'by its certificate');
	is(($instance->tool('user', 'unbind', 'branch', 'all'))[0], 0, 'unbind it');
	refused($postfix, 'unbound');
};

subtest 'a certificate by authority and name' => sub {
	my $postfix = postfix(%shown, wrapper => 1);
	my ($status, $out, $err) = $instance->tool('user', 'bind', 'branch',
		'--ca', $peers->file, '--san', 'dns:branch.example');
	is($status, 0, 'bind its name') or diag $err;
	relays($postfix, 'branch', 'implicit TLS');
	ok($instance->logged(qr/ auth .*result=ok user=branch\@example\.org mechanism=EXTERNAL .*listener=submissions /),
	    'by its certificate');
	$postfix->stop;
	my $renewed = postfix(zip($peers->issue('renewed',
		dns => ['branch.example'], purpose => 'client')));
	relays($renewed, 'branch', 'a new certificate with a new key');
};

subtest 'no certificate' => sub {
	refused(postfix(), 'neither certificate nor password');
};

subtest 'a password' => sub {
	for (['plain', 'PLAIN'], ['', 'SCRAM-SHA-256']) {
		my ($filter, $mechanism) = @$_;
		my $postfix = postfix(sasl => ['alice',
			$Sallyport::Instance::password{alice}, $filter]);
		relays($postfix, 'alice', $mechanism);
		ok($instance->logged(qr/ auth .*result=ok user=alice\@example\.org mechanism=$mechanism /),
		    "by $mechanism");
		$postfix->stop;
	}
};

sub zip {
	my ($cert_file, $key_file) = @_;
	return (cert => $cert_file, key => $key_file);
}

$instance->stop_ok;
done_testing;
