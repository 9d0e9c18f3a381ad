#!/usr/bin/perl
# Real small file systems under DIR/state: filled up by mail and by somebody
# else, read-only for a while, and well again, all without a restart.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

plan skip_all => 'needs root to mount' unless is_root();

my $mebibyte = 1024 * 1024;
my @mounted;

# Whatever is mounted yet, before the scratch folder goes.
END {
	local $?;
	system 'umount', '-l', $_ for reverse @mounted;
}

sub eventually {
	my ($is, $name) = @_;
	return ok(&wait_until($is, 60), $name);
}

sub ran {
	my ($status) = run({}, @_);
	return $status == 0;
}

sub mount_tmpfs {
	my ($folder, $scratch) = @_;
	return ran('mount', '-t', 'tmpfs', '-o', 'size=8m,mode=0755', 'none',
		$folder);
}

sub mount_ext4 {
	my ($folder, $scratch) = @_;
	my $image = "$scratch/image";
	open my $f, '>', $image or die "$image: $!";
	truncate $f, 16 * $mebibyte;
	close $f;
	return ran('mkfs.ext4', '-q', '-m', '0', $image)
	    && ran('mount', '-o', 'loop', $image, $folder);
}

# All room goes; the rest of the octets too.
sub fill {
	my ($file) = @_;
	open my $f, '>>:raw', $file or die "$file: $!";
	$f->autoflush(1);
	for my $piece (64 * 1024, 1024) {
		1 while syswrite $f, 'x' x $piece;
	}
	close $f;
}

sub try_it {
	my ($name, $mount) = @_;
	my $scratch = scratch();
	my $i = Sallyport::Instance->new(scratch => $scratch, start => 0,
		options => { 'spool-reserve' => '"2M"', 'retry-first' => '"1s"',
			'retry-most' => '"1s"' });
	my $state = "$i->{folder}/state";
	rename $state, "$state.before" or die "$state: $!";
	mkdir $state;
	if (!$mount->($state, $scratch)) {
		return plan skip_all => 'cannot be mounted here';
	}
	push @mounted, $state;
	ran('cp', '-a', "$state.before/.", "$state/") or die "cp: $!";
	$i->start;
	my (%accepted, %refused);
	my $submit = sub {
		my ($size, %o) = @_;
		my $id = "$name-" . (keys(%accepted) + keys(%refused) + 1);
		my $client = $i->authenticated;
		my $line = 'x' x 62 . "\r\n";
		my $body = $line x ($size / length $line);
		my $reply = $client->transaction(message(id => $id,
			body => $body), %o);
		$client->close;
		($reply =~ /^250 / ? \%accepted : \%refused)->{$id} = 1;
		return $reply;
	};
	my $arrived = sub {
		my %have = map { /^Message-ID: <([^\@]+)\@/m ? ($1 => 1) : () }
		    $i->{smarthost}->messages;
		return \%have;
	};
	my $all_arrived = sub {
		return wait_until {
			my $have = $arrived->();
			!grep { !$have->{$_} } keys %accepted
		} 60;
	};
	my $accepted_again = sub {
		return wait_until { $submit->(1024) =~ /^250 / } 60;
	};
	my $no_space = qr/^452 4\.3\.1 /;

	# Nothing leaves: what is accepted stays on the disk.
	$i->{smarthost}->fault(connect => '421 4.3.2 later');
	like($submit->(1024), qr/^250 /, 'accepted');
	like($submit->(1024, mail => ' SIZE=' . 40 * $mebibyte), $no_space,
	    'SIZE= says at MAIL that it will not fit');
	my $reply;
	for (1 .. 200) {
		$reply = $submit->(300 * 1024);
		last if $reply !~ /^250 /;
	}
	like($reply, $no_space, 'full of mail');
	cmp_ok(scalar keys %accepted, '>', 5, 'after some of them');
	my $free = $i->status->{roles}{session}{spool}{free};
	cmp_ok($free, '>', 1.5 * $mebibyte, 'the reserve is left alone');

	# And now it is really full.
	fill("$state/foreign");
	# What is left of a block may take another one; free space is looked at
	# once a second.
	eventually(sub { $submit->(1024) =~ $no_space }, 'full');
	like($submit->(1024), $no_space, 'and again');
	ok($i->logged(qr/ alarm spool room=low /, 30), 'alarm');
	is($i->status->{roles}{session}{spool}{disk} =~ /low|failing/, 1,
	    'status says so');
	my $room = wait_until {
		open my $f, '+<', "$state/foreign" or return;
		# What recording deliveries takes: the reserve is there for it.
		truncate $f, (-s "$state/foreign") - $mebibyte;
	} 5;
	ok($room, 'a mebibyte of the reserve is back');
	like($submit->(1024), $no_space, 'not for new mail');
	$i->{smarthost}->fault;
	ok($all_arrived->(), 'but to record what is delivered');
	eventually(sub { !$i->queue }, 'the queue is empty');
	unlink "$state/foreign";
	ok($accepted_again->(), 'accepted again without a restart');
	ok($i->logged(qr/ spool room=recovered/, 60), 'the end is told');
	my @alarms = $i->log_lines(qr/ alarm spool room=low /);
	my @ends = $i->log_lines(qr/ spool room=recovered/);
	is(scalar @alarms, scalar @ends, 'as often as it began');
	cmp_ok(scalar @alarms, '<=', 3, 'no flood');

	# Big files of delivered mail have gone with their messages.
	eventually(sub { my @large = glob "$state/run/in/*.m*"; !@large },
	    'what was delivered is gone from the disk');
	my $have = $arrived->();
	is_deeply([grep { $have->{$_} } sort keys %refused], [],
	    'nothing that was refused has arrived');

	# Read-only.  Files that are written keep a file system from that, so
	# that all of it is made read-only at the next start, and well again.
	$i->stop_ok;
	ok(ran('mount', '-o', 'remount,ro', $state), 'read-only');
	ok(!$i->start(may_fail => 1), 'a start on it says no');
	ok($i->logged(qr/[Rr]ead-only file system/, 5), 'and why');
	ok(ran('mount', '-o', 'remount,rw', $state), 'writable again');
	$i->start;
	like($submit->(1024), qr/^250 /, 'accepted');
	ok($all_arrived->(), 'delivered');
	$i->stop_ok;
	ok(ran('umount', $state), 'nothing holds it any more');
	pop @mounted;
}

subtest 'tmpfs' => sub { try_it('tmpfs', \&mount_tmpfs) };
subtest 'ext4' => sub { try_it('ext4', \&mount_ext4) };
done_testing;
