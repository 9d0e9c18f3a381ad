#!/usr/bin/perl
# Rows with dane (RFC 7672): real zones, signed and otherwise, in a real name
# server.  Where the records do not say yes, not one octet of the message (nor
# of its envelope) crosses, and it stays in the queue.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Sallyport::Zone;
use Test::More;

if (my @missing = Sallyport::Zone->missing) {
	plan skip_all => "not installed: @missing";
}

my $instance = Sallyport::Instance->new(start => 0, senders => { alice => ['*'] },
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $scratch = $instance->{scratch};
my $smarthost = $instance->{smarthost};
my $port = $smarthost->port;

# Certificates of the smarthost; the default anchors of instance are neither's.
my $hidden = Sallyport::Certs->authority($scratch, 'hidden');
my $other = Sallyport::Certs->authority($scratch, 'other');
my ($leaf, $key) = $hidden->issue('mx', dns => ['*.zone.example']);
my ($leaf_else, $key_else) = $hidden->issue('else', dns => ['else.example']);
my ($leaf_old, $key_old) = $hidden->issue('old', dns => ['*.zone.example'],
	from => -9 * 86400, to => -86400);
my %show = (mx => [$leaf, $key], else => [$leaf_else, $key_else],
	old => [$leaf_old, $key_old]);
for (values %show) {
	# With its issuer, which DANE-TA by digest needs.
	spew("$_->[0].chain", slurp($_->[0]) . slurp($hidden->file));
	$_->[0] .= '.chain';
}

sub tlsa {
	my ($host, $file, @how) = @_;
	return "_$port._tcp.$host " . Sallyport::Zone->tlsa($file, @how) . "\n";
}
my $here = "mx A 127.0.0.1\n";
my $good = $here . tlsa('mx', $leaf, 3, 1, 1);
my $wrong = $here . tlsa('mx', $leaf_else, 3, 1, 1);
my ($digest, $wrong_digest) = map {
	Sallyport::Zone->tlsa($_, 3, 1, 1) =~ /(\w+)\z/ } $leaf, $leaf_else;

my $dns = Sallyport::Zone->new("$scratch/dns");
$dns->zone('plain.zone.example', signed => 0, records => $good
	. "to CNAME mx\n" . tlsa('to', $leaf, 3, 1, 1));
$dns->zone('expired.zone.example', expired => 1, records => $good);
# Somebody on the way has put in the record of his own certificate.
$dns->zone('forged.zone.example', records => $wrong, forge => sub {
	s/\b\Q$wrong_digest\E\b/$digest/ or die 'no record to forge';
});
$dns->zone('moved.zone.example', records => $here =~ s/1$/2/mr
	. tlsa('mx', $leaf, 3, 1, 1), forge => sub {
	s/^(mx\S+\s.*\sA\s+127\.0\.0\.)2/${1}1/m or die 'no address to forge';
});
# The record and its signature cut out, the proof of absence is not there.
$dns->zone('cut.zone.example', records => $good, forge => sub {
	s/^_\d+\._tcp\.mx\S+\s+\d+\s+IN\s+(?:TLSA|RRSIG\s+TLSA)\s.*\n//mg
	    or die 'no record to cut';
});
$dns->zone('zone.example', records => <<'END'
ee A 127.0.0.1
six AAAA ::1
six A 127.0.0.1
ta A 127.0.0.1
whole A 127.0.0.1
crowd A 127.0.0.1
mismatch A 127.0.0.1
several A 127.0.0.1
none A 127.0.0.1
pkix A 127.0.0.1
odd A 127.0.0.1
alias CNAME ee
own CNAME none
outside CNAME mx.plain
bare CNAME mx.plain
shared A 127.0.0.1
linked A 127.0.0.1
END
	. "_$port._tcp.shared CNAME _$port._tcp.ee\n"
	. tlsa('ee', $leaf, 3, 1, 1) . tlsa('six', $leaf, 3, 1, 2)
	. tlsa('ta', $hidden->file, 2, 0, 1)
	. tlsa('whole', $hidden->file, 2, 0, 0)
	# One that is right among more than anybody needs.
	. tlsa('crowd', $leaf, 3, 1, 1)
	. join('', map { "_$port._tcp.crowd TLSA 3 1 1 "
		. sprintf('%064x', $_) . "\n" } 1 .. 40)
	. tlsa('mismatch', $leaf_else, 3, 1, 1)
	. tlsa('several', $leaf_else, 3, 1, 1)
	. tlsa('several', $leaf, 3, 0, 1)
	. "_$port._tcp.linked CNAME _$port._tcp.mx.plain\n"
	. tlsa('own', $leaf, 3, 1, 1) . tlsa('outside', $leaf, 3, 1, 1)
	. tlsa('pkix', $leaf, 1, 1, 1) . tlsa('pkix', $hidden->file, 0, 0, 1)
	. "_$port._tcp.odd TLSA 3 1 9 " . 'ab' x 32 . "\n");
$dns->start;

$instance->option(resolvers => $dns->resolvers);
$instance->option('trust-anchor' => '"' . $dns->trust_anchor . '"');

# Host, what it shows, what the row asks beyond the host and out; the reason
# where mail does not go.
my $now = 'encrypt dane';
my @cases = (
	['DANE-EE', 'ee', 'mx', $now],
	['DANE-EE, no name asked', 'ee', 'mx', "$now sni=x.example"],
	['DANE-EE by SHA-512 and IPv6 beside', 'six', 'mx', $now],
	['DANE-TA', 'ta', 'mx', $now],
	['DANE-TA, the certificate itself', 'whole', 'mx', $now],
	['one of several', 'several', 'mx', $now],
	['an alias', 'alias', 'mx', $now],
	['an alias with a record of its own', 'own', 'mx', $now],
	['a record that is an alias', 'shared', 'mx', $now],
	['another key', 'ee', 'else', $now, 'tlsa-invalid'],
	['a record of another key', 'mismatch', 'mx', $now, 'tlsa-invalid'],
	['DANE-TA for another name', 'ta', 'else', $now, 'tlsa-invalid'],
	['DANE-TA, expired', 'ta', 'old', $now, 'tlsa-invalid'],
	['too many records', 'crowd', 'mx', $now, 'dnssec-invalid'],
	['no record', 'none', 'mx', $now, 'dane-required'],
	['PKIX usages', 'pkix', 'mx', $now, 'dane-required'],
	['a matching type that does not exist', 'odd', 'mx', $now,
		'dane-required'],
	['a zone without signatures', 'mx.plain', 'mx', $now, 'dane-required'],
	['an alias of what is not signed, with a record of its own',
		'outside', 'mx', $now],
	['the same, and another key', 'outside', 'else', $now, 'tlsa-invalid'],
	['an alias of what is not signed', 'bare', 'mx', $now,
		'dane-required'],
	['an alias that is not signed', 'to.plain', 'mx', $now,
		'dane-required'],
	['a record that is an alias of what is not signed', 'linked', 'mx',
		$now, 'dane-required'],
	['a forged record', 'mx.forged', 'mx', $now, 'dnssec-invalid'],
	['a forged record, fail=permanent', 'mx.forged', 'mx',
		"$now fail=permanent", 'dnssec-invalid'],
	['a record cut out', 'mx.cut', 'mx', $now, 'dnssec-invalid'],
	# These end before a connection: all addresses are validated.
	['a forged address', 'mx.moved', 'mx', $now, undef, qr/lookup failed/],
	['expired signatures', 'mx.expired', 'mx', $now, undef,
		qr/lookup failed/],
	['a forged address, without dane', 'mx.moved', 'mx', 'encrypt', undef,
		qr/lookup failed/],
	['no signatures, without dane', 'mx.plain', 'mx', 'encrypt'],
	['another key, without dane', 'ee', 'else', 'encrypt'],
);

# Use that host and row, send a message; its log line of delivery.
sub try_it {
	my ($name, $host, $shown, $row) = @_;
	my ($cert, $its_key) = @{ $show{$shown} };
	$smarthost->restart(tls => 'starttls', cert => $cert, key => $its_key,
		'client-ca' => undef);
	$instance->section_option('smarthost', '', 'address',
		qq("$host.zone.example:$port"));
	$instance->sites("# the table of this case\n"
	    . "$host.zone.example out $row\n");
	if ($instance->{pid}) {
		like($instance->reload // '', qr/result=ok/, "$name: reload");
	} else {
		$instance->start;
	}
	my $marker = 'Marker' . int rand 1e9;
	my $reply = $instance->authenticated->transaction(
		message(subject => $marker),
		from => "from-$marker\@example.org", to => ["to-$marker\@example.net"]);
	my ($id) = ($instance->logged(qr/\baccepted\b.*from="?<?from-$marker/) // '')
	    =~ /queue=(\S+)/;
	ok($id, "$name: accepted") or diag($reply);
	my $line = $id && $instance->logged(
		qr/\b(?:delivered|deferred|bounced)\b.*queue=\Q$id\E/, 40) // '';
	return ($line, $marker);
}

sub nothing_crossed {
	my ($name, $marker) = @_;
	for my $where (qw(clear tls)) {
		unlike($smarthost->received($where), qr/$marker|MAIL|RCPT|DATA/i,
		    "$name: not one octet of the message in $where");
	}
}

my %base = (alias => 'ee'); # where it is not the host

for my $case (@cases) {
	my ($peer, $host, $shown, $row, $reason, $text) = @$case;
	my $name = "$peer, $row";
	my ($line, $marker) = try_it($name, $host, $shown, $row);
	if (!$reason && !$text) {
		like($line, qr/\bdelivered\b/, "$name: delivered");
		like($smarthost->received('tls'), qr/to-$marker/, "$name: in TLS");
		unlike($smarthost->received('clear'), qr/$marker/,
		    "$name: nothing in clear");
		# RFC 7672, section 8.1: the TLSA base domain, unless the row
		# says otherwise.
		my ($tls) = $smarthost->events('tls');
		my ($sni) = $row =~ /\bsni=(\S+)/;
		is($tls->{sni}, $sni // ($base{$host} // $host) . '.zone.example',
		    "$name: SNI") if $row =~ /dane/;
	} else {
		like($line, qr/\bdeferred\b/, "$name: stays in the queue");
		nothing_crossed($name, $marker);
	}
	like($line, $text, "$name: the log says why") if $text;
	if ($reason) {
		my @records = $instance->log_lines(
			qr/site=\S*\Q$host\E\.zone\.example.*reason=\Q$reason\E\b/);
		ok(@records, "$name: reason=$reason in the log");
		like($records[-1] // '', qr/\bresult=\Q$reason\E\b/,
		    "$name: and its RFC 8460 result type");
		like($line, qr/\b4\.7\.\d/, "$name: a temporary status");
	}
	$instance->queue_empty;
}

subtest 'resolver away' => sub {
	$dns->stop;
	my ($line, $marker) = try_it('away', 'ee', 'mx', $now);
	like($line, qr/\bdeferred\b.*lookup failed/, 'stays in the queue');
	nothing_crossed('away', $marker);
	$instance->queue_empty;
	$dns->run_nsd;
	ok(wait_until { $dns->answers }, 'the resolver is back');
	($line) = try_it('back', 'ee', 'mx', $now);
	like($line, qr/\bdelivered\b/, 'so is the mail');
};

# Nobody has named a trust anchor: the root's, or none, neither of which
# proves anything of these zones.
subtest 'trust-anchor not given' => sub {
	my $conf = slurp($instance->{conf});
	$instance->conf_write($conf =~ s/^trust-anchor.*\n//mr);
	my ($line, $marker) = try_it('ordinary mail', 'mx.moved', 'mx',
		'encrypt');
	like($line, qr/\bdelivered\b/, 'mail without dane is not validated');
	($line, $marker) = try_it('dane', 'ee', 'mx', $now);
	like($line, qr/\bdeferred\b.*reason=dnssec-invalid/,
	    'mail with dane waits');
	nothing_crossed('dane', $marker);
	$instance->queue_empty;
	$instance->conf_write($conf);
};

# What the operator may have got wrong.
sub checked {
	my ($status, $out, $err) = run({ timeout => 20 }, program('sallyportd'),
		'-c', $instance->{conf}, '-t');
	return ($status, $out . $err);
}

subtest 'options' => sub {
	my $conf = slurp($instance->{conf});
	my ($status, $text) = checked();
	is($status, 0, '-t: a good trust anchor') or diag($text);
	for (['"/nonexistent/root.key"', qr/No such file/],
		["\"$instance->{folder}/sites\"", qr/expected DS or DNSKEY/],
		["\"$leaf\"", qr/expected DS or DNSKEY/]) {
		my ($value, $says) = @$_;
		$instance->option('trust-anchor' => $value);
		($status, $text) = checked();
		is($status, 1, "-t: trust-anchor $value is refused");
		my @lines = split /\n/, slurp($instance->{conf});
		my ($number) = grep { $lines[$_ - 1] =~ /^trust-anchor/ }
		    1 .. @lines;
		like($text, qr/sallyport\.conf:$number: trust-anchor: .*$says/,
		    'file and line');
		my $line = $instance->reload // '';
		unlike($line, qr/result=ok/, 'nor does a reload take it');
	}
	$instance->conf_write($conf);
	for ('{ "resolver.example:53" }', '{ "127.0.0.1" }', '{ "127.0.0.1:0" }',
		'{ "127.0.0.1:65536" }', '{ "127.0.0.1@53" }') {
		$instance->option(resolvers => $_);
		($status, $text) = checked();
		is($status, 1, "-t: resolvers $_ is refused");
		like($text, qr/sallyport\.conf:\d+: resolvers: .*expected/,
		    'file and line, and what was expected');
	}
	$instance->conf_write($conf);
	like($instance->reload // '', qr/result=ok/, 'the good file again');
};

$instance->stop_ok;
done_testing;
