# A real ACME server (pebble) on loopback ports, with the DNS it asks, and what
# clients need to trust it and to answer its challenges.
package Sallyport::Acme;

use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Sallyport::Certs;
use Sallyport::Test;

# What has to be installed; the names of what is missing.
sub missing {
	return grep { !in_path($_) }
	    qw(pebble pebble-challtestsrv certbot lego uacme python3);
}

# new(FOLDER, days => 90: how long its certificates last, blocked => [domains
# it issues nothing for]).
sub new {
	my ($class, $folder, %o) = @_;
	mkdir $folder or die "$folder: $!";
	my $self = bless { folder => $folder, owner => $$, pids => [],
		(map { ($_ => free_port()) } qw(acme manage http tls dns txt)), %o },
	    $class;
	my $authority = Sallyport::Certs->authority($folder, 'directory');
	@$self{qw(cert key)} = $authority->issue('pebble', ip => ['127.0.0.1']);
	$self->{ca} = $authority->file;
	$self->{directory} = "https://127.0.0.1:$self->{acme}/dir";
	$self->start;
	return $self;
}

# Names resolve to 127.0.0.1.
sub start {
	my ($self) = @_;
	spew("$self->{folder}/pebble.json", encode_json({ pebble => {
		listenAddress => "127.0.0.1:$self->{acme}",
		managementListenAddress => "127.0.0.1:$self->{manage}",
		certificate => $self->{cert}, privateKey => $self->{key},
		httpPort => 0 + $self->{http}, tlsPort => 0 + $self->{tls},
		certificateValidityPeriod => 86400 * ($self->{days} // 90),
		domainBlocklist => $self->{blocked} // [] } }));
	$self->background({}, 'pebble-challtestsrv', '-defaultIPv4', '127.0.0.1',
		'-defaultIPv6', '', '-dns01', "127.0.0.1:$self->{dns}",
		'-http01', '', '-https01', '', '-tlsalpn01', '',
		'-management', "127.0.0.1:$self->{txt}") if !$self->{has_dns}++;
	$self->{server} = $self->background({ PEBBLE_VA_NOSLEEP => 1,
		PEBBLE_WFE_NONCEREJECT => 0, PEBBLE_AUTHZREUSE => 0 }, 'pebble',
		'-config', "$self->{folder}/pebble.json", '-strict=false',
		'-dnsserver', "127.0.0.1:$self->{dns}");
	wait_until { $self->get($self->{directory}) } 60
	    or die 'pebble does not answer: ' . slurp("$self->{folder}/pebble.log");
}

# Only the ACME server; another start() has forgotten all accounts.
sub stop {
	my ($self) = @_;
	$self->end('server');
}

sub end {
	my ($self, $which) = @_;
	my $pid = delete $self->{$which} or return;
	kill KILL => $pid;
	waitpid $pid, 0;
	$self->{pids} = [grep { $_ != $pid } @{ $self->{pids} }];
}

sub background {
	my ($self, $env, @command) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$self->{folder}/$command[0].log";
		open STDERR, '>&', \*STDOUT;
		@ENV{ keys %$env } = values %$env;
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	push @{ $self->{pids} }, $pid;
	return $pid;
}

sub get {
	my ($self, $url) = @_;
	my $got = HTTP::Tiny->new(timeout => 5, verify_SSL => 1,
		SSL_options => { SSL_ca_file => $self->{ca} })->get($url);
	return $got->{success} ? $got->{content} : undef;
}

# A web server for webroot challenges; its folder.  While it runs no client
# can have the port.
sub webroot {
	my ($self) = @_;
	my $folder = "$self->{folder}/www";
	return $folder if $self->{web};
	mkdir $folder;
	$self->{web} = $self->background({}, 'python3', '-m', 'http.server', '--bind',
		'127.0.0.1', '--directory', $folder, $self->{http});
	wait_until { HTTP::Tiny->new->get("http://127.0.0.1:$self->{http}/")->{success} } 60
	    or die 'no web server: ' . slurp("$self->{folder}/python3.log");
	return $folder;
}

sub webroot_end {
	my ($self) = @_;
	$self->end('web');
}

# Variables with which certbot and lego trust the server.
sub environment {
	my ($self) = @_;
	return (REQUESTS_CA_BUNDLE => $self->{ca}, LEGO_CA_CERTIFICATES => $self->{ca});
}

# The command, run where the system's anchors are the server's: uacme knows
# no other ones.  Empty if that cannot be had here.
sub trusting {
	my ($self, @command) = @_;
	my @before = ('unshare', is_root() ? '-m' : '-rm', 'sh', '-c',
		'mount --bind "$1" /etc/ssl/certs/ca-certificates.crt && shift && exec "$@"',
		'sh', $self->{ca});
	my ($status) = run({}, @before, 'true');
	return $status ? () : (@before, @command);
}

# A DNS hook as "cert acme --dns-hook" calls it.
sub dns_hook {
	my ($self, $file) = @_;
	spew($file, <<"E");
#!/bin/sh
echo "\$*" >>'$self->{folder}/hook.log'
case \$1 in
present) exec curl -sSf -d "{\\"host\\":\\"\$2\\",\\"value\\":\\"\$3\\"}" \\
	http://127.0.0.1:$self->{txt}/set-txt;;
cleanup) exec curl -sSf -d "{\\"host\\":\\"\$2\\"}" \\
	http://127.0.0.1:$self->{txt}/clear-txt;;
esac
exit 1
E
	chmod 0755, $file;
	return $file;
}

sub hook_log {
	my ($self) = @_;
	return slurp("$self->{folder}/hook.log");
}

sub DESTROY {
	my ($self) = @_;
	local ($?, $@);
	return if $self->{owner} != $$;
	kill KILL => $_ for @{ $self->{pids} };
	waitpid $_, 0 for @{ $self->{pids} };
}

1;
