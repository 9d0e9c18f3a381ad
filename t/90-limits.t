#!/usr/bin/perl
# At its limits the server says so and goes on: connections, descriptors,
# memory for messages, disk.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Client;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

# A file system of its own needs a mount namespace of our own.
if (is_root() && !$ENV{SALLYPORT_OWN_MOUNTS}) {
	$ENV{SALLYPORT_OWN_MOUNTS} = 1;
	exec 'unshare', '-m', $^X, '-It/lib', $0
	    if system('unshare', '-m', 'true') == 0;
}

my $instance = Sallyport::Instance->new(start => 0);

sub greeting {
	my $c = Sallyport::Client->new(port => $instance->{ports}{submission},
		timeout => 10) or return 'no connection';
	return ($c->{greeting} // 'nothing', $c);
}

subtest 'sessions' => sub {
	$instance->option(sessions => 10);
	$instance->start;
	wait_until { (greeting())[0] =~ /^220/ };
	sleep 0.3;
	my @held;
	my $last;
	for (1 .. 14) {
		($last, my $c) = greeting();
		push @held, $c;
	}
	like($last, qr/^421 4\.3\.2 /, 'one too many: 421 4.3.2');
	like($held[0]->command('NOOP'), qr/^250/, 'those within live on');
	@held = ();
	ok(wait_until { (greeting())[0] =~ /^220/ }, 'when they are gone it serves again');
	$instance->stop;
	$instance->option(sessions => 1000);
};

subtest 'sessions of one client' => sub {
	$instance->option('sessions-per-client' => 5);
	$instance->start;
	sleep 0.3;
	my (@held, $last);
	for (1 .. 8) {
		($last, my $c) = greeting();
		push @held, $c;
	}
	like($last, qr/^421 4\.(?:3\.2|7\.0) /, 'one too many');
	my $other = Sallyport::Client->new(port => $instance->{ports}{submission},
		timeout => 10, local => '127.0.0.2');
	@held = ();
	ok(wait_until { (greeting())[0] =~ /^220/ }, 'later it is served again');
	$instance->stop;
	$instance->option('sessions-per-client' => 1000);
};

subtest 'descriptors' => sub {
	$instance->start(before => ['prlimit', '--nofile=100:100']);
	ok($instance->{pid}, 'it starts with 100 descriptors') or return;
	my @held = map { Sallyport::Client->new(bare => 1,
		port => $instance->{ports}{submission}) } 1 .. 150;
	sleep 1;
	my $cpu = sub { (split ' ', slurp('/proc/' . $instance->roles->{session}
		. '/stat') =~ s/.*\) //sr)[11] };
	my $before = $cpu->();
	sleep 1;
	cmp_ok($cpu->() - $before, '<', 30, 'it does not spin');
	@held = ();
	ok(wait_until { (greeting())[0] =~ /^220/ } , 'and serves again when there are some');
	my $c = $instance->authenticated;
	like($c->transaction(message()), qr/^250/, 'messages too');
	ok($instance->logged(qr/Too many open files|EMFILE|descriptors/i), 'the log says so');
	$instance->stop;
};

subtest 'memory for messages' => sub {
	$instance->option('spool-memory' => '"1M"');
	$instance->start;
	my $count = $instance->{smarthost}->count;
	my $body = join '', ('z' x 70 . "\r\n") x 2500;
	my @c = map { $instance->authenticated } 1 .. 10;
	for my $c (@c) {
		$c->command('MAIL FROM:<alice@example.org>');
		$c->command('RCPT TO:<bob@example.net>');
		$c->command('DATA');
		$c->send(message(body => $body));
	}
	for my $c (@c) {
		$c->send(".\r\n");
		like($c->reply, qr/^250/, 'beyond the budget they stream to files');
	}
	ok($instance->arrived($count + 10), 'all arrive');
	$instance->stop;
};

# Start and stop until nothing delivered is left in the spool: a file system
# that is going to hide half of it must not make the relay forget.
sub settle {
	my ($in) = @_;
	my @before = glob "$in/*";
	$instance->start;
	ok((wait_until { !grep { -e } @before } 10), 'what is delivered is gone');
	$instance->stop;
}

subtest 'disk' => sub {
	plan skip_all => 'needs root, for a small file system' if !is_root();
	my $in = "$instance->{folder}/state/run/in";
	settle($in);
	my ($mode, $uid, $gid) = (stat $in)[2, 4, 5];
	is(system('mount', '-t', 'tmpfs', '-o', sprintf(
		'size=24m,mode=%o,uid=%d,gid=%d', $mode & 07777, $uid, $gid),
		'tmpfs', $in), 0, 'a file system of 24 MiB') or return;
	$instance->option('spool-reserve' => '"1M"');
	$instance->start;
	my $c = $instance->authenticated;
	my $count = $instance->{smarthost}->count;
	like($c->transaction(message()), qr/^250/, 'with room: accepted');
	# Fill it while a message is on its way.
	my $large = $instance->authenticated;
	$large->command('MAIL FROM:<alice@example.org>');
	$large->command('RCPT TO:<bob@example.net>');
	$large->command('DATA');
	$large->send(message(body => join '', ('z' x 70 . "\r\n") x 10_000));
	my $fill = sub { system("dd if=/dev/zero of=$in/fill bs=64k 2>/dev/null") };
	$fill->();
	$large->send(join '', ('z' x 70 . "\r\n") x 30_000);
	$large->send(".\r\n");
	like($large->reply, qr/^452 4\.3\.1 /, 'full in the middle: 452 4.3.1');
	like($large->command('NOOP'), qr/^250/, 'the session lives on');
	$fill->(); # also what the refused one has given back
	sleep 1.2; # the room left is looked at once a second
	like($c->transaction(message()), qr/^452 4\.3\.1 /, 'full: 452 4.3.1');
	like($c->command('NOOP'), qr/^250/, 'the session lives on');
	unlink "$in/fill";
	sleep 1.2;
	like($c->transaction(message()), qr/^250/, 'room again: accepted');
	like($large->transaction(message()), qr/^250/, 'by the other one too');
	ok($instance->arrived($count + 3), 'what was accepted arrives');
	is($instance->{smarthost}->count, $count + 3, 'and nothing else');
	my $left = wait_until { my @f = grep { -s } glob "$in/*"; @f <= 2 } 5;
	ok($left, 'no file is left of the refused one') or diag(join ' ', glob "$in/*");
	$instance->stop;
	$fill->();
	$instance->start;
	$c = $instance->authenticated;
	like($c->transaction(message()), qr/^452 4\.3\.1 /, 'full at the start: 452 4.3.1');
	unlink "$in/fill";
	sleep 1.2;
	like($c->transaction(message()), qr/^250/, 'room again: accepted');
	ok($instance->arrived($count + 4), 'and it arrives');
	$instance->stop;
	system('umount', $in);
};

subtest "disk of the relay's log" => sub {
	plan skip_all => 'needs root, for a small file system' if !is_root();
	my $folder = "$instance->{folder}/state/run/relay";
	settle("$instance->{folder}/state/run/in");
	my ($mode, $uid, $gid) = (stat $folder)[2, 4, 5];
	is(system('mount', '-t', 'tmpfs', '-o', sprintf(
		'size=256k,mode=%o,uid=%d,gid=%d', $mode & 07777, $uid, $gid),
		'tmpfs', $folder), 0, 'a file system of 256 KiB') or return;
	# Octet by octet: no page with room is left in a file of the log.
	my $fill = sub { system("cat /dev/zero >> $folder/fill 2>/dev/null") };
	$fill->();
	$instance->start;
	my $count = $instance->{smarthost}->count;
	my $c = $instance->authenticated;
	like($c->transaction(message()), qr/^250/, 'full at the start: still accepted');
	ok($instance->logged(qr/ alarm queue log=failed deliveries=stopped /), 'the log says so');
	sleep 0.5;
	is($instance->{smarthost}->count, $count, 'nothing that could not be recorded is delivered');
	unlink "$folder/fill";
	ok($instance->arrived($count + 1), 'with room again it arrives');
	$fill->();
	like($c->transaction(message()), qr/^250/, 'full again: accepted') for 1 .. 60;
	wait_until { @{[$instance->log_lines(qr/ queue log=failed /)]} > 1 } 10;
	unlink "$folder/fill";
	ok($instance->arrived($count + 61), 'with room again all arrive');
	sleep 1;
	is($instance->{smarthost}->count, $count + 61, 'and none twice');
	$instance->stop;
	system('umount', $folder);
};

$instance->clean_ok;
done_testing;
