# A disk that fails on command: t/preload/disk.c in a running server.
package Sallyport::Disk;

use strict;
use warnings;
use Sallyport::Test;

my $page = 4096;

# new(scratch folder)
sub new {
	my ($class, $folder) = @_;
	my $self = bless { file => "$folder/disk" }, $class;
	spew($self->{file}, "\0" x (2 * $page));
	# Roles open it before they change their user.
	chmod 0666, $self->{file};
	return $self;
}

# What a server is to be started with.
sub env {
	my ($self) = @_;
	my $preload = build_folder() . '/t/preload/disk.so';
	-e $preload or die "$preload: not built";
	if (sanitized()) {
		chomp(my $asan = `gcc -print-file-name=libasan.so`);
		$preload = "$asan $preload";
	}
	return { LD_PRELOAD => $preload, SALLYPORT_TEST_DISK => $self->{file} };
}

# From now on these rules hold, and no others; calls are counted anew.
sub fails {
	my ($self, @rules) = @_;
	my $text = join "\n", @rules;
	length $text < $page or die 'too many rules';
	open my $f, '+<:raw', $self->{file} or die "$self->{file}: $!";
	# Never half of one and half of another.
	syswrite $f, "\0" x (2 * $page) or die "$self->{file}: $!";
	sysseek $f, 0, 0;
	syswrite $f, $text if @rules;
	close $f;
}

sub well {
	my ($self) = @_;
	$self->fails;
}

# How many calls the rules have fitted.
sub fitted {
	my ($self) = @_;
	my $sum = 0;
	$sum += $_ for unpack 'L*', substr slurp($self->{file}), $page;
	return $sum;
}

1;
