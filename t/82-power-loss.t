#!/usr/bin/perl
# Power lost at many moments of a run under load, in which roles were killed
# too: what every image of the disk that a power loss may leave holds of the
# messages acknowledged before.
#
# The files are written down as they change (t/preload/record.c) and put
# together again as of each moment, with all that no sync covers lost, kept,
# and kept in part (Sallyport::PowerLoss).  Of most images the queue is listed,
# from some a server is started and delivers.
#
# TORTURE_ROUNDS makes it longer (make torture), TORTURE_SEED gives the drawn
# numbers again.
use strict;
use warnings;
use lib 't/lib';
use File::Path qw(remove_tree);
use IO::Handle;
use Sallyport::Instance;
use Sallyport::PowerLoss;
use Sallyport::Submitter;
use Sallyport::Test;
use Sallyport::Torture;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = ($ENV{TORTURE_ROUNDS} // 0) > 6;
my ($moments, $starts) = $long ? (600, 40) : sanitized() ? (12, 2) : (60, 5);
my $seed = $ENV{TORTURE_SEED} // int rand 1_000_000;
diag("$moments moments, TORTURE_SEED=$seed");
srand $seed;

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"',
		'auth-failure-delay' => '"100ms"' });
my $smarthost = $instance->{smarthost};
my $record = "$instance->{scratch}/record";
my $state = "$instance->{folder}/state/run";
spew($record, '');
$smarthost->set(brief => 'yes', record => $record,
	fault => { "rcpt=$Sallyport::Torture::gone" => '550 5.1.1 no such person' });

