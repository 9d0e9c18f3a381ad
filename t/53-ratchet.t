#!/usr/bin/perl
# The option ratchet: the best a next hop has shown is asked of it from then
# on, across restarts, until an operator lowers it.  Where less is shown, not
# one octet of the message (nor of its envelope) crosses.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(start => 0, senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $scratch = $instance->{scratch};
my $smarthost = $instance->{smarthost};
my $site = '127.0.0.1:' . $smarthost->port;
my $authority = $instance->{authority};
my $second = Sallyport::Certs->authority($scratch, 'second');
my %here = (ip => ['127.0.0.1'], dns => ['smarthost.example']);
my %show = (
	good => [$authority->issue('good', %here)],
	'another key' => [$authority->issue('key', %here)],
	'another name' => [$authority->issue('name', ip => ['127.0.0.2'])],
	'another issuer' => [$second->issue('issuer', %here)],
	'self-signed' => [$authority->issue('self', %here, self => 1)],
);
spew("$instance->{folder}/tls/smarthost-ca.pem", slurp($authority->file)
    . slurp($second->file));
my $row = "$site out encrypt ratchet";
$instance->sites("$row\n");
$instance->start;

# The smarthost as it is from now on.
sub shows {
	my ($certificate, %settings) = @_;
	my ($cert, $key) = @{ $show{$certificate} };
	$smarthost->restart(tls => 'starttls', cert => $cert, key => $key,
		max => undef, 'client-ca' => undef, fault => {}, %settings);
}

