# Certificates for tests, good ones and every kind of bad one.
package Sallyport::Certs;

use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Socket::SSL::Utils;
use MIME::Base64;
use Sallyport::Test;

# authority(FOLDER, NAME) makes FOLDER/NAME.pem; issue() makes certificates
# under it.
sub authority {
	my ($class, $folder, $name) = @_;
	my ($cert, $key) = CERT_create(
		CA => 1, purpose => { cRLSign => 1 },
		key => KEY_create_ec('prime256v1'),
		subject => { commonName => "$name test authority" },
		not_before => time - 86400 * 30, not_after => time + 86400 * 365);
	my $self = bless { folder => $folder, name => $name,
		cert => $cert, key => $key, file => "$folder/$name.pem" }, $class;
	PEM_cert2file($cert, $self->{file});
	return $self;
}

sub file {
	return $_[0]{file};
}

# issue(NAME, dns => [...], ip => [...], email => [...], cn =>, purpose => server | client |
# both | none, from =>, to => (seconds from now), self => 1: self-signed, rsa
# => bits: an RSA key instead of ECDSA P-256).
# Returns the files of certificate and key.
sub issue {
	my ($self, $name, %o) = @_;
	my @purpose = { server => ['serverAuth'], client => ['clientAuth'],
		both => ['serverAuth', 'clientAuth'], none => [] }
	    ->{ $o{purpose} // 'server' }->@*;
	my @names = ((map { ['DNS', $_] } @{ $o{dns} // [] }),
		(map { ['IP', $_] } @{ $o{ip} // [] }),
		(map { ['email', $_] } @{ $o{email} // [] }));
	my ($cert, $key) = CERT_create(
		CA => 0, key => $o{rsa} ? KEY_create_rsa($o{rsa})
		: KEY_create_ec('prime256v1'),
		subject => { commonName => $o{cn} // $name },
		@names ? (subjectAltNames => \@names) : (),
		not_before => time + ($o{from} // -86400),
		not_after => time + ($o{to} // 86400 * 90),
		purpose => { digitalSignature => 1 },
		ext => [ @purpose ? { sn => 'extendedKeyUsage',
			data => join ',', @purpose } : () ],
		$o{self} ? ()
		: (issuer => [$self->{cert}, $self->{key}]));
	my @files = ("$self->{folder}/$name.pem", "$self->{folder}/$name.key");
	PEM_cert2file($cert, $files[0]);
	PEM_key2file($key, $files[1]);
	chmod 0600, $files[1];
	return @files;
}

# crl(FILE, days => 30, revoked => [certificate files]): a revocation list of
# this authority.
sub crl {
	my ($self, $file, %o) = @_;
	my $folder = scratch();
	PEM_key2file($self->{key}, "$folder/key");
	spew("$folder/$_", '') for qw(index index.attr);
	spew("$folder/number", "01\n");
	spew("$folder/conf", "[ca]\ndefault_ca = a\n[a]\n"
	    . "database = $folder/index\ncrlnumber = $folder/number\n"
	    . "default_md = sha256\ncertificate = $self->{file}\n"
	    . "private_key = $folder/key\n");
	my @ca = ('openssl', 'ca', '-config', "$folder/conf");
	for my $command (map({ [@ca, '-revoke', $_] } @{ $o{revoked} // [] }),
		[@ca, '-gencrl', '-crldays', $o{days} // 30, '-out', $file]) {
		my ($status, $out, $err) = run({}, @$command);
		die "@$command: $err" if $status;
	}
	return $file;
}

# The key of the first certificate in a file, as pin= names it.
sub pin {
	my ($class, $file) = @_;
	my ($status, $pem, $err) = run({}, 'openssl', 'x509', '-in', $file,
		'-noout', '-pubkey');
	die "openssl x509: $err" if $status;
	my ($base64) = $pem =~ /-----\n(.*?)-----END/s;
	return 'sha256:' . sha256_hex(decode_base64($base64));
}

1;
