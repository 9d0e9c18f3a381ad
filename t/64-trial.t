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

subtest 'at a start' => sub {
	$instance->stop_ok;
	put('mute');
	like($instance->refused // '', qr/trial handshake/, 'it is tried as well');
	put_good();
	ok($instance->start, 'and the good one serves');
};

$instance->stop_ok;
done_testing;
