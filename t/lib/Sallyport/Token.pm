# An issuer of tokens: keys, the key set that says so, and JWTs signed by them,
# all made by the openssl command.
package Sallyport::Token;

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use Sallyport::Test;

my $json = JSON::PP->new->canonical;

my %kinds = (
	rsa => ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
	ec => ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
	ed25519 => ['-algorithm', 'ED25519']);
my %standard = (rsa => 'RS256', ec => 'ES256', ed25519 => 'EdDSA');

sub openssl {
	my ($status, $out, $err) = run({}, 'openssl', @_);
	die "openssl @_: $err" if $status;
	return $out;
}

# new(FOLDER, NAME => KIND, ...): keys of kinds rsa, ec and ed25519 by their
# key ids.
sub new {
	my ($class, $folder, %keys) = @_;
	mkdir $folder or die "$folder: $!";
	my $self = bless { folder => $folder, kinds => {} }, $class;
	$self->key($_ => $keys{$_}) for sort keys %keys;
	return $self;
}

sub key {
	my ($self, $name, $kind) = @_;
	$self->{kinds}{$name} = $kind;
	openssl('genpkey', @{ $kinds{$kind} }, '-out', "$self->{folder}/$name");
}

# The public key in DER; the last octets are the numbers.
sub public {
	my ($self, $name) = @_;
	return openssl('pkey', '-in', "$self->{folder}/$name", '-pubout',
		'-outform', 'DER');
}

sub jwk {
	my ($self, $name, %more) = @_;
	my $kind = $self->{kinds}{$name};
	my %jwk = (kid => $name, use => 'sig', %more);
	if ($kind eq 'rsa') {
		my ($hex) = openssl('rsa', '-in', "$self->{folder}/$name",
			'-noout', '-modulus') =~ /=([0-9A-F]+)/;
		return { %jwk, kty => 'RSA', e => 'AQAB',
			n => encode_base64url(pack 'H*', $hex) };
	}
	my $der = $self->public($name);
	return { %jwk, kty => 'OKP', crv => 'Ed25519',
		x => encode_base64url(substr $der, -32) } if $kind eq 'ed25519';
	return { %jwk, kty => 'EC', crv => 'P-256',
		x => encode_base64url(substr $der, -64, 32),
		y => encode_base64url(substr $der, -32) };
}

# The key set of these keys, or of all, as a file.
sub set {
	my ($self, $file, @names) = @_;
	@names = sort keys %{ $self->{kinds} } unless @names;
	spew($file, $json->encode({ keys => [map { $self->jwk($_) } @names] }));
	return $file;
}

# ECDSA's two numbers out of their DER.
sub raw_signature {
	my ($der) = @_;
	my $at = 2; # behind the sequence's head, which is short for P-256
	my @numbers;
	for (1 .. 2) {
		my $len = ord substr $der, $at + 1, 1;
		my $number = substr $der, $at + 2, $len;
		$number =~ s/\A\0+//;
		push @numbers, ("\0" x (32 - length $number)) . $number;
		$at += 2 + $len;
	}
	return join '', @numbers;
}

sub sign {
	my ($self, $name, $alg, $octets) = @_;
	my $key = "$self->{folder}/$name";
	my $file = "$self->{folder}/octets";
	spew($file, $octets);
	return '' if $alg eq 'none';
	# The old trick: the public key as a shared secret.
	return hmac_sha256($octets, $self->public($name)) if $alg eq 'HS256';
	return openssl('pkeyutl', '-sign', '-rawin', '-inkey', $key, '-in', $file)
	    if $alg eq 'EdDSA';
	my ($bits) = $alg =~ /(\d+)/;
	my $signature = openssl('dgst', "-sha$bits", '-sign', $key,
		$alg =~ /^PS/ ? ('-sigopt', 'rsa_padding_mode:pss',
			'-sigopt', 'rsa_pss_saltlen:digest') : (), $file);
	return $alg =~ /^ES/ ? raw_signature($signature) : $signature;
}

# jwt(KEY, {claims}, alg =>, header => {more}, signed_by => another key).
sub jwt {
	my ($self, $name, $claims, %o) = @_;
	my $alg = $o{alg} // $standard{ $self->{kinds}{$name} };
	my $header = { alg => $alg, kid => $name, typ => 'JWT',
		%{ $o{header} // {} } };
	my $octets = join '.', map { encode_base64url($json->encode($_)) }
	    $header, $claims;
	return "$octets." . encode_base64url(
		$self->sign($o{signed_by} // $name, $alg, $octets));
}

1;
