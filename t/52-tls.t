#!/usr/bin/perl
# TLS of the listeners: which certificate is shown to whom, tickets, and what
# no ticket may carry over.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::SSL;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(users => 0, start => 0,
	submissions => { tickets => 'no' });
my $folder = $instance->{folder};
my $names = Sallyport::Certs->authority($folder, 'names');
my $peers = Sallyport::Certs->authority($folder, 'peers');
my %host = (first => ['first.example'],
	second => ['second.example', '*.wild.example']);
for my $name (sort keys %host) {
	my ($cert, $key) = $names->issue($name, dns => $host{$name});
	my $text = slurp($instance->{conf});
	$text =~ s/^(?=end\s*=)/certificate $name {
	chain = "$cert"
	key = "$key"
	role = server
}
/m;
	$instance->conf_write($text);
}
$instance->listener_option('submission', 'certificates',
	'{ "server", "first", "second" }');
my $out = '127.0.0.1:' . $instance->{smarthost}->port
    . " out lock match=127.0.0.1 cert=client\n";
$instance->sites($out);
$instance->start;

# The common name of the certificate shown to who asks for that name.
sub shown {
	my ($name) = @_;
	my $c = Sallyport::Client->new(port => $instance->{ports}{submission},
		name => $name);
	$c->ehlo;
	$c->starttls or return "no handshake: $c->{error}";
	return $c->{sock}->peer_certificate('cn');
}

for (['first.example', 'first'], ['FIRST.example', 'first'],
	['second.example', 'second'], ['a.wild.example', 'second'],
	['a.b.wild.example', 'mail.example.org'],
	['wild.example', 'mail.example.org'],
	['elsewhere.example', 'mail.example.org'],
	['mail.example.org', 'mail.example.org'], ['', 'mail.example.org']) {
	my ($name, $expected) = @$_;
	is(shown($name), $expected, $name eq '' ? 'no SNI' : "SNI $name");
}

# A client that keeps its tickets.
sub context {
	return IO::Socket::SSL::SSL_Context->new(
		SSL_verify_mode => SSL_VERIFY_NONE, SSL_session_cache_size => 10,
		SSL_version => 'TLSv1_3', @_);
}

sub resumes {
	my ($context, %o) = @_;
	my $c = $instance->client(session => $context, ca => undef, %o)
	    or return 'no connection';
	my $resumed = $c->resumed ? 1 : 0;
	$c->command('QUIT');
	$c->closed; # now the tickets have been read, too
	return $resumed;
}

my $kept = context();
is(resumes($kept), 0, 'a full handshake first');
is(resumes($kept), 1, 'then the ticket is taken');
my $useless = context();
is(resumes($useless, implicit => 1), 0, 'tickets = no: a full handshake');
is(resumes($useless, implicit => 1), 0, 'and again');

kill KILL => $instance->roles->{session};
$instance->logged(qr/role-died role=session/);
wait_until { $instance->ready('submission') };
is(resumes($kept), 1, 'taken by a restarted role');
$instance->reload;
is(resumes($kept), 1, 'taken after a reload');
$instance->listener_option('submission', 'tickets', 'no');
$instance->reload;
is(resumes($kept), 0, 'not taken once a reload has switched tickets off');
$instance->listener_option('submission', 'tickets', 'yes');
$instance->reload;

my @show = $peers->issue('peer', dns => ['peer.example'],
	purpose => 'client');
$kept = context();
resumes($kept);
is(resumes($kept), 1, 'a ticket from before there was a row');
$instance->sites("${out}127.0.0.1 in lock match=peer.example ca=peers.pem\n");
$instance->reload;
is(resumes($kept), 0, 'not taken from who is asked for a certificate');
my $peer = context(SSL_cert_file => $show[0], SSL_key_file => $show[1]);
is(resumes($peer), 0, 'who shows one: a full handshake');
is(resumes($peer), 0, 'and again');
like($instance->client(silent => 1, cert => $show[0], key => $show[1])->ehlo,
    qr/^250/, 'and is served');
like($instance->client(silent => 1, session => $kept, ca => undef)->ehlo,
    qr/^554 5\.7\.0 /, 'who shows none is not');
$instance->sites($out);
$instance->reload;
is(resumes($peer), 0, 'it was given no ticket');

$instance->stop_ok(deaths => 1);
done_testing;