# Submit a message: (its mark, the line about what became of it).
sub submit {
	my $mark = 'Mark' . int rand 1e9;
	my $reply = $instance->authenticated->transaction(
		message(subject => $mark), from => "$mark\@example.org",
		to => ["to-$mark\@example.net"]);
	my ($id) = ($instance->logged(qr/\baccepted\b.*from="?<?$mark/) // '')
	    =~ /queue=(\S+)/;
	return ($mark, $reply) if !$id;
	# A hop that failed is left alone for an hour.
	$instance->tool('queue', 'flush');
	return ($mark, $instance->logged(
		qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/) // '');
}

sub passes {
	my ($name) = @_;
	my ($mark, $line) = submit();
	like($line, qr/\bdelivered\b/, "$name: delivered");
}

sub refused {
	my ($name, $reason, $detail) = @_;
	my ($mark, $line) = submit();
	like($line, qr/\bdeferred\b.*\breason=$reason\b/, "$name: stays in the queue");
	like($line, qr/$detail/, "$name: says why") if $detail;
	for my $where (qw(clear tls)) {
		unlike($smarthost->received($where), qr/$mark|MAIL|RCPT|DATA/i,
		    "$name: not one octet of the message in $where");
	}
	$instance->queue_empty;
}

# What is remembered, as the tool tells it.
sub remembered {
	my ($status, $out, $err) = $instance->tool('policy', 'ratchet');
	is($status, 0, 'policy ratchet') or diag($err);
	return $out;
}

subtest 'raised by what is shown, whatever the row asks' => sub {
	shows('self-signed', max => 'TLSv1_2');
	passes('TLS 1.2, self-signed');
	like(remembered(), qr/\Q$site\E.*\bencrypt\b.*TLS ?1\.2/, 'encrypt, TLS 1.2');
	shows('self-signed');
	passes('TLS 1.3');
	like(remembered(), qr/\Q$site\E.*\bencrypt\b.*TLS ?1\.3/, 'encrypt, TLS 1.3');
	shows('another name');
	passes('a certificate of another name');
	like(remembered(), qr/\Q$site\E.*\bverify\b.*upstream test authority/,
	    'verify, and by whom');
	shows('good');
	passes('a good certificate');
	like(remembered(), qr/\Q$site\E.*\block\b.*upstream test authority/, 'lock');
};

subtest 'less is refused' => sub {
	shows('good', max => 'TLSv1_2');
	refused('TLS 1.2', 'ratchet', 'TLS1\.3');
	ok($instance->logged(qr/state=failing.*site=127\.0\.0\.1.*reason=ratchet/s)
	    || $instance->logged(qr/reason=ratchet.*state=failing/),
	    'an alarm');
	shows('another name');
	refused('another name', 'ratchet', 'expected lock');
	shows('self-signed');
	refused('self-signed', 'ratchet', 'expected lock');
	shows('another issuer');
	refused('another issuer', 'ratchet', 'expected CN=upstream test authority');
	shows('good', tls => 'none');
	refused('no TLS', 'starttls-not-offered');
	shows('good');
	passes('as before');
};

subtest 'a new key of the same issuer' => sub {
	shows('another key');
	passes('another key');
	ok($instance->logged(qr/key.*\Q$site\E|\Q$site\E.*key/), 'is logged');
};

subtest 'a crash' => sub {
	my $relay = $instance->roles->{relay};
	kill KILL => $relay;
	ok($instance->logged(qr/ role-died .*relay/), 'relay is killed');
	shows('self-signed');
	refused('self-signed, to the new relay', 'ratchet', 'expected lock');
	$instance->stop('KILL');
	wait_until { !%{ $instance->roles } };
	$instance->start;
	refused('self-signed, after all were killed', 'ratchet', 'expected lock');
};

subtest 'lowered by an operator' => sub {
	my ($status, $out, $err) = $instance->tool('policy', 'ratchet', 'lower',
		$site, 'encrypt');
	is($status, 0, 'policy ratchet lower') or diag($err);
	ok($instance->logged(qr/ratchet.*\Q$site\E/), 'is logged');
	shows('self-signed');
	passes('self-signed');
	shows('another issuer');
	passes('another issuer, which is remembered now');
	like(remembered(), qr/\Q$site\E.*\block\b.*second test authority/,
	    'raised again');
	shows('good');
	refused('the issuer of before', 'ratchet', 'expected CN=second');
	($status) = $instance->tool('policy', 'ratchet', 'lower', $site);
	is($status, 0, 'forgotten');
	shows('self-signed', max => 'TLSv1_2');
	passes('self-signed and TLS 1.2');
	($status) = $instance->tool('policy', 'ratchet', 'lower', 'nowhere.example:25');
	is($status, 1, 'a site that nothing is remembered of');
};

# A connection of TLS 1.2 is held up and then kept; what another one shows
# meanwhile is asked of it as well.
subtest 'a kept connection' => sub {
	$instance->tool('policy', 'ratchet', 'lower', $site);
	shows('good', max => 'TLSv1_2',
		fault => { 'rcpt=slow@example.net' => 'delay 2' });
	my $c = $instance->authenticated;
	like($c->transaction(message(), to => ['slow@example.net']), qr/^250/,
	    'one over TLS 1.2');
	ok(wait_until { $smarthost->events('fault') }, 'is held up');
	$smarthost->set(max => undef);
	like($c->transaction(message()), qr/^250/, 'another');
	ok($instance->arrived(2, 10), 'both arrive');
	for my $n (3 .. 10) {
		$c->transaction(message());
		$instance->arrived($n);
	}
	is($smarthost->count, 10, 'and eight more');
	my %version = map { $_->{connection} => $_->{version} } $smarthost->events('tls');
	my @old = grep { $version{ $_->{connection} } eq 'TLSv1_2' }
	    $smarthost->events('message');
	is(scalar @old, 1, 'only the first over TLS 1.2');
};

subtest 'without the option' => sub {
	$instance->sites(($row =~ s/ ratchet//r) . "\n");
	like($instance->reload // '', qr/result=ok/, 'reload');
	shows('self-signed', max => 'TLSv1_2');
	passes('self-signed and TLS 1.2');
};

$instance->stop_ok(deaths => 1);
done_testing;
