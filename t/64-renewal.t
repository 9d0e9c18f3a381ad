#!/usr/bin/perl
# Renewal while clients submit, and files that are never left alone.
use strict;
use warnings;
use lib 't/lib';
use POSIX ();
use Sallyport::Test;
use Sallyport::Watched;
use Test::More;
use Time::HiRes qw(sleep time);

my $scratch = scratch();
my $instance = Sallyport::Watched->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";
my %ours = map { ($_ => slurp("$tls/server.$_")) } qw(pem key);

subtest 'much ado' => sub {
	# Nothing of it is new.
	my $before = $instance->reloads;
	my $octets = slurp("$tls/server.pem");
	for (1 .. 40) {
		spew("$tls/server.pem", $octets);
		spew("$tls/unrelated", $_);
		utime undef, undef, "$tls/server.key";
		sleep 0.05;
	}
	# Then something is.
	my ($cert, $key) = $instance->pair;
	$instance->put($cert, "$tls/server.pem");
	$instance->put($key, "$tls/server.key");
	$instance->noticed_ok($before, qr/result=ok/, 'one thing is new');
	is($instance->reloads, $before + 1, 'and only that is worth a reload');
	# It never stays as it is.
	$before = $instance->reloads;
	my @pairs = map { [$instance->pair] } 1 .. 2;
	my $end = time + 6;
	for (my $i = 0; time < $end; $i++) {
		$instance->put($pairs[$i % 2][0], "$tls/server.pem");
		$instance->put($pairs[$i % 2][1], "$tls/server.key");
		sleep 0.02;
	}
	my $during = $instance->reloads - $before;
	cmp_ok($during, '<=', 4, 'what changes all the time is not taken each time');
	$instance->shows_ok("$tls/server.pem", 'but in the end');
};

# Many clients, who must not notice.
subtest 'renewal under load' => sub {
	my $stop = "$scratch/stop";
	my $client = sub {
		my ($number) = @_;
		my $sent = 0;
		while (!-e $stop) {
			my $c = $instance->authenticated(ca => undef)
			    or return "no connection after $sent";
			for (1 .. 3) {
				my $reply = $c->transaction(message());
				return "$reply after $sent" if $reply !~ /^250/;
				$sent++;
			}
			$c->close;
		}
		return "well, $sent";
	};
	my $arrived = $instance->{smarthost}->count;
	my @clients;
	for my $number (1 .. 4) {
		pipe my $read, my $write or die $!;
		my $pid = fork // die $!;
		if (!$pid) {
			print $write $client->($number);
			close $write;
			POSIX::_exit(0);
		}
		push @clients, [$pid, $read];
		close $write;
	}
	my $long = $instance->authenticated(ca => undef);
	my $by_long = 0;
	ok($instance->arrived($arrived + 10, 60), 'mail flows');
	for my $round (1 .. 3) {
		my $before = $instance->reloads;
		if ($round == 2) {
			spew("$tls/server.pem", "nothing\n");
			$instance->noticed_ok($before, qr/alarm reload result=refused/, 'a bad one: an alarm');
			next;
		}
		for (qw(pem key)) {
			spew("$scratch/ours.$_", $ours{$_});
			$instance->put("$scratch/ours.$_", "$tls/server.$_");
		}
		my ($status, $out, $err) = $instance->tool('cert', 'renew', 'server',
			'--due', 9999, $round == 3 ? '--new-key' : ());
		is($status, 0, 'sallyport cert renew') or diag $err;
		$instance->noticed_ok($before, qr/result=ok/, "is taken, $round");
		$instance->shows_ok("$tls/server.pem", 'is shown');
		like($long->transaction(message()), qr/^250/, 'to a session that stays it does not matter');
		$by_long++;
	}
	spew($stop, '');
	my $sent = 0;
	for (@clients) {
		my ($pid, $read) = @$_;
		my $said = join '', <$read>;
		waitpid $pid, 0;
		like($said, qr/^well, [1-9]/, 'no client has noticed');
		$sent += $said =~ /(\d+)/ ? $1 : 0;
	}
	ok($instance->arrived($arrived + $sent + $by_long, 120),
		"and all $sent messages arrive");
	unlink $stop;
};

# Whoever uses up what the kernel has of inotify.
subtest 'without inotify' => sub {
	ok($instance->stop, 'stopped');
	my @held;
	while (@held < 16384) {
		# inotify_init1, which Perl has no word for.
		my $fd = syscall(294, 0);
		last if $fd < 0;
		push @held, $fd;
	}
	my $is_out = @held < 16384 && $!{EMFILE};
	SKIP: {
		skip('the kernel has more than we can use up', 1) if !$is_out;
		ok($instance->start, 'the server starts');
		ok($instance->logged(qr/ warning files trouble="inotify: /), 'and says so');
		my $before = $instance->reloads;
		my ($cert, $key) = $instance->pair;
		$instance->put($cert, "$tls/server.pem");
		$instance->put($key, "$tls/server.key");
		like($instance->reload // '', qr/result=ok/, 'SIGHUP works');
		$instance->shows_ok($cert, 'as ever');
		$before = $instance->reloads;
		($cert, $key) = $instance->pair;
		$instance->put($cert, "$tls/server.pem");
		$instance->put($key, "$tls/server.key");
		$instance->noticed_ok($before, qr/result=ok/, 'and they are looked at all the same');
		$instance->shows_ok($cert, 'only later');
	}
	POSIX::close($_) for @held;
	$instance->start if !$instance->{pid};
};

$instance->stop_ok;
done_testing;
