#!/usr/bin/perl
# Next hops found by SRV records (RFC 2782, 6186, 8314), several addresses of
# one, and families that race (RFC 8305).  Real zones, signed and otherwise, in
# a real name server; whoever writes their records must not choose whom we
# trust.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::IP;
use JSON::PP;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Smarthost;
use Sallyport::Test;
use Sallyport::Zone;
use Socket qw(:DEFAULT IPPROTO_IPV6 IPV6_V6ONLY AF_INET6 pack_sockaddr_in6
    inet_pton);
use Test::More;

if (my @missing = Sallyport::Zone->missing) {
	plan skip_all => "not installed: @missing";
}

# The longest timeout there is: nothing here may have to wait for it.
my $instance = Sallyport::Instance->new(start => 0, senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"',
		'connect-timeout' => '"10m"', routes => '"routes"' });
my $scratch = $instance->{scratch};
my $authority = $instance->{authority};
my $first = $instance->{smarthost};
my $second = Sallyport::Smarthost->new("$scratch/second", tls => 'implicit',
	map { $_ => $first->{settings}{$_} } qw(cert key));
my ($one, $two) = ($first->port, $second->port);
my $nobody = free_port();

my %show;
for (['target', 'mx.zone.example', 'mx.plain.zone.example'],
	['else', 'else.example'],
	['domain', '*.zone.example', '*.plain.zone.example'],
	['other-target', 'second.zone.example']) {
	my ($name, @dns) = @$_;
	$show{$name} = [$authority->issue($name, dns => \@dns)];
}

# SRV records of a domain: service, priority, weight, port, target.
sub srv {
	my ($domain, @records) = @_;
	return join '', map { "_$_->[0]._tcp.$domain SRV @$_[1 .. 4]\n" }
	    @records;
}
my $implicit = ['submissions', 0, 0, $two, 'mx'];
my $starttls = ['submission', 0, 0, $one, 'mx'];
my $hosts = "mx A 127.0.0.1\nsecond A 127.0.0.1\n";
my $dns = Sallyport::Zone->new("$scratch/dns");
$dns->zone('plain.zone.example', signed => 0, records => $hosts
	. srv('one', $implicit) . srv('off', ['submissions', 0, 0, 0, '.'])
	. srv('dane', $implicit)
	. "_$two._tcp.mx " . $dns->tlsa($show{target}[0], 3, 1, 1) . "\n");
$dns->zone('forged.zone.example', records => $hosts
	. srv('one', ['submissions', 0, 0, $nobody, 'mx']), forge => sub {
	s/(_submissions\S+\s.*\sSRV\s+0 0 )$nobody/$1$two/m
	    or die 'no record to forge';
});
$dns->zone('expired.zone.example', expired => 1, records => $hosts
	. srv('one', $implicit));
$dns->zone('zone.example', records => $hosts
	. "alias CNAME mx\n"
	. "nowhere A 0.0.0.0\nnowhere A 224.0.0.1\nnowhere A 169.254.169.254\n"
	. "nowhere AAAA ff02::1\nnowhere AAAA fe80::1\nnowhere AAAA ::\n"
	. "six AAAA ::1\nsix A 127.0.0.1\n"
	. srv('one', $implicit) . srv('clear', $starttls)
	. srv('both', $implicit, $starttls)
	. srv('clearfirst', ['submission', 10, 0, $one, 'mx'],
		['submissions', 20, 0, $two, 'mx'])
	. srv('down', ['submissions', 10, 0, $nobody, 'mx'],
		['submissions', 20, 0, $two, 'mx'],
		['submission', 30, 0, $one, 'mx'])
	. srv('busy', ['submission', 10, 0, $one, 'mx'],
		['submissions', 20, 0, $two, 'mx'])
	. srv('wrong', ['submission', 10, 0, $one, 'mx'],
		['submissions', 20, 0, $two, 'second'])
	. srv('off', ['submissions', 0, 0, 0, '.'],
		['submission', 0, 0, 0, '.'])
	. srv('halfoff', ['submissions', 0, 0, 0, '.'], $starttls)
	. "none A 127.0.0.1\n"
	. srv('odd', ['submissions', 0, 0, 0, 'mx'],
		['submissions', 0, 0, $two, '127.0.0.1.'],
		['submissions', 0, 0, $two, 'a\.b'])
	. srv('crowd', (map { ['submissions', 50, 0, $nobody, "h$_"] } 1 .. 60),
		['submissions', 5, 0, $two, 'mx'])
	. srv('alias', ['submissions', 0, 0, $two, 'alias'])
	. srv('nowhere', ['submissions', 0, 0, $two, 'nowhere'])
	. srv('lost', ['submissions', 0, 0, $two, 'absent'],
		['submission', 9, 0, $one, 'mx'])
	. srv('six', ['submissions', 0, 0, $two, 'six'])
	. srv('dane', $implicit)
	. "_submissions._tcp.moved CNAME _submissions._tcp.one.plain\n"
	. "_$two._tcp.mx " . $dns->tlsa($show{target}[0], 3, 1, 1) . "\n");
