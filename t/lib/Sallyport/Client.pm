# An SMTP client that sends exactly the octets it is told to.
package Sallyport::Client;

use strict;
use warnings;
use IO::Select;
use IO::Socket::IP;
use IO::Socket::SSL;
use MIME::Base64;
use Sallyport::Test;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

# new(port =>, ca => file, tls => 1 for implicit TLS, cert =>, key =>,
# name => for SNI and the check, version =>, ciphers => as OpenSSL lists them
# (DEFAULT@SECLEVEL=0 for a short key), session => from an earlier client's
# session(), local => address to come from, bare => 1: no greeting is awaited,
# timeout =>).
sub new {
	my ($class, %o) = @_;
	my $self = bless { timeout => 30, name => 'mail.example.org',
		in => '', %o }, $class;
	$self->{sock} = IO::Socket::IP->new(PeerHost => $o{host} // '127.0.0.1',
		PeerPort => $o{port}, Timeout => 10,
		$o{local} ? (LocalHost => $o{local}) : ()) or return;
	setsockopt $self->{sock}, IPPROTO_TCP, TCP_NODELAY, 1;
	return $self if $o{bare};
	if ($o{tls}) {
		$self->start_tls or return;
	}
	$self->{greeting} = $self->reply;
	return $self;
}

# The handshake alone.
sub start_tls {
	my ($self) = @_;
	my $sock = $self->{sock};
	my $ok = IO::Socket::SSL->start_SSL($sock,
		SSL_ca_file => $self->{ca}, SSL_hostname => $self->{name},
		SSL_verifycn_name => $self->{name},
		SSL_verifycn_scheme => 'smtp',
		$self->{version} ? (SSL_version => $self->{version}) : (),
		$self->{ciphers} ? (SSL_cipher_list => $self->{ciphers}) : (),
		$self->{ca} ? (SSL_verify_mode => SSL_VERIFY_PEER)
		: (SSL_verify_mode => SSL_VERIFY_NONE),
		$self->{cert} ? (SSL_create_ctx_callback =>
			certificate(@$self{qw(cert key)})) : (),
		$self->{session} ? (SSL_reuse_ctx => $self->{session}) : (),
		Timeout => 20);
	$self->{error} = "$SSL_ERROR" if !$ok;
	return $ok;
}

# Shown only once the ciphers are set, which let short keys in.  Nothing of the
# client itself is kept there, or it would keep itself.
sub certificate {
	my ($cert, $key) = @_;
	return sub {
		my ($context) = @_;
		Net::SSLeay::CTX_use_certificate_chain_file($context, $cert)
		    && Net::SSLeay::CTX_use_PrivateKey_file($context, $key,
			Net::SSLeay::FILETYPE_PEM())
		    or die "$cert: cannot be used\n";
	};
}

# SMTP's STARTTLS, after an EHLO.
sub starttls {
	my ($self) = @_;
	my $reply = $self->command('STARTTLS');
	return $reply =~ /^220/ && $self->start_tls;
}

sub send {
	my ($self, $octets) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $octets) {
		my $put = syswrite $self->{sock}, $octets;
		return 0 if !defined $put;
		substr $octets, 0, $put, '';
	}
	return 1;
}

# One reply with all its lines, without the last CRLF; '' at end of file,
# undef after the timeout.
sub reply {
	my ($self) = @_;
	my $end = time + $self->{timeout};
	my $wait = IO::Select->new($self->{sock});
	while (1) {
		return $1 if $self->{in}
		    =~ s/\A((?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?)\r\n//;
		if (!($self->{sock}->can('pending') && $self->{sock}->pending)) {
			my $left = $end - time;
			return if $left <= 0 || !$wait->can_read($left);
		}
		my $got = sysread $self->{sock}, my $octets, 65536;
		return $self->{in} eq '' ? '' : "torn: $self->{in}" if !$got;
		$self->{in} .= $octets;
	}
}

# Nothing more came: the server has closed.
sub closed {
	my ($self) = @_;
	my $reply = $self->reply;
	return defined $reply && $reply eq '';
}

sub command {
	my ($self, $line) = @_;
	$self->send("$line\r\n") or return $self->reply // '';
	return $self->reply // 'timeout';
}

sub ehlo {
	my ($self, $name) = @_;
	return $self->command('EHLO ' . ($name // 'client.example'));
}

sub plain {
	my ($self, $user, $password) = @_;
	return $self->command('AUTH PLAIN '
	    . encode_base64("\0$user\0$password", ''));
}

# A whole transaction after AUTH; the reply that ended it.
sub transaction {
	my ($self, $message, %o) = @_;
	my $from = $o{from} // 'alice@example.org';
	my @to = @{ $o{to} // ['bob@example.net'] };
	my $reply = $self->command("MAIL FROM:<$from>" . ($o{mail} // ''));
	return $reply if $reply !~ /^250/;
	for (@to) {
		$reply = $self->command("RCPT TO:<$_>" . ($o{rcpt} // ''));
		return $reply if $reply !~ /^250/;
	}
	$reply = $self->command('DATA');
	return $reply if $reply !~ /^354/;
	return $self->content($message);
}

# Dot-stuffed mail data and the final dot; its reply.
sub content {
	my ($self, $message) = @_;
	$message =~ s/(\A|\r\n)\./$1../g;
	$self->send("$message.\r\n");
	return $self->reply // 'timeout';
}

sub session {
	my ($self) = @_;
	return $self->{sock};
}

sub resumed {
	my ($self) = @_;
	return $self->{sock}->get_session_reused;
}

sub close {
	my ($self) = @_;
	close $self->{sock};
}

1;
