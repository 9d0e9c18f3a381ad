#!/usr/bin/perl
# A configuration's certificates go through a handshake before they are used.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";
my %good = map { ($_ => slurp("$tls/server.$_")) } qw(pem key);

sub openssl {
	my ($status, $out, $err) = run({}, 'openssl', @_);
	die "openssl @_: $err" if $status;
	return $out;
}

# A certificate for the listeners with that key and these extensions.
sub make {
	my ($name, $key, @extensions) = @_;
	openssl('genpkey', @$key, '-out', "$scratch/$name.key");
	openssl('req', '-x509', '-new', '-key', "$scratch/$name.key", '-days', 30,
		'-subj', "/CN=$name", '-out', "$scratch/$name.pem",
		map { ('-addext', $_) } 'extendedKeyUsage=serverAuth',
		'basicConstraints=critical,CA:FALSE', @extensions);
}

sub put {
	my ($name) = @_;
	for (qw(pem key)) {
		spew("$tls/server.$_", slurp("$scratch/$name.$_"));
	}
}

sub put_good {
	spew("$tls/server.$_", $good{$_}) for qw(pem key);
}

sub subject {
	my ($c) = @_;
	return Net::SSLeay::X509_NAME_oneline(
		Net::SSLeay::X509_get_subject_name($c->{sock}->peer_certificate));
}

my @rsa = ('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048');
my @ec = ('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256');

