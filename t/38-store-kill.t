#!/usr/bin/perl
# SIGKILL while users change: of the auth role with tools at its control socket,
# and of tools that have the store open themselves.  Every change that was
# acknowledged is there afterwards, one that was not is there whole or not at
# all, and the file opens.
# SALLYPORT_KILL_ROUNDS=N for a long run; 10 is what it does else.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX ();
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{SALLYPORT_KILL_ROUNDS} // 10;
my $instance = Sallyport::Instance->new(options => {
	'auth-failure-delay' => '"100ms"', 'scram-iterations' => 4096 });
my $scratch = $instance->{scratch};

# The store as it is, once somebody has it: {name => entry}.
sub listed {
	my ($status, $out, $err);
	for (my $end = time + 20; time < $end; sleep 0.02) {
		($status, $out, $err) = $instance->tool('user', 'list', '--json');
		return { map { $_->{name} => $_ } @{ decode_json($out) } }
		    if $status == 0;
		die "the store does not open: $err" if $err !~ /process|server|away|closed|answer|cut/i;
	}
	die "the store was not to be had: $err";
}

# What of a user the operators change, as text that can be compared.
sub state_of {
	my ($users, $name) = @_;
	my $user = $users->{"$name\@example.org"} or return 'absent';
	my @devices = map { my $d = $users->{"$name+$_\@example.org"};
		$d && $d->{owner} eq "$name\@example.org" ? $_ : "$_ (no entry)" }
	    sort @{ $user->{devices} };
	my @orphans = grep { /^\Q$name\E\+(\w+)\@/
		&& !grep { $1 eq $_ } @{ $user->{devices} } } sort keys %$users;
	return join ' ', $user->{enabled} ? 'on' : 'off', $user->{rate} // 'any',
	    "rights=@{ $user->{rights} }", "devices=@devices",
	    map { "orphan=$_" } @orphans;
}

# The same of what an operator believes.
sub text_of {
	my ($user) = @_;
	return 'absent' if !$user;
	return join ' ', $user->{on} ? 'on' : 'off', $user->{rate},
	    "rights=$user->{rights}", 'devices=' . join ' ', sort @{ $user->{devices} };
}

# A change of a user: the command, and what he is afterwards.
sub change_of {
	my ($name, $user, $serial) = @_;
	return ([{ in => "pw$serial\n" }, 'user', 'add', $name, '--password-stdin'],
		{ on => 1, rate => 'any', rights => '', devices => [],
			password => "pw$serial" }) if !$user;
	my %after = (%$user, devices => [@{ $user->{devices} }]);
	my $which = int rand 9;
	if ($which == 0) {
		return (['user', 'remove', $name], undef);
	} elsif ($which == 1) {
		$after{on} = !$user->{on};
		return (['user', $after{on} ? 'enable' : 'disable', $name], \%after);
	} elsif ($which == 2) {
		$after{rate} = $serial;
		return (['user', 'limit', $name, '--rate', $serial], \%after);
	} elsif ($which == 3) {
		$after{rights} = "\@d$serial.example";
		return (['user', 'rights', $name, '--clear', '--add', $after{rights}],
		    \%after);
	} elsif ($which == 4) {
		$after{password} = "pw$serial";
		return ([{ in => "pw$serial\n" }, 'user', 'passwd', $name,
			'--password-stdin'], \%after);
	} elsif ($which < 7 && @{ $user->{devices} }) {
		my $label = shift @{ $after{devices} };
		return (['device', 'revoke', $name, $label], \%after);
	}
	push @{ $after{devices} }, "d$serial";
	return (['device', 'enrol', $name, "d$serial"], \%after);
}

# Run the tool and kill it within so many seconds: its status as waitpid has it,
# and what it said.
sub killed_tool {
	my ($within, $in, @words) = @_;
	pipe my $from, my $to;
	my $said = "$scratch/said.$$";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		close $to;
		open STDIN, '<&', $from;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', $said;
		exec program('sallyport'), '-c', $instance->{conf}, @words
		    or POSIX::_exit(127);
	}
	print $to $in;
	close $to;
	sleep rand $within;
	kill KILL => $pid;
	waitpid $pid, 0;
	return ($?, slurp($said));
}

