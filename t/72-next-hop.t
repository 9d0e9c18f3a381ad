#!/usr/bin/perl
# Which rows bind a next hop, and which connection may serve a message: rows
# by the route's name, rows by recipient on top, and a kept connection only
# while what it proved meets that message's demand.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $scratch = $instance->{scratch};
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;
my $authority = $instance->{authority};
my %show = (
	address => [$authority->issue('address', ip => ['127.0.0.1'])],
	both => [$authority->issue('both', ip => ['127.0.0.1'],
		dns => ['localhost'])],
	name => [$authority->issue('name', dns => ['localhost'])],
	'self-signed' => [$authority->issue('self', ip => ['127.0.0.1'],
		dns => ['localhost'], self => 1)],
);
$smarthost->set('client-ca' => undef);
$instance->start;

sub shows {
	my ($certificate, %settings) = @_;
	my ($cert, $key) = ref $certificate ? @$certificate
	    : @{ $show{$certificate} };
	$smarthost->restart(cert => $cert, key => $key, fault => {}, %settings);
}

sub table {
	my (@rows) = @_;
	$instance->sites(join '', map { "$_\n" } @rows);
	like($instance->reload // '', qr/result=ok/, "table: @rows");
}

# Submit to the parts before "@" of these; what became of each, by address.
sub submit {
	my (@to) = @_;
	my $mark = 'mark' . int rand 1e9;
	my @paths = map { s/^(.*?)@/$1-$mark@/r } @to;
	like($instance->authenticated->transaction(message(), to => \@paths),
	    qr/^250/, 'accepted');
	# A hop that failed is left alone for an hour.
	$instance->tool('queue', 'flush');
	return map { $instance->logged(
		qr/\b(?:delivered|deferred|bounced)\b.*rcpt=\S*\Q$_\E/) // ''
	} @paths;
}

# The state of the next hop in the book: failing, clear, or nothing if well.
sub state {
	my ($status, $out) = $instance->tool('status', '--json');
	my ($state) = $out =~ /"site": "(?:127\.0\.0\.1|localhost)(?::$port)?",\s*"state": "(\w+)"/;
	return $state // '';
}

sub handshakes {
	my @tls = $smarthost->events('tls');
	return scalar @tls;
}

# A transaction whose recipients are named before the next hop shows less, which
# would be known at RCPT.  That it shows enough is known soon.
sub begun {
	my (@to) = @_;
	my $client = wait_until {
		my $c = $instance->authenticated;
		$c->command('MAIL FROM:<alice@example.org>');
		return (grep { $c->command("RCPT TO:<$_>") !~ /^250/ } @to) ? 0 : $c;
	};
	ok($client && $client->command('DATA') =~ /^354/, "begun: @to");
	return $client;
}

subtest 'recipients add to the next hop' => sub {
	table("127.0.0.1:$port out encrypt", 'bank.example rcpt lock',
	    'chief@small.example rcpt verify');
	shows('self-signed');
	my ($net, $bank, $small) = submit('a@example.net', 'b@bank.example',
		'c@small.example');
	like($net, qr/\bdelivered\b/, 'a row asks nothing of it: delivered');
	like($small, qr/\bdelivered\b/, 'nor of another mailbox there');
	unlike("$net$small", qr/decision=/, 'no other recipient\'s decision there');
	like($bank, qr/\bdeferred\b.*row=sites:1,sites:2\b/, 'by both rows: refused');
	my ($event) = $smarthost->events('message');
	unlike(join(' ', @{ $event->{to} }), qr/bank/, 'not to that one');
	unlike($smarthost->received('tls'), qr/RCPT TO:<b-/, 'who was not named');
	$instance->queue_empty;
};

subtest 'a kept connection proves enough or does not serve' => sub {
	shows('address');
	my ($net) = submit('a@example.net');
	like($net, qr/\bdelivered\b/, 'one');
	my $late = begun('late@bank.example');
	shows('self-signed');
	($net) = submit('a@example.net');
	like($net, qr/\bdelivered\b/, 'it shows less: one');
	like($late->content(message()), qr/^250/, 'more is asked for another');
	$instance->tool('queue', 'flush');
	ok($instance->logged(qr/\bdeferred\b.*rcpt=late\@bank/), 'refused');
	unlike($smarthost->received('tls'), qr/RCPT TO:<late/, 'nothing has crossed');
	$instance->queue_empty;
	shows('address');
	($net) = submit('a@example.net');
	like($net, qr/\bdelivered\b/, 'as before');
	like(begun('c@bank.example')->content(message()), qr/^250/,
	    'which is known at RCPT');
	ok($instance->arrived(2), 'and delivered');
	for (1 .. 4) {
		($net) = submit('a@example.net');
		my ($bank) = submit('b@bank.example');
		like("$net\n$bank", qr/delivered.*\n.*delivered/, 'both');
	}
	# A second thread may have been quicker than the first was idle.
	cmp_ok(handshakes(), '<=', 2, 'over connections that prove enough for both');
};

# Its name in the row of the one recipient, its address in the other's: the
# site's state does not depend on whose decision comes last.
subtest 'one message, both verdicts' => sub {
	table("127.0.0.1:$port out encrypt", 'far.example rcpt lock match=localhost',
		'near.example rcpt lock match=127.0.0.1');
	for (['far', 'near'], ['near', 'far']) {
		shows('both');
		submit('a@example.net');
		is(state(), '', 'the site is well');
		my $n = () = $instance->log_lines(qr/\bdeferred\b.*\@far/);
		my $client = begun(map { "to\@$_.example" } @$_);
		shows('address');
		like($client->content(message()), qr/^250/, 'accepted');
		$instance->tool('queue', 'flush');
		ok(wait_until { $n < (() = $instance->log_lines(
			qr/\bdeferred\b.*\@far/)) }, 'the one is refused');
		ok($instance->arrived(1), 'the other gets it');
		is(state(), 'failing', "the site is failing: @$_");
		$instance->queue_empty;
		# A decision that asks as much says that it is well again.
		shows('both');
		submit('a@example.net');
		is(state(), 'failing', 'one that asks less says nothing of it');
		begun('to@far.example')->content(message());
		ok(wait_until { state() eq '' }, 'well again');
	}
};

# The bounce takes the same way, and has nobody to be returned to.
subtest 'refused for good, and so is the bounce' => sub {
	table("127.0.0.1:$port out lock match=nobody.example fail=permanent");
	shows('address');
	my ($line) = submit('a@example.net');
	like($line, qr/\bbounced\b.*status=5\.7\.5 .*decision=.*refuse-permanent/,
	    'bounced with the decision');
	ok($instance->logged(qr/\bdeferred\b.*rcpt=alice\@example\.org.*status=4\.7\.5 /),
	    'the bounce waits');
	is(scalar(() = $instance->log_lines(qr/\bheld\b/)), 0, 'and is not held');
	table("127.0.0.1:$port out encrypt");
	$instance->tool('queue', 'flush');
	ok($instance->arrived(1), 'until the site will do');
	my ($event) = $smarthost->events('message');
	is_deeply($event->{to}, ['alice@example.org'], 'it is the bounce');
};

subtest 'more demands in a message than are judged at once' => sub {
	table("127.0.0.1:$port out encrypt", (map {
		"d$_.example rcpt lock match=localhost" } 1 .. 18),
		(map { "d$_.example rcpt lock match=127.0.0.1" } 19, 20));
	shows('both');
	submit('a@example.net');
	my $client = begun(map { "to\@d$_.example" } 1 .. 20);
	shows('address');
	like($client->content(message()), qr/^250/, 'accepted');
	ok($instance->logged(qr/\bdeferred\b.*\@d1\.example/), 'some are refused');
	is($smarthost->count, 0, 'all that were judged');
	$instance->tool('queue', 'flush');
	ok($instance->arrived(1), 'it is the turn of those who are not refused');
	my ($event) = $smarthost->events('message');
	is_deeply([sort @{ $event->{to} }], ['to@d19.example', 'to@d20.example'],
		'and of nobody else');
	$instance->queue_empty;
};

subtest 'reuse=no' => sub {
	table("127.0.0.1:$port out encrypt reuse=no");
	shows('address');
	submit('a@example.net') for 1 .. 3;
	is(handshakes(), 3, 'a connection for each message');
};

# The connection goes on, the certificate does not.
subtest 'a certificate that ends meanwhile' => sub {
	my @short = $authority->issue('short', ip => ['127.0.0.1'], to => 8);
	my $end = time + 8;
	table("127.0.0.1:$port out verify");
	shows(\@short);
	my ($first) = submit('a@example.net');
	like($first, qr/\bdelivered\b/, 'delivered before');
	while (time < $end - 1) {
		sleep 0.5;
		submit('a@example.net');
	}
	cmp_ok(handshakes(), '<=', 2, 'so far it was kept');
	sleep $end + 1.5 - time;
	for (1 .. 2) {
		my ($line) = submit('last@example.net');
		like($line, qr/\bdeferred\b.*reason=certificate-expired/,
		    'refused after');
		$instance->queue_empty;
	}
	unlike($smarthost->received('tls'), qr/RCPT TO:<last-/,
	    'nothing of it has crossed');
};

subtest 'our own certificate lacks clientAuth' => sub {
	my ($status, $out, $err) = $instance->tool('cert', 'issue',
		'unfit.example', '--role', 'server', '--out',
		"$instance->{folder}/tls/unfit");
	is($status, 0, 'one for servers') or diag($err);
	my $conf = slurp($instance->{conf});
	$conf =~ s/^(end\s*=)/certificate unfit {\n\tchain = "tls\/unfit.pem"\n\tkey = "tls\/unfit.key"\n\trole = client\n}\n\n$1/m;
	$instance->conf_write($conf);
	table("127.0.0.1:$port out encrypt cert=unfit reuse=no");
	shows('address', 'client-ca' => undef);
	like($_, qr/\bdelivered\b/, 'delivered') for map { submit('a@example.net') } 1, 2;
	my @tls = $instance->log_lines(qr/ tls .*site=127\.0\.0\.1:$port/);
	like($tls[-1], qr/cert=none/, 'it is not shown');
	my @alarms = $instance->log_lines(qr/ alarm .*unfit.*clientAuth/);
	is(scalar @alarms, 1, 'the operator is told, once');
	table("127.0.0.1:$port out encrypt cert=client");
	shows('address', 'client-ca' => "$instance->{folder}/tls/ca.pem");
	my ($line) = submit('a@example.net');
	like($line, qr/\bdelivered\b/, 'one that fits is shown');
};

# What DNS says of the name selects nothing and is compared with nothing.
subtest 'rows go by the name in the route' => sub {
	$instance->stop;
	my $text = slurp($instance->{conf});
	$text =~ s/"127\.0\.0\.1:$port"/"localhost:$port"/
	    or fail('no address of the smarthost');
	$instance->conf_write($text);
	$instance->sites("localhost out lock\n127.0.0.1 out none\n"
	    . "127.0.0.0/8 out lock match=nobody.example\n");
	$instance->start;
	shows('name', 'client-ca' => undef);
	my ($line) = submit('a@example.net');
	like($line, qr/\bdelivered\b/, 'its certificate names the host: delivered');
	is($smarthost->received('clear') =~ /MAIL/, '', 'in TLS');
	my ($tls) = $smarthost->events('tls');
	is($tls->{sni}, 'localhost', 'SNI is the name');
	shows('address');
	($line) = submit('a@example.net');
	like($line, qr/\bdeferred\b.*site=localhost.*reason=certificate-name/,
	    'only the address that DNS gave: refused');
	$instance->queue_empty;
	table("localhost out lock", "localhost:$port out encrypt");
	shows('self-signed');
	($line) = submit('a@example.net');
	like($line, qr/\bdelivered\b/, 'host:port before host');
};

$instance->stop_ok;
done_testing;