# Of the right name and purpose, its key belongs to it: but nobody can use it,
# as it may not sign.
subtest 'one that cannot be used' => sub {
	make('mute', \@rsa, 'subjectAltName=DNS:mail.example.org',
		'keyUsage=critical,keyEncipherment');
	my $old = $instance->client(ca => undef);
	my $serving = subject($old);
	put('mute');
	like($instance->reload // '',
	    qr/result=refused .*listener \w+: trial handshake/, 'is refused');
	ok($instance->logged(qr/master alarm reload result=refused/), 'with an alarm');
	like($old->command('NOOP'), qr/^250/, 'who was there goes on');
	is(subject($instance->client(ca => undef)), $serving, 'who comes is shown the old one');
	put_good();
	like($instance->reload // '', qr/result=ok/, 'put right: taken');
};

subtest 'several names' => sub {
	make('many', \@ec, 'subjectAltName=DNS:mail.example.org,DNS:*.wild.example,'
		. 'DNS:mx.example.org,IP:127.0.0.1', 'keyUsage=digitalSignature');
	put('many');
	like($instance->reload // '', qr/result=ok/, 'each is asked for');
	like(subject($instance->client(ca => undef)), qr/CN=many/, 'and it serves');
	# A second certificate with a name of the first: the first has it.
	make('second', \@ec, 'subjectAltName=DNS:mx.example.org,DNS:other.example.org');
	my $good = slurp($instance->{conf});
	$instance->conf_write($good =~ s|^(end\s*=)|certificate second {\n\tchain = "$scratch/second.pem"\n\tkey = "$scratch/second.key"\n\trole = server\n}\n$1|mr);
	chmod 0600, "$scratch/second.key";
	$instance->listener_option('submission', certificates => '{ "server", "second" }');
	like($instance->reload // '', qr/result=ok/, 'shared names are no trouble');
	$instance->conf_write($good);
	put_good();
	like($instance->reload // '', qr/result=ok/, 'as before');
};

# What openssl as a client is shown: its subject, or why there is none.
sub shown_to {
	my (@options) = @_;
	my ($status, $out, $err) = run({ in => "QUIT\r\n" }, 'openssl',
		's_client', '-connect', "127.0.0.1:$instance->{ports}{submissions}",
		'-ign_eof', @options);
	my ($cn) = $out =~ /^ 0 s:.*CN = ([\w-]+)/m;
	return $cn // "nothing: $err";
}

# Certificates for the listeners by section name, from files of make(): [name,
# name...].
sub with_certificates {
	my (@names) = @_;
	my $sections = join '', map {
		"certificate $_ {\n\tchain = \"$scratch/$_.pem\"\n"
		. "\tkey = \"$scratch/$_.key\"\n\trole = server\n}\n" } @names;
	$instance->conf_write(slurp($instance->{conf}) =~ s/^(end\s*=)/$sections$1/mr);
	$instance->listener_option($_, certificates => '{ '
		. join(', ', map { qq("$_") } @names) . ' }')
	    for qw(submission submissions);
	return;
}

subtest 'ECDSA and RSA for the same names' => sub {
	my $good = slurp($instance->{conf});
	my $names = 'subjectAltName=DNS:mail.example.org,DNS:*.wild.example';
	make('pair-rsa', \@rsa, $names, 'keyUsage=digitalSignature');
	make('pair-ec', \@ec, $names, 'keyUsage=digitalSignature');
	make('apart', \@ec, 'subjectAltName=DNS:apart.example.org', 'keyUsage=digitalSignature');
	with_certificates(qw(pair-rsa pair-ec apart));
	like($instance->reload // '', qr/result=ok/, 'both are tried and taken');
	my @only_rsa = ('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256');
	my @only_ec = ('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256');
	my @sig_rsa = ('-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256');
	my @cases = (
		['TLS 1.3 with both', 'pair-ec', '-tls1_3'],
		['TLS 1.2 with both', 'pair-ec', '-tls1_2'],
		['TLS 1.3, signatures of RSA', 'pair-rsa', @sig_rsa],
		['TLS 1.2, suites of RSA', 'pair-rsa', @only_rsa],
		['TLS 1.2, suites of ECDSA', 'pair-ec', @only_ec],
	);
	for my $name ('mail.example.org', 'any.wild.example') {
		for (@cases) {
			my ($what, $expected, @options) = @$_;
			is(shown_to('-servername', $name, @options), $expected,
			    "$name: $what");
		}
	}
	is(shown_to('-servername', 'apart.example.org'), 'apart', 'another name');
	like(shown_to('-servername', 'apart.example.org', @sig_rsa), qr/^nothing/,
	    'which there is no RSA for');
	is(shown_to('-noservername', @only_rsa), 'pair-rsa', 'no name, RSA');
	is(shown_to('-servername', 'unknown.example'), 'pair-ec', 'an unknown name');

	# The first with that name would do for our own client.
	make('pair-rsa', \@rsa, $names, 'keyUsage=critical,keyEncipherment');
	like($instance->reload // '',
	    qr/result=refused .*trial handshake as mail\.example\.org/,
	    'a bad one behind a good one is found');
	is(shown_to('-servername', 'mail.example.org', @only_rsa), 'pair-rsa',
	    'and the old one stays');
	$instance->conf_write($good);
	like($instance->reload // '', qr/result=ok/, 'as before');
};

# The mirror image: what is shown to next hops.
subtest 'a client certificate' => sub {
	my %client = map { ($_ => slurp("$tls/client.$_")) } qw(pem key);
	my @purpose = ('subjectAltName=DNS:mail.example.org',
		'extendedKeyUsage=clientAuth');
	openssl('genpkey', @ec, '-out', "$scratch/relay.key");
	for (['keyUsage=critical,keyAgreement', qr/result=refused .*certificate client: trial handshake as a client:/, 'one that may not sign is refused'],
		['keyUsage=critical,digitalSignature', qr/result=ok/, 'one that may is taken']) {
		my ($usage, $expected, $what) = @$_;
		openssl('req', '-x509', '-new', '-key', "$scratch/relay.key", '-days', 30,
			'-subj', '/CN=relay', '-out', "$scratch/relay.pem",
			map { ('-addext', $_) } @purpose, $usage,
			'basicConstraints=critical,CA:FALSE');
		spew("$tls/client.$_", slurp("$scratch/relay.$_")) for qw(pem key);
		like($instance->reload // '', $expected, $what);
	}
	spew("$tls/client.$_", $client{$_}) for qw(pem key);
	like($instance->reload // '', qr/result=ok/, 'as before');
};

subtest 'at a start' => sub {
	$instance->stop_ok;
	put('mute');
	like($instance->refused // '', qr/trial handshake/, 'it is tried as well');
	put_good();
	ok($instance->start, 'and the good one serves');
};

$instance->stop_ok;
done_testing;
