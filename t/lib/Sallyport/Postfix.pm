# A real Postfix, Debian's, that relays through us.
package Sallyport::Postfix;

use strict;
use warnings;
use parent 'Sallyport::Unpacked';
use POSIX qw(:sys_wait_h);
use Sallyport::Client;
use Sallyport::Test;

my $spool = '/var/spool/postfix';

# Postfix and every library it loads, the SASL plug-ins among them.
sub packages {
	return qw(postfix libc6 libcom-err2 libdb5.3 libgcc-s1 libgssapi-krb5-2
	    libicu72 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libnsl2
	    libsasl2-2 libsasl2-modules libsasl2-modules-db libssl3 libstdc++6
	    libtirpc3);
}

# new(SCRATCH, relay => port, wrapper => 1 for implicit TLS, ca => file of the
# anchors, name => that the server's certificate has to have, cert =>, key =>
# files to show, sasl => [name, password, mechanisms]).
sub new {
	my ($class, $scratch, %o) = @_;
	my $self = bless { root => "$scratch/postfix-root", owner => $$,
		port => free_port(), id => $class->free_id }, $class;
	$self->unpack_all;
	$self->furnish;
	$self->configure(%o);
	return $self;
}

# What packages make when they are installed, as far as it is needed.
sub furnish {
	my ($self) = @_;
	my ($id, $group) = ($self->{id}, $self->{id} + 1);
	for (qw(/dev /tmp /var/log /var/lib/postfix), $spool, map { "$spool/$_" }
		qw(active bounce corrupt defer deferred flush hold incoming private
		maildrop public pid saved trace)) {
		run({}, 'mkdir', '-p', $self->inside($_));
	}
	$self->devices;
	spew($self->inside('/etc/passwd'), "root:x:0:0::/:/bin/false\n"
	    . "postfix:x:$id:$id\::/:/bin/false\n"
	    . "nobody:x:65534:65534::/:/bin/false\n");
	spew($self->inside('/etc/group'), "root:x:0:\npostfix:x:$id:\n"
	    . "postdrop:x:$group:\nnogroup:x:65534:\n");
	spew($self->inside('/etc/hosts'), "127.0.0.1 localhost\n");
	spew($self->inside('/etc/nsswitch.conf'),
	    "passwd: files\ngroup: files\nhosts: files\nservices: files\n");
	spew($self->inside('/etc/services'), "smtp 25/tcp\n");
	for (qw(active bounce corrupt defer deferred flush hold incoming private
		saved trace)) {
		chown $id, 0, $self->inside("$spool/$_");
		chmod 0700, $self->inside("$spool/$_");
	}
	chown $id, 0, $self->inside('/var/lib/postfix');
	chown $id, $group, map { $self->inside("$spool/$_") } qw(maildrop public);
	chmod 0730, $self->inside("$spool/maildrop");
	chmod 0710, $self->inside("$spool/public");
}

# The part that the manual of sallyportd(8) tells an operator to write, and
# what keeps a Postfix without a machine of its own alive.
sub configure {
	my ($self, %o) = @_;
	my $etc = $self->inside('/etc/postfix');
	my %main = (
		myhostname => 'branch.example', smtputf8_enable => 'no',
		soft_bounce => 'yes', relayhost => "[127.0.0.1]:$o{relay}",
		smtp_tls_security_level => 'secure',
		smtp_tls_secure_cert_match => $o{name},
		smtp_tls_CAfile => '/etc/postfix/ca.pem',
		$o{wrapper} ? (smtp_tls_wrappermode => 'yes') : ());
	run({}, 'cp', $o{ca}, "$etc/ca.pem");
	if ($o{cert}) {
		run({}, 'cp', $o{cert}, "$etc/client.pem");
		run({}, 'cp', $o{key}, "$etc/client.key");
		$main{smtp_tls_cert_file} = '/etc/postfix/client.pem';
		$main{smtp_tls_key_file} = '/etc/postfix/client.key';
	}
	if ($o{sasl}) {
		my ($name, $password, $mechanisms) = @{ $o{sasl} };
		spew("$etc/passwords", "[127.0.0.1]:$o{relay} $name:$password\n");
		%main = (%main, smtp_sasl_auth_enable => 'yes',
			smtp_sasl_password_maps => 'texthash:/etc/postfix/passwords',
			smtp_sasl_security_options => 'noanonymous',
			$mechanisms ? (smtp_sasl_mechanism_filter => $mechanisms)
			: ());
	}
	$self->settle(%main);
}

# Its two files, with what each has here.
sub settle {
	my ($self, %main) = @_;
	my $etc = $self->inside('/etc/postfix');
	%main = (compatibility_level => '3.6',
		mydestination => '', local_transport => 'error:none here',
		alias_maps => '', alias_database => '',
		inet_interfaces => '127.0.0.1', inet_protocols => 'ipv4',
		mynetworks => '127.0.0.0/8',
		smtpd_recipient_restrictions => 'permit_mynetworks, reject',
		smtp_host_lookup => 'native', smtp_dns_support_level => 'disabled',
		maillog_file => '/var/log/postfix.log', %main);
	spew("$etc/main.cf", join '', map { "$_ = $main{$_}\n" } sort keys %main);
	spew("$etc/master.cf", <<"MASTER");
127.0.0.1:$self->{port} inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -  - proxymap
smtp      unix  - - n -  - smtp
relay     unix  - - n -  - smtp
virtual   unix  - n n -  - virtual
error     unix  - - n -  - error
retry     unix  - - n -  - error
anvil     unix  - - n -  1 anvil
scache    unix  - - n -  1 scache
postlog   unix-dgram n - n - 1 postlogd
MASTER
}

# In the foreground; it is a process group of its own.
sub start {
	my ($self) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $self->inside('/var/log/started');
		open STDERR, '>&', \*STDOUT;
		chroot $self->{root} and chdir '/'
		    and exec '/usr/lib/postfix/sbin/master', '-c', '/etc/postfix',
		    '-d';
		print STDERR "master: $!\n";
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	return wait_until {
		my $c = Sallyport::Client->new(port => $self->{port}, timeout => 2);
		$c && ($c->{greeting} // '') =~ /^220 /;
	} 30;
}

# Hand it a message as one of its users would; its reply.
sub submit {
	my ($self, $message, %o) = @_;
	my $client = Sallyport::Client->new(port => $self->{port}) or return '';
	$client->ehlo;
	return $client->transaction($message, %o);
}

sub log_text {
	my ($self) = @_;
	return slurp($self->inside('/var/log/started'))
	    . slurp($self->inside('/var/log/postfix.log'));
}

# Wait for a line of its log.
sub logged {
	my ($self, $pattern, $seconds) = @_;
	return wait_until { $self->log_text =~ $pattern } $seconds;
}

sub stop {
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill TERM => -$pid;
	wait_until { waitpid($pid, WNOHANG) != 0 } 15
	    or do { kill KILL => -$pid; waitpid $pid, 0 };
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $@);
	$self->stop if $self->{owner} == $$;
}

1;
