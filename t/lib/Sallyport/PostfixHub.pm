# A real Postfix, Debian's, as the smarthost: it delivers into one Maildir.
package Sallyport::PostfixHub;

use strict;
use warnings;
use parent 'Sallyport::Postfix';
use Sallyport::Test;

# The packages are the same.
sub folder {
	return Sallyport::Postfix->folder;
}

# new(SCRATCH, cert =>, key => files to show, boxes => [addresses], most =>
# recipients of one transaction).
sub configure {
	my ($self, %o) = @_;
	my $etc = $self->inside('/etc/postfix');
	my %domains = map { s/.*@//r => 1 } @{ $o{boxes} };
	run({}, 'cp', $o{cert}, "$etc/server.pem");
	run({}, 'cp', $o{key}, "$etc/server.key");
	spew("$etc/boxes", join '', map { "$_ box/\n" } @{ $o{boxes} });
	mkdir $self->inside('/var/mail');
	chown $self->{id}, $self->{id}, $self->inside('/var/mail');
	$self->settle(myhostname => 'hub.example', smtputf8_enable => 'yes',
		smtpd_tls_security_level => 'may', smtpd_tls_loglevel => 1,
		smtpd_tls_cert_file => '/etc/postfix/server.pem',
		smtpd_tls_key_file => '/etc/postfix/server.key',
		smtpd_recipient_limit => $o{most},
		virtual_mailbox_domains => join(' ', sort keys %domains),
		virtual_mailbox_base => '/var/mail',
		virtual_mailbox_maps => 'texthash:/etc/postfix/boxes',
		virtual_minimum_uid => 100,
		virtual_uid_maps => "static:$self->{id}",
		virtual_gid_maps => "static:$self->{id}");
}

# What has been delivered, a string a mail, with bare LF.
sub mail {
	my ($self) = @_;
	return map { slurp($_) } glob $self->inside('/var/mail/box/new/*');
}

1;