$dns->start;
$instance->option(resolvers => $dns->resolvers);
$instance->option('trust-anchor' => '"' . $dns->trust_anchor . '"');

# A route for each domain, by the recipient's; row names level and options.
my %row = map { $_ => 'lock' } qw(one clear both clearfirst down busy wrong off
    halfoff none absent odd crowd alias nowhere lost six moved one.plain off.plain
    one.forged one.expired);
$row{'dane'} = $row{'dane.plain'} = 'encrypt dane';

sub tables {
	my (%more) = @_;
	my %all = (%row, %more);
	spew("$instance->{folder}/routes", join '', map {
		"$_.test rcpt srv:$_.zone.example\n" } sort keys %all);
	$instance->sites(join '', map {
		"$_.zone.example out $all{$_} reuse=no\n" } sort keys %all);
	return if !$instance->{pid};
	like($instance->reload // '', qr/result=ok/, 'reload');
}
tables();

sub shows {
	my ($name, %settings) = @_;
	my ($cert, $key) = @{ $show{$name} };
	$_->set(cert => $cert, key => $key, 'client-ca' => undef, fault => {},
		%settings) for $first, $second;
	$_->forget for $first, $second;
}

# Send a message over that domain's route; its log line of delivery, and the
# mark that its addresses bear.
sub try_it {
	my ($domain) = @_;
	my $mark = 'mark' . int rand 1e9;
	$_->forget for $first, $second;
	my $reply = $instance->authenticated->transaction(
		message(subject => $mark), from => "$mark\@example.org",
		to => ["$mark\@$domain.test"]);
	my ($id) = ($instance->logged(qr/\baccepted\b.*$mark/) // '')
	    =~ /queue=(\S+)/;
	ok($id, "$domain: accepted") or diag($reply);
	my $line = $id && $instance->logged(
		qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/, 60);
	return ($line // '', $mark, $id);
}

sub arrives {
	my ($name, $domain, $smarthost) = @_;
	my ($line, $mark) = try_it($domain);
	like($line, qr/\bdelivered\b/, "$name: delivered");
	like($smarthost->received('tls'), qr/$mark/, "$name: there, in TLS");
	unlike($_->received('clear'), qr/$mark/, "$name: nothing in clear")
	    for $first, $second;
	return $line;
}

sub waits {
	my ($name, $domain, $status, $text) = @_;
	my ($line, $mark, $id) = try_it($domain);
	like($line, qr/\bdeferred\b.*\b\Q$status\E\b/, "$name: waits, $status");
	like($line, $text, "$name: the log says why") if $text;
	for my $smarthost ($first, $second) {
		unlike($smarthost->received($_), qr/$mark|^(?:MAIL|RCPT|DATA)/mi,
		    "$name: not one octet of the message in $_")
		    for qw(clear tls);
	}
	# The next message must not wait for the site.
	$instance->tool('queue', 'remove', $id);
	return $line;
}

shows('domain');
$instance->start;

subtest 'which service' => sub {
	shows('domain');
	arrives('_submissions', 'one', $second);
	my ($tls) = $second->events('tls');
	is($tls->{sni}, 'one.zone.example', 'SNI names the domain');
	arrives('_submission', 'clear', $first);
	arrives('equal priorities: TLS from the start', 'both', $second);
	arrives('priorities across services', 'clearfirst', $first);
	arrives('an alias as target', 'alias', $second);
	arrives('one of two is not offered', 'halfoff', $first);
	arrives('more records than anybody needs', 'crowd', $second);
	arrives('a domain without signatures', 'one.plain', $second);
};

subtest 'the next target' => sub {
	shows('domain');
	arrives('nobody listens', 'down', $second);
	ok($instance->log_lines(qr/\bconnect\b.*site=srv:down\.zone\.example
		\ target=mx\.zone\.example:$nobody\ .*result=next/x),
	    'the log names the target that failed');
	for (['421 as greeting', connect => '421 4.3.2 later'],
		['554 as greeting', connect => '554 5.3.2 not here'],
		['dropped at EHLO', ehlo => 'drop'],
		['STARTTLS refused', starttls => '454 4.7.0 no TLS today']) {
		my ($name, %fault) = @$_;
		tables(); # what failed lately would come last
		$first->fault(%fault);
		arrives($name, 'busy', $second);
		ok(scalar $first->events, "$name: the first was asked");
	}
	tables();
	$first->set(fault => {}, tls => 'none');
	arrives('no STARTTLS', 'busy', $second);
	like($first->received('clear'), qr/EHLO \[127\.0\.0\.1\]/,
	    'there we were, and said no name');
	$first->set(tls => 'starttls');
	arrives('what failed lately comes last', 'busy', $second);
	ok(!$first->events, 'and was not asked');
	tables();
	arrives('a reload forgets that', 'busy', $first);
	arrives('a target that does not exist', 'lost', $first);
	# A certificate that is another's is no reason to give up, nor to
	# ask less of the next one.
	$first->set(cert => $show{else}[0], key => $show{else}[1]);
	arrives('the wrong certificate', 'wrong', $second);
	ok($instance->log_lines(qr/\bconnect\b.*site=srv:wrong\.zone\.example
		\ target=mx\.zone\.example:$one\ .*result=next\ status=4\.7\.5/x),
	    'which is logged');
	shows('else');
	waits('the wrong certificate everywhere', 'wrong', '4.7.5',
	    qr/else\.example/);
};

subtest 'whom the certificate names' => sub {
	shows('target');
	arrives('the target, proved by DNSSEC', 'one', $second);
	waits('the target, of which nothing is proved', 'one.plain', '4.7.5',
	    qr/expected one\.plain\.zone\.example/);
	waits('a proved alias of records that are not', 'moved', '4.7.5',
	    qr/expected moved\.zone\.example/);
	tables('one.plain' => 'verify');
	waits('the same under verify', 'one.plain', '4.7.5',
	    qr/expected one\.plain\.zone\.example/);
	tables('one' => 'lock match=one.zone.example');
	waits('match= means what it says', 'one', '4.7.5',
	    qr/expected one\.zone\.example/);
	tables('one.plain' => 'lock match=mx.plain.zone.example');
	arrives('what match= names', 'one.plain', $second);
	tables('one.plain' => 'encrypt');
	arrives('encrypt asks for no name', 'one.plain', $second);
	shows('domain');
	tables('one.plain' => 'verify');
	arrives('verify, and the domain is named', 'one.plain', $second);
	tables();
	shows('other-target');
	waits('another target', 'one', '4.7.5',
	    qr/expected one\.zone\.example/);
};

subtest 'rows with a port' => sub {
	shows('domain');
	# Where the records point is not for the records to loosen.
	spew("$instance->{folder}/sites", <<"END");
one.zone.example out lock reuse=no
one.zone.example:$two out encrypt
mx.zone.example out encrypt
mx.zone.example:$two out encrypt
END
	like($instance->reload // '', qr/result=ok/, 'reload');
	shows('else');
	waits('the domain alone selects', 'one', '4.7.5',
	    qr/expected one\.zone\.example/);
	tables();
};

subtest 'DANE' => sub {
	shows('target');
	arrives('records of a proved target', 'dane', $second);
	my ($tls) = $second->events('tls');
	is($tls->{sni}, 'mx.zone.example', 'SNI names the TLSA base domain');
	waits('records of a target that is not', 'dane.plain', '4.7.5',
	    qr/does not prove the SRV record/);
	shows('else');
	waits('another key', 'dane', '4.7.5', qr/TLSA/);
};

subtest 'no place to go' => sub {
	shows('domain');
	waits('"."', 'off', '4.4.4', qr/offers none/);
	waits('"." of which nothing is proved', 'off.plain', '4.4.4',
	    qr/offers none/);
	waits('no records, but an address', 'none', '4.4.4',
	    qr/no usable SRV record/);
	waits('no target that is a host', 'odd', '4.4.4',
	    qr/no usable SRV record/);
	waits('addresses that lead astray', 'nowhere', '4.4.4',
	    qr/no address that a server can have/);
	waits('forged records', 'one.forged', '4.4.3', qr/lookup failed/);
	waits('expired signatures', 'one.expired', '4.4.3',
	    qr/lookup failed/);
};

# A listener whose queue is full answers no more SYN: the other side waits.
sub blackhole {
	my ($port) = @_;
	socket my $listener, AF_INET6, SOCK_STREAM, 0 or return;
	setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
	setsockopt $listener, IPPROTO_IPV6, IPV6_V6ONLY, 1;
	bind $listener, pack_sockaddr_in6($port,
		inet_pton(AF_INET6, '::1')) or return;
	listen $listener, 0 or return;
	my @hold = ($listener);
	for (1 .. 8) {
		my $client = IO::Socket::IP->new(PeerHost => '::1',
			PeerPort => $port, Timeout => 1) or return \@hold;
		push @hold, $client;
	}
	return;
}

subtest 'a family that goes nowhere' => sub {
	shows('domain');
	my $hold = blackhole($two)
	    or plan skip_all => 'no IPv6 loopback that can be blocked';
	arrives('IPv4 while IPv6 says nothing', 'six', $second);
	my ($line) = grep { /remote=127\.0\.0\.1/ }
	    $instance->log_lines(qr/\btls\b.*site=srv:six\.zone\.example/);
	ok($line, 'over IPv4');
	@$hold = ();
	arrives('IPv4 when IPv6 refuses', 'six', $second);
};

subtest 'what the tools say' => sub {
	my ($status, $out) = $instance->tool('route', 'explain',
		'alice@example.org', 'x@one.test');
	is($status, 0, 'route explain');
	like($out, qr/^to srv:one\.zone\.example, TLS as its SRV records say, lock$/m,
	    'names the domain and the level');
	like($out, qr/site=one\.zone\.example row=sites:\d+ asked=lock/,
	    'and the row');
	($status, $out) = $instance->tool('route', 'explain', '--json',
		'alice@example.org', 'x@one.test');
	my $hop = decode_json($out)->{hops}[0];
	is_deeply([@$hop{qw(host port tls)}], ['one.zone.example', 0, 'srv'],
	    '--json');
	($status, $out) = $instance->tool('policy', 'explain', 'out',
		'srv:one.zone.example');
	is($status, 0, 'policy explain') or diag($out);
	like($out, qr/lock/, 'has the level');
	unlike($out, qr/one\.zone\.example:\d/, 'and asked for no row with a port');

	shows('domain');
	my ($line, $mark, $id) = try_it('absent');
	($status, $out) = $instance->tool('queue', 'show', $id);
	like($out, qr/^next hop srv:absent\.zone\.example, /m, 'queue show');
	($status, $out) = $instance->tool('trace', $id);
	like($out, qr/attempt 1 to srv:absent\.zone\.example$/m, 'trace');
	($status, $out) = $instance->tool('queue', 'list');
	like($out, qr/^\s+srv:absent\.zone\.example: /m, 'queue list');
	$instance->queue_empty;
};

subtest 'the smarthost' => sub {
	my $conf = slurp($instance->{conf});
	my $with = $conf =~ s/^(\taddress = )".*"/$1"srv:one.zone.example"/mr;
	my $check = sub {
		my ($text) = @_;
		$instance->conf_write($text);
		my ($status, $out, $err) = run({ timeout => 20 },
			program('sallyportd'), '-c', $instance->{conf}, '-t');
		return ($status, $out . $err);
	};
	my ($status, $text) = $check->($with);
	is($status, 1, 'tls beside srv: is refused');
	like($text, qr/sallyport\.conf:\d+: smarthost: tls beside srv/, 'by name');
	$with =~ s/^\ttls = .*\n//m;
	($status, $text) = $check->($with);
	is($status, 0, 'without it is fine') or diag($text);
	for ('srv:', 'srv:192.0.2.1', 'srv:a..example', 'srv:one.example:465') {
		($status, $text) = $check->($with =~ s/srv:one.zone.example/$_/r);
		is($status, 1, "$_ is refused");
		like($text, qr/sallyport\.conf:\d+: .*expected/, 'by file and line');
	}
	$instance->conf_write($with);
	like($instance->reload // '', qr/result=ok/, 'reload');
	shows('domain');
	arrives('mail without a route', 'nobodys', $second);
	$instance->conf_write($conf);
	like($instance->reload // '', qr/result=ok/, 'reload');

	my $folder = "$scratch/init";
	($status, my $out, my $err) = run({}, program('sallyport'), 'init',
		$folder, '--hostname', 'mail.example.org', '--smarthost',
		'srv:Example.NET');
	is($status, 0, 'init') or diag($err);
	like($out, qr/smarthost\s+srv:example\.net, table row "out lock"/, 'says so');
	like(slurp("$folder/sallyport.conf"),
	    qr/^\taddress = "srv:example\.net"\n\}/m, 'its configuration');
	like(slurp("$folder/sites"), qr/^example\.net  out  lock  cert=client$/m,
	    'its row');
	($status, $out, $err) = run({}, program('sallyport'), 'init',
		"$scratch/init2", '--hostname', 'mail.example.org',
		'--smarthost', 'srv:example.net', '--smarthost-tls', 'implicit');
	is($status, 2, '--smarthost-tls beside it is wrong usage');
};

subtest 'resolver away' => sub {
	shows('domain');
	$dns->stop;
	tables(); # the cache ends with the old configuration
	waits('no answer', 'one', '4.4.3', qr/lookup failed/);
	$dns->run_nsd;
	ok(wait_until { $dns->answers }, 'the resolver is back');
	tables();
	arrives('afterwards', 'one', $second);
};

$instance->stop_ok;
done_testing;
