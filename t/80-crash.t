#!/usr/bin/perl
# SIGKILL of each role, and of the master, under load by several senders:
# whatever was acknowledged is in the smarthost afterwards, other sessions
# live on, and the next start binds at once.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Submitter;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $instance = Sallyport::Instance->new(
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"' });
my $smarthost = $instance->{smarthost};
my $folder = $instance->{scratch};

sub make {
	my ($n, $serial) = @_;
	my $id = "sender-$n-$serial";
	# Now and then one that gets a file of its own.
	my $body = $serial % 25 ? "$id\r\n" : "x" x 70 . "\r\n";
	$body = $body x 5000 if $serial % 25 == 0;
	return { id => $id, message => message(id => $id, body => $body) };
}

sub delivered {
	my %have;
	for my $octets ($smarthost->messages) {
		$have{$1}++ if $octets =~ /^Message-ID: <([^\@]+)\@/m;
	}
	return %have;
}

# Under load do the deed; all that was acknowledged has to arrive.
sub under_load {
	my ($name, $deed) = @_;
	$smarthost->forget;
	my $senders = Sallyport::Submitter->new(instance => $instance,
		folder => $folder, make => \&make);
	my $acked = sub { my %acked = $senders->said('acked'); keys %acked };
	wait_until { (my @some = $acked->()) > 20 } 30;
	$deed->();
	my $before = () = $acked->();
	wait_until { (my @some = $acked->()) > $before + 20 } 30;
	is($senders->stop, 0, "$name: no sender died");
	my @acknowledged = $acked->();
	cmp_ok(scalar @acknowledged, '>', 20 + $before,
	    "$name: senders get on afterwards");
	my %have;
	wait_until { %have = delivered(); !grep { !$have{$_} } @acknowledged } 60;
	my @lost = grep { !$have{$_} } @acknowledged;
	is(scalar @lost, 0, "$name: none of " . @acknowledged
	    . ' acknowledged messages is lost') or diag("lost: @lost[0 .. ($#lost > 9 ? 9 : $#lost)]");
	my $twice = grep { $_ > 1 } values %have;
	note("$name: $twice delivered more than once");
}

under_load('nothing happens', sub { });
{
	my %have = delivered();
	is(scalar(grep { $_ > 1 } values %have), 0, 'nothing happens: none twice');
}

for my $role (qw(session signer auth helpers relay lookup)) {
	my $bystander = wait_until { $instance->authenticated } 20;
	$bystander->command('MAIL FROM:<alice@example.org>');
	under_load("SIGKILL of $role", sub {
		for my $round (1 .. 3) {
			my $pid = wait_until { $instance->roles->{$role} } 10;
			ok($pid, "$role lives") or return;
			kill KILL => $pid;
			ok((wait_until {
				my $new = $instance->roles->{$role};
				$new && $new != $pid } 10), "$role is started again");
			sleep 0.3;
		}
	});
	next if $role eq 'session';
	like($bystander->command('RCPT TO:<bob@example.net>'), qr/^250/,
	    "SIGKILL of $role: another session lives on");
}

sub kill_master {
	my $roles = $instance->roles;
	my $master = $instance->{pid};
	kill KILL => $master;
	waitpid $master, 0;
	delete $instance->{pid};
	ok((wait_until { !grep { -e "/proc/$_" && slurp("/proc/$_/stat") !~ /\) Z / }
		values %$roles } 5), 'SIGKILL of the master ends all roles')
	    or diag(join ' ', map { "$_ $roles->{$_}" } sort keys %$roles);
	my $start = time;
	$instance->start;
	cmp_ok(time - $start, '<', sanitized() ? 20 : 5, 'the next start binds at once');
}
under_load('SIGKILL of the master', sub { kill_master() for 1 .. 2 });
under_load('SIGTERM and start', sub {
	ok($instance->stop, 'SIGTERM: exit status 0');
	$instance->start;
});

subtest 'all at once' => sub {
	under_load('SIGKILL of everything', sub {
		my $roles = $instance->roles;
		kill KILL => $instance->{pid}, values %$roles;
		waitpid delete $instance->{pid}, 0;
		$instance->start;
	});
};

$instance->stop_ok(deaths => 1);
done_testing;
