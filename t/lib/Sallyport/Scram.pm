# The client's side of SCRAM (RFC 5802, RFC 7677), to be led astray at each step.
package Sallyport::Scram;

use strict;
use warnings;
use Digest::SHA qw(hmac_sha1 hmac_sha256 sha1 sha256);
use MIME::Base64;

my $count = 0;

# new(hash => 'SHA-256' or 'SHA-1', user =>, password =>, authzid =>,
# binding => octets for tls-exporter, flag => 'n' or 'y').
sub new {
	my ($class, %o) = @_;
	my $self = bless { hash => 'SHA-256', flag => 'n', %o }, $class;
	$self->{header} = (defined $o{binding} ? 'p=tls-exporter' : $self->{flag})
	    . ',' . (defined $o{authzid} ? "a=$o{authzid}" : '') . ',';
	$self->{bare} = "n=$o{user},r=client" . $count++ . "nonce$$";
	return $self;
}

# Octets of RFC 9266 for a client in TLS.
sub binding {
	my ($class, $client) = @_;
	return Net::SSLeay::export_keying_material($client->{sock}->_get_ssl_object,
		32, 'EXPORTER-Channel-Binding', '');
}

sub hmac {
	my ($self, $key, $text) = @_;
	return $self->{hash} eq 'SHA-1' ? hmac_sha1($text, $key)
	    : hmac_sha256($text, $key);
}

sub digest {
	my ($self, $octets) = @_;
	return $self->{hash} eq 'SHA-1' ? sha1($octets) : sha256($octets);
}

# Each message as the line that carries it.
sub first {
	my ($self) = @_;
	return encode_base64($self->{header} . $self->{bare}, '');
}

# From the server's first message, a reply "334 ...".
sub final {
	my ($self, $reply) = @_;
	my $server = decode_base64($reply =~ s/^334 //r);
	my ($nonce, $salt, $times) = $server =~ /^(r=[^,]+),s=([^,]+),i=(\d+)$/
	    or die "not a server's first message: $reply\n";
	my $salted = my $u = $self->hmac($self->{password},
		decode_base64($salt) . pack 'N', 1);
	for (2 .. $times) {
		$u = $self->hmac($self->{password}, $u);
		$salted ^= $u;
	}
	my $final = 'c=' . encode_base64($self->{header}
	    . ($self->{binding} // ''), '') . ",$nonce";
	my $message = "$self->{bare},$server,$final";
	my $key = $self->hmac($salted, 'Client Key');
	my $proof = $key ^ $self->hmac($self->digest($key), $message);
	$self->{signature} = $self->hmac($self->hmac($salted, 'Server Key'),
		$message);
	return encode_base64("$final,p=" . encode_base64($proof, ''), '');
}

# Is a reply the server's signature?
sub signed {
	my ($self, $reply) = @_;
	return $reply eq '334 ' . encode_base64('v='
	    . encode_base64($self->{signature}, ''), '');
}

1;
