#!/usr/bin/perl
# Sallyportd as a process among others: background, what a service manager is
# told and hands over, how it ends.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::UNIX;
use Sallyport::Client;
use Sallyport::Instance;
use Sallyport::Test;
use Socket qw(SOCK_DGRAM);
use Test::More;
use Time::HiRes qw(sleep time);

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'stop-timeout' => '"3s"' });

subtest 'background' => sub {
	$instance->option(log => 'syslog');
	my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
		$instance->{conf});
	is($status, 0, 'it starts in the background') or diag($out, $err);
	ok($instance->ready('submission'), 'and is ready when the first process ends');
	my ($pid) = map { /(\d+)/ } grep {
		slurp($_) =~ /\Q$instance->{conf}\E/ && slurp($_) !~ /--role/
	} glob '/proc/[0-9]*/cmdline';
	ok($pid, 'the master is there') or return;
	my ($parent, $group, $session) =
	    (split ' ', slurp("/proc/$pid/stat") =~ s/.*\) \S //sr)[0 .. 2];
	isnt($session, getpgrp(), 'in a session of its own');
	my ($second) = run({}, program('sallyportd'), '-c', $instance->{conf});
	is($second, 1, 'a second one fails, and says so by its exit status');
	kill TERM => $pid;
	ok((wait_until { !-e "/proc/$pid" } 10), 'SIGTERM ends it');
	$instance->option(log => 'stderr');
};

subtest 'a service manager' => sub {
	my $path = "$instance->{scratch}/notify";
	my $notify = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path);
	my $told = '';
	my $hears = sub {
		my ($what) = @_;
		return wait_until {
			$notify->recv(my $text, 4096, Socket::MSG_DONTWAIT());
			$told .= "$text\n" if defined $text;
			$told =~ $what } 10;
	};
	$instance->start(env => { NOTIFY_SOCKET => $path });
	ok($hears->(qr/^READY=1/m), 'READY=1');
	$told = '';
	$instance->signal('HUP');
	ok($hears->(qr/^RELOADING=1/m), 'SIGHUP: RELOADING=1');
	ok($hears->(qr/^READY=1/m), 'and READY=1 again');
	$instance->signal('TERM');
	ok($hears->(qr/^STOPPING=1/m), 'SIGTERM: STOPPING=1');
	ok($instance->stop, 'it ends');
};

subtest 'sockets handed over' => sub {
	my $port = free_port();
	my $activate = 'use IO::Socket::IP; use POSIX; $^F = 99; my $s = IO::Socket::IP->new('
	    . "Listen => 16, LocalHost => '127.0.0.1', LocalPort => $port);"
	    . 'POSIX::dup2(fileno $s, 3); $ENV{LISTEN_PID} = $$;'
	    . 'exec @ARGV';
	$instance->{ports}{kept} = $instance->{ports}{submission};
	$instance->{ports}{submission} = $port;
	ok($instance->start(before => [$^X, '-e', $activate, '--'],
		env => { LISTEN_FDS => 1, LISTEN_FDNAMES => 'submission' }),
	    'it serves the socket it was given');
	like($instance->authenticated->transaction(message()), qr/^250/, 'mail goes');
	ok(!Sallyport::Client->new(port => $instance->{ports}{kept}, bare => 1),
	    'and does not bind that listener itself');
	like($instance->reload // '', qr/result=ok/, 'a reload keeps it');
	ok($instance->ready('submission'), 'served still');
	$instance->stop;
	$instance->{ports}{submission} = $instance->{ports}{kept};
	$instance->start(before => [$^X, '-e', $activate, '--'],
		env => { LISTEN_FDS => 1, LISTEN_FDNAMES => 'submision' });
	ok($instance->logged(qr/listener=submision .* unserved="the configuration has no/),
	    'a name that the configuration does not have: the log says so');
	$instance->stop;
};

subtest 'its terminal' => sub {
	$instance->start;
	my $roles = $instance->roles;
	for my $role (sort keys %$roles) {
		my $pid = $roles->{$role};
		is((split ' ', slurp("/proc/$pid/stat") =~ s/.*\) \S //sr)[2], $pid,
		    "$role: has none");
		# It is not dumpable: only root may look.
		is(readlink "/proc/$pid/fd/0", '/dev/null', "$role: nor input")
		    if is_root();
	}
	$instance->stop;
};

# Clients may take all descriptors but those the master needs to pass.
subtest 'descriptors kept back' => sub {
	$instance->start(before => ['prlimit', '--nofile=100:100']);
	my $session = $instance->roles->{session};
	my @held = map { Sallyport::Client->new(bare => 1,
		port => $instance->{ports}{submission}) } 1 .. 120;
	ok($instance->logged(qr/ accept .*Too many open files/), 'all are taken');
	for my $role (qw(signer auth relay)) {
		my $pid = $instance->roles->{$role};
		kill KILL => $pid;
		ok((wait_until { ($instance->roles->{$role} // $pid) != $pid } 10),
		    "$role is started again");
	}
	sleep 1;
	@held = ();
	ok((wait_until { $instance->ready('submission') } 10), 'clients are served again');
	is($instance->roles->{session}, $session, 'session has lived through it');
	like((wait_until { my $c = $instance->authenticated;
		my $r = $c ? $c->transaction(message()) : '';
		$r =~ /^250/ ? $r : undef } 10) // '', qr/^250/, 'and mail goes');
	$instance->stop;
};

subtest 'SIGTERM' => sub {
	$instance->start;
	my $count = $instance->{smarthost}->count;
	my $busy = $instance->authenticated;
	$busy->command('MAIL FROM:<alice@example.org>');
	$busy->command('RCPT TO:<bob@example.net>');
	$busy->command('DATA');
	my $idle = $instance->authenticated;
	$instance->signal('TERM');
	sleep 0.3;
	ok(!Sallyport::Client->new(port => $instance->{ports}{submission}, bare => 1),
	    'nobody is accepted any more');
	like($busy->content(message()), qr/^250/, 'a message on its way is finished');
	like($idle->command('NOOP'), qr/^421 4\.3\.2 |^$/, 'an idle session is closed');
	ok($instance->stop, 'and it ends with status 0');
	$instance->start;
	ok($instance->arrived($count + 1), 'the message is delivered, if need be after the next start');

	$busy = $instance->authenticated;
	$busy->command('MAIL FROM:<alice@example.org>');
	my $start = time;
	ok($instance->stop, 'a session that does not end holds it up');
	cmp_ok(time - $start, '<', 6, 'no longer than stop-timeout');
};

$instance->clean_ok(deaths => 1);
done_testing;
