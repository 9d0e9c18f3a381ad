# The disk as a power loss would have left it, from what t/preload/record.c
# wrote down.
#
# At any moment it is certain what a completed sync covers: of a file what was
# written before an fsync or fdatasync of it began, of a folder the names made,
# moved or taken away before an fsync of it began.  Everything later may be on
# the disk or not: all of it lost, all of it kept, or any part, the data in
# blocks of 4096 octets of which one may be torn.
package Sallyport::PowerLoss;

use strict;
use warnings;
use Sallyport::Test;

my $entry_octets = 4 + 1 + 3 + 8 + 8 + 8 + 4;
my $block = 4096;

# new(record => FILE, folders => { inode => name of a folder }).
sub new {
	my ($class, %o) = @_;
	my $self = bless { %o, octets => slurp($o{record}), entries => [] },
	    $class;
	my ($at, $end) = (0, length $self->{octets});
	while ($at + $entry_octets <= $end) {
		my ($magic, $kind, $inode, $where, $too, $len) = unpack
		    'a4 a1 x3 Q< Q< Q< V', substr $self->{octets}, $at,
		    $entry_octets;
		my $next = $at + $entry_octets + ($len // 0);
		# A process that is killed can leave a part of an entry.
		if ($magic ne 'REC:' || $next > $end || $next < $end
			&& substr($self->{octets}, $next, 4) ne 'REC:') {
			$at = index $self->{octets}, 'REC:', $at + 1;
			last if $at < 0;
			next;
		}
		push @{ $self->{entries} }, { kind => $kind, inode => $inode,
			where => $where, too => $too, at => $at + $entry_octets,
			len => $len };
		$at = $next;
	}
	$self->rewind;
	return $self;
}

sub count {
	return scalar @{ $_[0]{entries} };
}

# Back to the beginning, when the folders were empty.
sub rewind {
	my ($self) = @_;
	$self->{next} = 0;
	$self->{files} = {};  # by inode: { sure => octets, later => [entries] }
	$self->{syncs} = {};  # by thread: what it will make certain
	$self->{names} = {};  # certain: folder => { name => file }
	$self->{now} = {};    # the same as the processes saw it
	$self->{moves} = [];  # of names, not certain yet
	$self->{acked} = [];
	$self->{kept} = [];
}

sub payload {
	my ($self, $entry) = @_;
	return substr $self->{octets}, $entry->{at}, $entry->{len};
}

# Octets of a file after one of its entries.
sub written {
	my ($self, $octets, $entry) = @_;
	if ($entry->{kind} eq 'T') {
		my $size = $entry->{where};
		return length $octets > $size ? substr $octets, 0, $size
		    : $octets . "\0" x ($size - length $octets);
	}
	my $gap = $entry->{where} - length $octets;
	$octets .= "\0" x $gap if $gap > 0;
	substr $octets, $entry->{where}, $entry->{len}, $self->payload($entry);
	return $octets;
}

# A name that appears (file), or goes (file undef), or both.
sub move {
	my ($names, $move) = @_;
	delete $names->{ $move->{from} }{ $move->{name} } if defined $move->{from};
	$names->{ $move->{to} }{ $move->{new} } = $move->{file}
	    if defined $move->{to} && $move->{file};
}

sub note_move {
	my ($self, %move) = @_;
	push @{ $self->{moves} }, \%move;
	move($self->{now}, \%move);
}

sub sync_began {
	my ($self, $entry) = @_;
	my $file = $self->{files}{ $entry->{inode} };
	$self->{syncs}{ $entry->{where} } = $self->{folders}{ $entry->{inode} }
	    ? { folder => $self->{folders}{ $entry->{inode} },
		moves => [@{ $self->{moves} }] }
	    : { file => $file, later => [$file ? @{ $file->{later} } : ()] };
}

sub sync_ended {
	my ($self, $entry) = @_;
	my $sync = delete $self->{syncs}{ $entry->{where} } or return;
	my %done;
	if (my $file = $sync->{file}) {
		for my $write (grep { !$_->{sure} } @{ $sync->{later} }) {
			$file->{sure} = $self->written($file->{sure}, $write);
			$write->{sure} = 1;
		}
		$file->{later} = [grep { !$_->{sure} } @{ $file->{later} }];
		return;
	}
	return if !$sync->{moves};
	my $folder = $sync->{folder};
	for my $move (grep { !$_->{sure} && grep { defined && $_ eq $folder }
		@$_{qw(from to)} } @{ $sync->{moves} }) {
		move($self->{names}, $move);
		$move->{sure} = 1;
	}
	$self->{moves} = [grep { !$_->{sure} } @{ $self->{moves} }];
}

sub step {
	my ($self, $entry) = @_;
	my ($kind, $folders) = ($entry->{kind}, $self->{folders});
	if ($kind eq 'C') {
		my $folder = $folders->{ $entry->{where} } // return;
		# A number comes again once its file is gone.
		my $file = $self->{files}{ $entry->{inode} } =
		    { sure => '', later => [] };
		$self->note_move(to => $folder, new => $self->payload($entry),
			file => $file);
	} elsif ($kind eq 'U') {
		my $folder = $folders->{ $entry->{where} } // return;
		$self->note_move(from => $folder,
			name => $self->payload($entry));
	} elsif ($kind eq 'R') {
		my ($from, $to) = map { $folders->{$_} } @$entry{qw(where too)};
		return if !defined $from || !defined $to;
		my ($name, $new) = split /\0/, $self->payload($entry);
		$self->note_move(from => $from, name => $name, to => $to,
			new => $new, file => $self->{now}{$from}{$name});
	} elsif ($kind eq 'W' || $kind eq 'T') {
		my $file = $self->{files}{ $entry->{inode} } or return;
		push @{ $file->{later} }, { %$entry };
	} elsif ($kind eq 'S') {
		$self->sync_began($entry);
	} elsif ($kind eq 'E') {
		$self->sync_ended($entry) if !$self->{deaf};
	} elsif ($kind eq 'A') {
		push @{ $self->{acked} }, $self->payload($entry);
	} elsif ($kind eq 'D') {
		push @{ $self->{kept} }, $self->payload($entry);
	}
}

# Go on until so many entries have happened.
sub advance {
	my ($self, $count) = @_;
	while ($self->{next} < $count) {
		$self->step($self->{entries}[$self->{next}++]);
	}
}

# Any part of what was not synced, block by block; then the octets.
sub some_of {
	my ($self, $file) = @_;
	my $octets = $file->{sure};
	for my $entry (@{ $file->{later} }) {
		if ($entry->{kind} eq 'T') {
			$octets = $self->written($octets, $entry)
			    if rand(2) < 1;
			next;
		}
		my ($at, $end) = ($entry->{where},
			$entry->{where} + $entry->{len});
		while ($at < $end) {
			my $next = $at - $at % $block + $block;
			$next = $end if $next > $end;
			my $fate = rand 5;
			# A torn block has its first octets only.
			my $len = $fate < 2 ? 0 : $fate < 4 ? $next - $at
			    : int rand($next - $at);
			my %part = (%$entry, where => $at, len => $len,
				at => $entry->{at} + $at - $entry->{where});
			$octets = $self->written($octets, \%part) if $len;
			$at = $next;
		}
		# The size may be there without the data.
		$octets .= "\0" x ($end - length $octets)
		    if rand(4) < 1 && length $octets < $end;
	}
	return $octets;
}

# The folders as they may be after a power loss now: { folder => { name =>
# octets } }; how: lost, kept or some.
sub image {
	my ($self, $how) = @_;
	my %names = map { $_ => { %{ $self->{names}{$_} } } }
	    keys %{ $self->{names} };
	for my $move ($how eq 'lost' ? () : @{ $self->{moves} }) {
		move(\%names, $move) if $how eq 'kept' || rand(2) < 1;
	}
	my %image;
	for my $folder (keys %names) {
		for my $name (keys %{ $names{$folder} }) {
			my $file = $names{$folder}{$name};
			my $octets = $file->{sure};
			if ($how eq 'kept') {
				$octets = $self->written($octets, $_)
				    for @{ $file->{later} };
			} elsif ($how eq 'some') {
				$octets = $self->some_of($file);
			}
			$image{$folder}{$name} = $octets;
		}
	}
	return \%image;
}

1;
