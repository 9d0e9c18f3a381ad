# DNS zones, signed and otherwise, served by a real nsd on a loopback port.
package Sallyport::Zone;

use strict;
use warnings;
use Digest::SHA qw(sha256_hex sha512_hex);
use IO::Select;
use IO::Socket::IP;
use MIME::Base64;
use POSIX ();
use Sallyport::Test;
use Test::More;

# What has to be installed; the names of what is missing.
sub missing {
	return grep { !in_path($_) && !-x "/usr/sbin/$_" }
	    qw(nsd ldns-keygen ldns-signzone);
}

# new(FOLDER); then zone() for each, children before their parents, then
# start().
sub new {
	my ($class, $folder) = @_;
	mkdir $folder or die "$folder: $!";
	chmod 0755, $folder;
	return bless { folder => $folder, owner => $$, zones => [] }, $class;
}

# zone(NAME, records => zone file lines that count from NAME, signed => 0:
# not, nor has the parent a DS for it, expired => 1: signatures of last year,
# forge => sub that changes the signed text in $_).  All zones made before
# whose names end in NAME are delegated.
sub zone {
	my ($self, $name, %o) = @_;
	my $zone = { name => $name, signed => $o{signed} // 1,
		file => "$self->{folder}/$name" };
	spew("$zone->{file}.text", "\$ORIGIN $name.\n\$TTL 60\n"
	    . '@ SOA ns hostmaster ' . time . " 3600 600 86400 5\n"
	    . "@ NS ns\nns A 127.0.0.1\n"
	    . join('', map { $self->delegation($name, $_) } @{ $self->{zones} })
	    . ($o{records} // ''));
	my $text = slurp("$zone->{file}.text");
	$text = $self->sign($zone, %o) if $zone->{signed};
	for ($text) {
		$o{forge}->() if $o{forge};
	}
	spew($zone->{file}, $text);
	push @{ $self->{zones} }, $zone;
	return $zone;
}

sub delegation {
	my ($self, $parent, $child) = @_;
	return '' if $child->{name} !~ /\.\Q$parent\E\z/;
	return "$child->{name}. NS ns\n"
	    . ($child->{signed} ? slurp("$child->{key}.ds") =~ s/\tIN\t/ /r
		: '');
}

# The zone's text with a new key and its signatures.
sub sign {
	my ($self, $zone, %o) = @_;
	my ($status, $out, $err) = run({}, '/bin/sh', '-c',
		'cd "$1" && exec ldns-keygen -a ECDSAP256SHA256 -k'
		. ' -r /dev/urandom "$2"', 'sh', $self->{folder}, $zone->{name});
	die "ldns-keygen: $err" if $status;
	chomp(my $key = $out);
	$zone->{key} = "$self->{folder}/$key";
	my @dates = $o{expired} ? (-i => 20240101000000, -e => 20240201000000)
	    : (-i => time - 86400, -e => time + 30 * 86400);
	($status, $out, $err) = run({}, 'ldns-signzone', @dates,
		'-o', $zone->{name}, '-f', "$zone->{file}.signed",
		"$zone->{file}.text", $zone->{key});
	die "ldns-signzone: $err" if $status;
	return slurp("$zone->{file}.signed");
}

sub start {
	my ($self) = @_;
	# Somebody may take the port between asking for it and using it.
	for (1 .. 5) {
		$self->{port} = free_port();
		$self->run_nsd;
		return $self if wait_until { $self->ended || $self->answers } 10
		    and $self->{pid};
		$self->stop;
	}
	diag("nsd: $_") for split /\n/, slurp("$self->{folder}/log");
	die "nsd does not start\n";
}

sub run_nsd {
	my ($self) = @_;
	my $folder = $self->{folder};
	spew("$folder/nsd.conf", <<"END" . join '', map {
server:
	ip-address: 127.0.0.1\@$self->{port}
	server-count: 1
	username: ""
	chroot: ""
	database: ""
	zonesdir: "$folder"
	pidfile: "$folder/nsd.pid"
	logfile: "$folder/log"
	xfrdfile: "$folder/xfrd.state"
	xfrdir: "$folder"
	zonelistfile: "$folder/zone.list"
	rrl-ratelimit: 0
remote-control:
	control-enable: no
END
		"zone:\n\tname: $_->{name}\n\tzonefile: \"$_->{file}\"\n"
	} @{ $self->{zones} });
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$folder/log";
		open STDERR, '>&', \*STDOUT;
		local $ENV{PATH} = "$ENV{PATH}:/usr/sbin";
		exec 'nsd', '-d', '-c', "$folder/nsd.conf" or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
}

sub ended {
	my ($self) = @_;
	return 0 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
	delete $self->{pid};
	return 1;
}

# Does it answer for the first zone's SOA record?
sub answers {
	my ($self) = @_;
	my $socket = IO::Socket::IP->new(Proto => 'udp',
		PeerHost => '127.0.0.1', PeerPort => $self->{port}) or return;
	my $query = pack('n6', 0x1234, 0, 1, 0, 0, 0)
	    . join('', map { pack 'C/a*', $_ }
		split /\./, $self->{zones}[0]{name})
	    . pack('Cnn', 0, 6, 1);
	send $socket, $query, 0 or return;
	IO::Select->new($socket)->can_read(0.2) or return;
	return if !defined recv $socket, my $answer, 512, 0;
	my ($id, $flags, undef, $count) = unpack 'n4', $answer;
	return $id == 0x1234 && ($flags & 0x840f) == 0x8400 && $count > 0;
}

sub stop {
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill TERM => $pid;
	waitpid $pid, 0;
}

sub DESTROY {
	my ($self) = @_;
	local $?;
	$self->stop if $self->{owner} == $$;
}

# The value of option resolvers.
sub resolvers {
	my ($self) = @_;
	return qq({ "127.0.0.1:$self->{port}" });
}

# The file for option trust-anchor: the key of the topmost zone, which was
# made last.
sub trust_anchor {
	my ($self) = @_;
	return "$self->{zones}[-1]{key}.key";
}

# A TLSA record about the first certificate in a PEM file.
sub tlsa {
	my ($class, $file, $usage, $selector, $matching) = @_;
	my ($status, $pem, $err) = run({}, 'openssl', 'x509', '-in', $file,
		$selector ? ('-pubkey', '-noout') : ());
	die "openssl x509: $err" if $status;
	$pem =~ s/-----[A-Z ]+-----//g;
	my $octets = decode_base64($pem);
	my $data = $matching == 0 ? unpack('H*', $octets)
	    : $matching == 1 ? sha256_hex($octets) : sha512_hex($octets);
	return "TLSA $usage $selector $matching $data";
}

1;
