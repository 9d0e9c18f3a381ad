# Mail servers of others, as Debian has them, to relay through us.  They are
# never installed: their packages are fetched into the build folder and unpacked
# into a root folder of their own, where they run by chroot(2).
package Sallyport::Unpacked;

use strict;
use warnings;
use Cwd qw(getcwd);
use Sallyport::Test;

# Why there can be none here, or undef.  A kind says which packages() it needs.
sub unavailable {
	my ($class) = @_;
	return 'only root can run programs in a root folder of their own'
	    if !is_root();
	for (qw(apt-get dpkg-deb mknod)) {
		return "$_ is missing" if !in_path($_);
	}
	return 'devices in a root folder of its own are not allowed here'
	    if !has_devices();
	return $class->fetch;
}

# Containers may forbid to make them, mounts to open them.
sub has_devices {
	my $null = scratch() . '/null';
	my ($status) = run({}, 'mknod', $null, 'c', 1, 3);
	return $status == 0 && open my $device, '<', $null;
}

# Where the packages of a kind are.
sub folder {
	my ($class) = @_;
	my ($name) = lc((ref $class || $class) =~ s/.*:://r);
	return build_folder() . "/$name";
}

# The packages, once for each build folder; why they are not there, or undef.
sub fetch {
	my ($class) = @_;
	my $folder = $class->folder;
	return if -e "$folder/fetched";
	run({}, 'mkdir', '-p', $folder);
	my $home = getcwd();
	chdir $folder or return "$folder: $!";
	my @download = ('apt-get', '-qq', '-o', 'APT::Sandbox::User=root',
		'download', $class->packages);
	my ($status, $out, $err) = run({ timeout => 300 }, @download);
	if ($status) { # perhaps there are no lists yet, or old ones
		run({ timeout => 300 }, 'apt-get', '-qq', 'update');
		($status, $out, $err) = run({ timeout => 300 }, @download);
	}
	chdir $home or die "$home: $!";
	if ($status) {
		my ($said) = grep { /^E:/ } split /\n/, $err;
		return "apt-get cannot fetch $folder: " . ($said // $status);
	}
	spew("$folder/fetched", '');
	return;
}

# An identity that nobody on this machine has, nor the one after it.
sub free_id {
	my ($id) = grep { my $id = $_;
		!grep { getpwuid $_ || getgrgid $_ } $id, $id + 1
	} 61234 .. 61999;
	return $id // die "no free user id\n";
}

sub inside {
	my ($self, $path) = @_;
	return $self->{root} . $path;
}

# All packages into the root folder.
sub unpack_all {
	my ($self) = @_;
	mkdir $self->{root} or die "$self->{root}: $!";
	for (glob $self->folder . '/*.deb') {
		my ($status, $out, $err) = run({}, 'dpkg-deb', '-x', $_,
			$self->{root});
		die "dpkg-deb -x $_: $err" if $status;
	}
}

sub devices {
	my ($self) = @_;
	run({}, 'mkdir', '-p', $self->inside('/dev'));
	for (['null', 3], ['urandom', 9]) {
		my ($status, $out, $err) = run({}, 'mknod', '-m', '666',
			$self->inside("/dev/$_->[0]"), 'c', 1, $_->[1]);
		die "mknod: $err" if $status;
	}
}

1;