# Do it; true if it was acknowledged.  With kill, the seconds that a change takes,
# the tool is killed in about half of them.
sub operate {
	my ($command, $kill) = @_;
	my $options = ref $command->[0] ? $command->[0] : {};
	my @words = grep { !ref } @$command;
	return ($instance->tool($options, @words))[0] == 0 if !$kill;
	my ($status, $said);
	# Somebody else has the file: nothing was done.
	do {
		($status, $said) = killed_tool(2 * $kill, $options->{in} // '', @words);
	} while ($status == 256 && $said =~ /has it open|replaced it/
	    && goes_on());
	return $status == 0;
}

# An operator changes users of his own until "stop" is there, and looks after
# all of them when he does not know what became of a change.  His file has what
# he believes in the end, or what he has found wrong.
sub operator {
	my ($n, $kill) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	$SIG{PIPE} = 'IGNORE';
	srand($$ ^ time);
	my %users = map { ("op$n-$_" => undef) } 1 .. 4;
	my ($serial, $acknowledged, $unknown, @wrong) = (0, 0, 0);
	eval {
		while (goes_on() && !@wrong) {
			if (-e "$scratch/hold") {
				sleep 0.02;
				next;
			}
			my $name = (sort keys %users)[rand keys %users];
			my ($command, $after) = change_of($name, $users{$name},
				$n * 100000 + ++$serial);
			if (operate($command, $kill)) {
				$acknowledged++;
				$users{$name} = $after;
				next if rand() > 0.1;
			} else {
				$unknown++;
			}
			my $listed = listed();
			my $found = state_of($listed, $name);
			# As it was or as it should be.  A password that may be
			# another is of no further use.
			if ($found eq text_of($after)) {
				my $old = $users{$name};
				$users{$name} = $after;
				delete $after->{password} if $old && $after
				    && ($old->{password} // '') ne ($after->{password} // '');
			}
			for (sort keys %users) {
				$found = state_of($listed, $_);
				my $wanted = text_of($users{$_});
				push @wrong, "$_: found $found, expected $wanted"
				    if $found ne $wanted;
			}
		}
		1;
	} or push @wrong, "died: $@";
	spew("$scratch/operator.$n", encode_json({ users => \%users,
		wrong => \@wrong, acknowledged => $acknowledged,
		unknown => $unknown }));
	POSIX::_exit(0);
}

# Somebody logs in all the time: he may have to wait, he is never refused.
sub visitor {
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	$SIG{PIPE} = 'IGNORE';
	my %replies;
	while (goes_on()) {
		my $reply = eval {
			my $c = $instance->client(timeout => 5);
			$c->plain('alice', 'correct horse');
		} // 'none';
		$replies{ substr $reply, 0, 3 }++;
		sleep 0.02;
	}
	spew("$scratch/visitor", encode_json(\%replies));
	POSIX::_exit(0);
}

# Until it is over, or who has started it is gone.
sub goes_on {
	return getppid() == $instance->{owner} && !-e "$scratch/stop";
}

# Operators work while the deed is done; then all is as they believe.
sub under_changes {
	my ($name, $operators, $kill, $deed, @others) = @_;
	unlink "$scratch/stop";
	my @pids = ((map { operator($_, $kill) } 1 .. $operators), @others);
	$deed->();
	spew("$scratch/stop", '');
	waitpid $_, 0 for @pids;
	my $listed = eval { listed() };
	ok($listed, "$name: the file opens") or diag($@);
	my ($count, %all) = (2, ());
	for my $n (1 .. $operators) {
		my $o = decode_json(slurp("$scratch/operator.$n"));
		is("@{ $o->{wrong} }", '', "$name: what operator $n has seen");
		cmp_ok($o->{acknowledged}, '>', 5, "$name: changes acknowledged: "
		    . "$o->{acknowledged}, unknown: $o->{unknown}");
		%all = (%all, %{ $o->{users} });
	}
	for (sort keys %all) {
		is(state_of($listed, $_), text_of($all{$_}), "$name: $_");
		$count += 1 + @{ $all{$_}{devices} } if $all{$_};
	}
	is(scalar keys %$listed, $count, "$name: nobody else is there");
	return \%all;
}

# They log in by the passwords that were acknowledged last.
sub passwords_fit {
	my ($name, $users) = @_;
	for (sort grep { $users->{$_} && $users->{$_}{password} } keys %$users) {
		like($instance->client->plain($_, $users->{$_}{password}),
		    $users->{$_}{on} ? qr/^235 / : qr/^535 /, "$name: $_ logs in");
	}
}

# The master waits longer and longer before it starts a role again: after three
# times all of them go, and tools find the file without an owner for a while.
# The next start needs it free: operators hold still for that.
sub kill_auth {
	my $kills = 0;
	for my $round (1 .. $rounds) {
		sleep 0.2 + rand 0.3;
		my $pid = wait_until { $instance->roles->{auth} } 10 or last;
		$kills++ if kill KILL => $pid;
		if ($round % 3) {
			wait_until { ($instance->roles->{auth} // $pid) != $pid } 10;
			next;
		}
		my $roles = $instance->roles;
		kill KILL => $instance->{pid}, values %$roles;
		waitpid delete $instance->{pid}, 0;
		sleep 0.3;
		spew("$scratch/hold", '');
		my $up = wait_until { $instance->start(may_fail => 1) } 30;
		unlink "$scratch/hold";
		$up or last;
	}
	sleep 0.3;
	return $kills;
}

{
	my $kills;
	my $users = under_changes('auth', 3, 0, sub { $kills = kill_auth() }, visitor());
	is($kills, $rounds, 'auth was killed each time');
	my $replies = decode_json(slurp("$scratch/visitor"));
	cmp_ok($replies->{235} // 0, '>', 5, 'logins go on meanwhile: '
	    . encode_json($replies));
	is($replies->{535}, undef, 'and nobody is refused');
	passwords_fit('auth', $users);
}

# Tools with the file, killed at it.
$instance->tool('user', 'remove', $_) for grep { /^op\d-\d@/ } sort keys %{ listed() };
ok($instance->stop, 'the server ends');
my $start = time;
$instance->tool('user', $_, 'bob') for qw(disable enable disable enable);
my $users = under_changes('tools', 2, (time - $start) / 4, sub { sleep $rounds * 0.6 });
$instance->start;
passwords_fit('tools', $users);
like($instance->client->plain('alice', 'correct horse'), qr/^235 /,
    'alice was there all the time');

$instance->stop_ok(deaths => 1);
done_testing;