my $preload = build_folder() . '/t/preload/record.so';
if (sanitized()) {
	my ($status, $asan) = run({}, 'cc', '-print-file-name=libasan.so');
	$preload = ($asan =~ s/\s+\z//r) . " $preload";
}
my %env = (LD_PRELOAD => $preload, SALLYPORT_RECORD => $record);

# The client's side of the record.
sub note_acked {
	my ($line) = @_;
	return if $line !~ /^acked /;
	open my $f, '>>', $record or die "$record: $!";
	syswrite $f, pack('a4 a1 x3 Q< Q< Q< V a*', 'REC:', 'A', 0, 0, 0,
		length $line, $line);
}

# A run under load.
$instance->start(env => \%env);
my $submitter = Sallyport::Submitter->new(instance => $instance, count => 3,
	pause => 0.02, folder => $instance->{scratch}, said => \&note_acked, make => sub {
		my ($n, $serial) = @_;
		srand($seed + 1000 * $n) if $serial == 1;
		my $one = torture_message("power-$n-$serial");
		# Nobody whose reports are refused.
		$one->{from} = 'alice@example.org';
		return $one;
	});
sub more_acked {
	my ($more) = @_;
	my $before = $submitter->acked;
	wait_until { $submitter->acked >= $before + $more } 60
	    or BAIL_OUT('nothing is acknowledged');
}
more_acked(20);
for my $role (qw(session relay)) {
	# What is not delivered at once stays over the kill.
	$smarthost->set(mischief => '60 1') if $role eq 'relay';
	more_acked(20);
	my $pid = $instance->roles->{$role};
	kill KILL => $pid;
	wait_until { ($instance->roles->{$role} // $pid) != $pid } 30;
	more_acked(20);
	$smarthost->set(mischief => undef);
}
more_acked(20);
is($submitter->stop, 0, 'no sender died');
sleep 1;
my %folders = map { (stat "$state/$_->[0]")[1] => $_->[1] } ['in', 'in'],
    ['relay', 'relay'], ['relay/damaged', 'damaged'];
ok($instance->stop, 'SIGTERM: exit status 0');

my $disk = Sallyport::PowerLoss->new(record => $record, folders => \%folders);
my %kind;
$kind{ $_->{kind} }++ for @{ $disk->{entries} };
diag(join ' ', 'recorded:', map { "$_=$kind{$_}" } sort keys %kind);
ok(!(grep { !$kind{$_} } qw(C W S E U A D)), 'all kinds of operations are recorded');

# A second instance whose spool is the image.
my $copy = "$instance->{scratch}/image";
system('cp', '-a', $instance->{folder}, $copy) == 0 or BAIL_OUT('cp');
my $image = bless { %$instance, folder => $copy, conf => "$copy/sallyport.conf",
	log => "$instance->{scratch}/image.log" }, 'Sallyport::Instance';

sub write_image {
	my ($files) = @_;
	my %path = (in => 'in', relay => 'relay', damaged => 'relay/damaged');
	for my $folder (qw(in relay damaged)) {
		my $path = "$copy/state/run/$path{$folder}";
		my @st = stat $path;
		unlink grep { -f } glob "$path/*";
		for my $name (keys %{ $files->{$folder} // {} }) {
			spew("$path/$name", $files->{$folder}{$name});
			chmod $folder eq 'in' ? 0640 : 0600, "$path/$name";
			chown $st[4], $st[5], "$path/$name" if is_root();
		}
	}
}

# Which recipients the smarthost had, { "id recipient" => 1 }, by file.
my %kept;
for my $event ($smarthost->events('message')) {
	my $octets = slurp("$smarthost->{folder}/Maildir/new/$event->{file}");
	my @ids = $octets =~ /^Message-ID: <(power-[^\@>]+)\@example\.org>/mg;
	$kept{ $event->{file} } = [map { "$ids[-1] $_" } $event->{from} eq ''
	    ? $octets =~ /^Final-Recipient: rfc822; ?(\S+)\r\nAction: failed/mg
	    : @{ $event->{to} }];
}

# { "id recipient" => queue id } of what is owed: acknowledged, and not kept
# by the smarthost.
sub owed {
	my %owed;
	for my $line (@{ $disk->{acked} }) {
		my (undef, $id, $queue) = split ' ', $line;
		$owed{"$id $_"} = $queue for torture_recipients($id);
	}
	delete @owed{ @{ $kept{$_} // [] } } for @{ $disk->{kept} };
	return %owed;
}

my %done; # "id recipient" that no later image may bring back
my %trouble = (lost => 0, 'brought back' => 0, damage => 0, unreadable => 0);
my $looked = 0;

# List the queue of the image; true if all is as it has to be.
sub look {
	my ($how, $quiet) = @_;
	my ($status, $out, $err) = $image->tool('queue', 'list', '--json');
	my $list = eval { JSON::PP::decode_json($out) };
	my %bad = map { $_ => [] } keys %trouble;
	push @{ $bad{unreadable} }, "exit status $status: $err"
	    if $status || !$list;
	my %has = map { $_->{queue} => { map { $_ => 1 } @{ $_->{recipients} } } }
	    @{ $list // [] };
	my %owed = owed();
	for my $key (sort keys %owed) {
		my ($id, $to) = split ' ', $key;
		# A report of it is another message: starts look for those.
		next if $to eq $Sallyport::Torture::gone;
		push @{ $bad{lost} }, $key if !$has{ $owed{$key} }{$to};
	}
	for my $line (@{ $disk->{acked} }) {
		my (undef, $id, $queue) = split ' ', $line;
		for my $key (map { "$id $_" } torture_recipients($id)) {
			my $pending = $has{$queue}{ (split ' ', $key)[1] };
			push @{ $bad{'brought back'} }, $key
			    if $pending && $done{$key};
			$done{$key} = 1 if $how eq 'lost' && !$pending && !$quiet;
		}
	}
	push @{ $bad{damage} }, $err if $err =~ /damaged/;
	return !grep { @$_ } values %bad if $quiet;
	$looked++;
	for my $what (grep { @{ $bad{$_} } } sort keys %bad) {
		my @some = @{ $bad{$what} };
		$trouble{$what} += @some;
		diag("moment $disk->{next}, unsynced $how: $what: "
		    . join ', ', @some[0 .. ($#some > 4 ? 4 : $#some)]);
	}
}

# A server on the image has to deliver all that is owed, and only that whole.
sub start_on {
	my ($how) = @_;
	my %owed = owed();
	my $log_before = -s $image->{log} // 0;
	$smarthost->forget;
	$image->start;
	my @left = ('?');
	my $torn = 0;
	wait_until {
		@left = grep { $_->{state} ne 'held' } $image->queue;
		!@left } 60;
	is(scalar @left, 0, "$how: a server starts and empties the queue");
	$image->stop;
	for my $event ($smarthost->events('message')) {
		my $octets = slurp("$smarthost->{folder}/Maildir/new/$event->{file}");
		my @ids = $octets =~ /^Message-ID: <(power-[^\@>]+)\@example\.org>/mg;
		my ($head, $body) = split /\r\n\r\n/, $octets, 2;
		delete @owed{ map { "$ids[-1] $_" } $event->{from} eq ''
		    ? $octets =~ /^Final-Recipient: rfc822; ?(\S+)\r\nAction: failed/mg
		    : @{ $event->{to} } };
		$torn++ if $event->{from} ne ''
		    && $body !~ /\A(?:\Q$ids[-1]\E x{50}\r\n)+\z/;
	}
	is($torn, 0, "$how: each of them is whole");
	is(join(' ', sort keys %owed), '', "$how: all that was acknowledged arrives");
	my @found = grep { / damaged |trouble=/ }
	    split /\n/, substr slurp($image->{log}), $log_before;
	is(join("\n", @found), '', "$how: no damage is found");
}

# Moments between the first message and the last entry; more of them right
# behind the acknowledgements, where most is at stake.
my ($first) = grep { $disk->{entries}[$_]{kind} eq 'A' } 0 .. $disk->count - 1;
my @acks = grep { $disk->{entries}[$_]{kind} eq 'A' } 0 .. $disk->count - 1;
my %moment = map { ($_ % 2 ? $acks[rand @acks] + 1
	: $first + int rand($disk->count - $first)) => 1 } 1 .. $moments;
my @moments = sort { $a <=> $b } keys %moment;
my %start = map { $moments[($_ + 0.5) * @moments / $starts] => 1 } 0 .. $starts - 1;
my %counted;
for my $moment (@moments) {
	$disk->advance($moment);
	$counted{acked} = scalar @{ $disk->{acked} };
	my %owed = owed();
	$counted{owed} += keys %owed;
	for my $how (qw(lost kept some)) {
		write_image($disk->image($how));
		look($how);
	}
}
diag(sprintf '%d images of %d moments, %d acknowledged in the end, %.1f '
    . 'recipients owed at a moment', $looked, scalar @moments,
    $counted{acked}, $counted{owed} / @moments);
is($trouble{lost}, 0, 'no image has lost what was acknowledged');
is($trouble{'brought back'}, 0, 'no image brings back what was done for certain');
is($trouble{damage}, 0, 'no image looks damaged');
is($trouble{unreadable}, 0, 'every image can be listed');
cmp_ok($counted{owed}, '>', 0, 'something was owed');

$disk->rewind;
my $turn = 0;
for my $moment (sort { $a <=> $b } keys %start) {
	$disk->advance($moment);
	my $how = (qw(lost some kept))[$turn++ % 3];
	write_image($disk->image($how));
	start_on($how);
}

# If no sync counted, messages would be lost: the looking is good for something.
$disk->rewind;
$disk->{deaf} = 1;
my $caught = 0;
for my $moment (@moments) {
	$disk->advance($moment);
	my %owed = owed();
	next if !%owed;
	write_image($disk->image('lost'));
	$caught = !look('lost', 1);
	last;
}
ok($caught, 'without the syncs messages would be lost');
done_testing;
