#!/usr/bin/perl
# Idle connections need memory, not threads nor CPU.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Client;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $many = $ENV{SALLYPORT_IDLE} // (sanitized() ? 200 : 2000);
my $limit = $many + 200;
my $need = 2 * $limit;
if (!$ENV{SALLYPORT_FILES_RAISED}) {
	$ENV{SALLYPORT_FILES_RAISED} = 1;
	exec 'prlimit', "--nofile=$need", $^X, '-It/lib', $0
	    if system("prlimit --nofile=$need true 2>/dev/null") == 0;
}
chomp(my $files = `sh -c 'ulimit -n'`);
$many = ($files - 200) / 2 if $files < $need;

my $instance = Sallyport::Instance->new(options => { sessions => $limit,
	'sessions-per-client' => $limit, 'command-timeout' => '"10m"' });

sub session_state {
	my $pid = $instance->roles->{session};
	my $status = slurp("/proc/$pid/status");
	my ($threads) = $status =~ /^Threads:\s+(\d+)/m;
	my ($rss) = $status =~ /^VmRSS:\s+(\d+)/m;
	my @stat = split ' ', slurp("/proc/$pid/stat") =~ s/.*\) //sr;
	return { threads => $threads, rss => $rss, ticks => $stat[11] + $stat[12] };
}

for my $kind ('in clear', 'authenticated in TLS') {
	$instance->authenticated->transaction(message()) for 1 .. 20;
	my $before = session_state();
	my $start = time;
	my @idle;
	for my $n (1 .. $many) {
		my $c = $kind eq 'in clear' ? Sallyport::Client->new(
			port => $instance->{ports}{submission})
		    : $instance->authenticated(implicit => 1);
		push @idle, $c;
	}
	is(scalar(grep { ($_ && $_->{greeting} // '') =~ /^220/ } @idle), $many,
	    sprintf '%d connections %s in %.1f s', $many, $kind, time - $start);
	sleep 0.5;
	my $there = session_state();
	is($there->{threads}, $before->{threads}, 'no thread more');
	diag(sprintf '%s: %.1f KiB a session', $kind,
	    ($there->{rss} - $before->{rss}) / $many);
	cmp_ok(($there->{rss} - $before->{rss}) / $many, '<',
	    sanitized() ? 1000 : 64, 'and little memory');
	my $ticks = $there->{ticks};
	sleep 2;
	cmp_ok(session_state()->{ticks} - $ticks, '<', 10, 'and no CPU');
	my $c = $instance->authenticated;
	like($c->transaction(message()), qr/^250/, 'others are served');
	like($idle[rand @idle]->command('NOOP'), qr/^250/, 'and they, when they speak')
	    for 1 .. 20;
	@idle = ();
	sleep 1;
}

$instance->stop_ok;
done_testing;
