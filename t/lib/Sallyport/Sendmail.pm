# A real Sendmail, Debian's, that relays through us.
package Sallyport::Sendmail;

use strict;
use warnings;
use parent 'Sallyport::Unpacked';
use Sallyport::Test;

# Sendmail, every library it loads, and what its configuration is made with.
sub packages {
	return qw(sendmail-bin sendmail-base sendmail-cf m4 libsigsegv2 dash libc6
	    libcom-err2 libdb5.3 libffi8 libgmp10 libgnutls30 libgssapi-krb5-2
	    libhogweed6 libidn2-0 libk5crypto3 libkeyutils1 libkrb5-3
	    libkrb5support0 libldap-2.5-0 liblockfile1 libmilter1.0.1 libnettle8
	    libnsl2 libp11-kit0 libsasl2-2 libsasl2-modules libsigsegv2 libssl3
	    libtasn1-6 libtirpc3 libunistring2 libwrap0);
}

# new(SCRATCH, relay => port, name => host that we are, ca => file of the
# anchors, cert =>, key => files to show, login => name for EXTERNAL).
sub new {
	my ($class, $scratch, %o) = @_;
	my $self = bless { root => "$scratch/sendmail-root",
		id => $class->free_id }, $class;
	$self->unpack_all;
	$self->devices;
	$self->furnish($o{name});
	$self->configure(%o);
	return $self;
}

# What packages make when they are installed, as far as it is needed.
sub furnish {
	my ($self, $name) = @_;
	my ($id, $other) = ($self->{id}, $self->{id} + 1);
	for (qw(/tmp /etc/mail/certs /var/spool/mqueue
		/var/lib/sendmail/host_status)) {
		run({}, 'mkdir', '-p', $self->inside($_));
	}
	chmod 0700, $self->inside('/var/spool/mqueue');
	spew($self->inside('/etc/passwd'), "root:x:0:0::/:/bin/false\n"
	    . "mail:x:8:8::/:/bin/false\n"
	    . "smmta:x:$id:$id\::/:/bin/false\n"
	    . "smmsp:x:$other:$other\::/:/bin/false\n");
	spew($self->inside('/etc/group'),
	    "root:x:0:\nmail:x:8:\nsmmta:x:$id:\nsmmsp:x:$other:\n");
	spew($self->inside('/etc/hosts'), "127.0.0.1 localhost $name\n");
	spew($self->inside('/etc/nsswitch.conf'),
	    "passwd: files\ngroup: files\nhosts: files\nservices: files\n");
	spew($self->inside('/etc/mail/service.switch'), "hosts files\n");
	spew($self->inside('/etc/mail/local-host-names'), '');
}

sub ok_run {
	my ($self, @command) = @_;
	my ($status, $out, $err) = run({}, 'chroot', $self->{root}, @command);
	die "@command: $err" if $status;
	return $out;
}

# A map of Sendmail's: KEY VALUE.
sub map_file {
	my ($self, $name, $text) = @_;
	spew($self->inside("/etc/mail/$name"), $text);
	my ($status, $out, $err) = run({ in => $text }, 'chroot', $self->{root},
		'/usr/libexec/sendmail/makemap', 'hash', "/etc/mail/$name");
	die "makemap: $err" if $status;
}

# The part that the manual of sallyportd(8) tells an operator to write, and
# what lets a Sendmail live without a machine and a name server of its own.
sub configure {
	my ($self, %o) = @_;
	my $certs = $self->inside('/etc/mail/certs');
	run({}, 'cp', $o{ca}, "$certs/sallyport-ca.pem");
	run({}, 'cp', $o{cert}, "$certs/branch.pem");
	run({}, 'cp', $o{key}, "$certs/branch.key");
	chmod 0600, "$certs/branch.key";
	spew($self->inside('/etc/mail/sendmail.mc'), <<"MC");
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
define(`confDOMAIN_NAME', `branch.example')dnl
define(`confAUTH_MECHANISMS', `EXTERNAL')dnl
undefine(`ALIAS_FILE')dnl
FEATURE(`nocanonify')dnl
FEATURE(`authinfo')dnl
FEATURE(`access_db')dnl
define(`SMART_HOST', `relay:[$o{name}]')dnl
define(`RELAY_MAILER_ARGS', `TCP \$h $o{relay}')dnl
define(`confCACERT', `/etc/mail/certs/sallyport-ca.pem')dnl
define(`confCACERT_PATH', `/etc/mail/certs')dnl
define(`confCLIENT_CERT', `/etc/mail/certs/branch.pem')dnl
define(`confCLIENT_KEY', `/etc/mail/certs/branch.key')dnl
MAILER(`smtp')dnl
MC
	spew($self->inside('/etc/mail/sendmail.cf'), $self->ok_run('m4',
		'-D_CF_DIR_=/usr/share/sendmail/cf/', '/etc/mail/sendmail.mc'));
	$self->map_file('access', "TLS_Srv:$o{name} VERIFY\n");
	$self->map_file('authinfo', $o{login} ? "AuthInfo:$o{name} "
		. "\"U:$o{login}\" \"I:$o{login}\" \"P:none\" \"M:EXTERNAL\"\n"
		: '');
}

# Sends a message at once; what it says of it.
sub deliver {
	my ($self, $message, $from, $to) = @_;
	my ($status, $out, $err) = run({ in => $message =~ s/\r\n/\n/gr },
		'chroot', $self->{root}, '/usr/libexec/sendmail/sendmail', '-v',
		'-odi', '-f', $from, $to);
	return $out . $err;
}

1;
