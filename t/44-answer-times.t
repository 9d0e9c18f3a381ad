#!/usr/bin/perl
# What a stranger can tell from the answers: not from their code, not from
# their text, not from their time, and not from the salts of SCRAM.
#
# Samples of all cases are taken in one run, interleaved at random, by many
# clients at once.  Two rank tests compare the times of each case with those of
# a wrong password: Mann-Whitney for a shift, Kolmogorov-Smirnov for another
# shape.  Both refuse at p < 1e-6, so that chance does not; and the same samples
# moved by some milliseconds have to be refused, or more of them are taken:
# a test that could not see a difference says nothing.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha256);
use List::Util qw(any max shuffle sum);
use MIME::Base64;
use POSIX ();
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

# Beyond 4.892 standard deviations, and D sqrt(nm / (n + m)) beyond 2.693: one
# of a million.
use constant { Z_MOST => 4.892, D_MOST => 2.693 };

my $delay = 0.15;
my $shift = sanitized() ? 0.02 : 0.003; # that has to be seen
my $workers = 16;
my $rounds = 5;   # of each worker, in a batch
my $batches = 6;  # at most
my $tries = 15;   # in a session; the server ends it after 20

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"' . $delay * 1000 . 'ms"',
		'auth-free-failures' => 1_000_000, 'auth-tries' => 20,
		'sessions-per-client' => 1000 });
$instance->user_add($_, 'right one') for qw(carol erin@example.net);
my ($status, undef, $err) = $instance->tool('user', 'disable', 'carol');
die "user disable: $err" if $status;

# Each is a name and a password; unknown names are new ones each time, so that
# nothing of them is remembered anywhere.
my $fresh = 0;
my %case = (
	'wrong password' => sub { ('alice', 'wrong') },
	'unknown user' => sub { ("nobody$$-" . $fresh++, 'wrong') },
	'disabled user' => sub { ('carol', 'wrong') },
	'disabled user, right password' => sub { ('carol', 'right one') },
	'wrong realm' => sub { ('alice@example.net', 'correct horse') },
	'unknown realm' => sub { ('alice@elsewhere.example', 'correct horse') },
);
my @cases = sort grep { $_ ne 'wrong password' } keys %case;

sub b64 {
	return encode_base64($_[0], '');
}

# Seconds from a line to its reply, and the reply.
sub timed {
	my ($client, $line) = @_;
	my $start = time;
	my $reply = $client->command($line);
	return (time - $start, $reply);
}

# Each returns pairs of what was measured and the seconds, and the last reply.
my %mechanism = (
	PLAIN => sub {
		my ($client, $user, $password) = @_;
		my ($took, $reply) = timed($client, 'AUTH PLAIN '
		    . b64("\0$user\0$password"));
		return ([PLAIN => $took], $reply);
	},
	LOGIN => sub {
		my ($client, $user, $password) = @_;
		$client->command('AUTH LOGIN ' . b64($user));
		my ($took, $reply) = timed($client, b64($password));
		return ([LOGIN => $took], $reply);
	},
	SCRAM => sub {
		my ($client, $user, $password) = @_;
		my ($first, $challenge) = timed($client, 'AUTH SCRAM-SHA-256 '
		    . b64("n,,n=$user,r=abcdefghijklmnop"));
		my ($nonce) = decode_base64($challenge =~ s/^334 //r)
		    =~ /^(r=[^,]+),s=[^,]+,i=[0-9]+$/
		    or return (['SCRAM: broken challenge' => 0], $challenge);
		my ($final, $reply) = timed($client, b64("c=biws,$nonce,p="
		    . b64(sha256($password))));
		return (['SCRAM challenge' => $first, 'SCRAM proof' => $final],
			$reply);
	},
);

# One worker's samples, as lines "what TAB case TAB seconds TAB reply".
sub sample {
	my ($out, $mechanisms) = @_;
	my ($client, $left) = (undef, 0);
	for (1 .. $rounds) {
		for my $job (shuffle map { my $m = $_; map { [$m, $_] }
			keys %case } @$mechanisms) {
			my ($mechanism, $case) = @$job;
			if (!$left--) {
				$client = $instance->client(implicit => 1);
				$left = $tries - 1;
			}
			my ($times, $reply) = $mechanism{$mechanism}
			    ->($client, $case{$case}->());
			while (my ($what, $took) = splice @$times, 0, 2) {
				print $out "$what\t$case\t$took\t$reply\n";
			}
		}
	}
}

# Run code in so many processes at once; what each has written to its file.
sub together {
	my ($count, $code) = @_;
	my $folder = scratch();
	my @pids = map {
		my $n = $_;
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			open my $out, '>', "$folder/$n" or POSIX::_exit(1);
			srand;
			eval { $code->($out); 1 } or print {$out} "died\t$@";
			close $out;
			POSIX::_exit(0);
		}
		$pid;
	} 1 .. $count;
	waitpid $_, 0 for @pids;
	return join '', map { slurp("$folder/$_") } 1 .. $count;
}

# Standard deviations that the rank sum of x is away from where it should be.
sub mann_whitney {
	my ($x, $y) = @_;
	my @all = sort { $a->[0] <=> $b->[0] } (map { [$_, 1] } @$x),
	    map { [$_, 0] } @$y;
	my ($n, $m) = (scalar @$x, scalar @$y);
	my $ranks = sum(map { $all[$_][1] ? $_ + 1 : 0 } 0 .. $#all);
	return abs($ranks - $n * ($n + $m + 1) / 2)
	    / sqrt($n * $m * ($n + $m + 1) / 12);
}

# The greatest distance of the two distribution functions, scaled.
sub kolmogorov_smirnov {
	my ($x, $y) = @_;
	my @all = sort { $a->[0] <=> $b->[0] } (map { [$_, 1 / @$x] } @$x),
	    map { [$_, -1 / @$y] } @$y;
	my ($at, $most) = (0, 0);
	$most = max($most, abs($at += $_->[1])) for @all;
	return $most * sqrt(@$x * @$y / (@$x + @$y));
}

sub differs {
	my ($x, $y) = @_;
	return mann_whitney($x, $y) > Z_MOST || kolmogorov_smirnov($x, $y) > D_MOST;
}

# The tests themselves, on numbers known beforehand.
subtest 'the statistics' => sub {
	my @even = map { $_ * 2 } 1 .. 100;
	my @odd = map { $_ * 2 + 1 } 1 .. 100;
	cmp_ok(mann_whitney(\@even, \@odd), '<', 1, 'two alike: no shift');
	cmp_ok(kolmogorov_smirnov(\@even, \@odd), '<', 1, 'nor shape');
	# 100 of 100 pairs of ranks: z = 50 / sqrt(10 * 10 * 21 / 12) = 3.78.
	my ($low, $high) = ([1 .. 10], [11 .. 20]);
	cmp_ok(abs(mann_whitney($low, $high) - 3.7796), '<', 0.0001,
	    'a shift is as far as the tables say');
	cmp_ok(abs(kolmogorov_smirnov($low, $high) - sqrt 5), '<', 0.0001,
	    'and as far apart');
	# The same middle, another spread: Mann-Whitney is blind for it.
	my @narrow = map { 50 + $_ / 100 } 1 .. 100;
	my @wide = map { $_ + 0.001 } 1 .. 100;
	cmp_ok(mann_whitney(\@narrow, \@wide), '<', Z_MOST, 'no shift');
	cmp_ok(kolmogorov_smirnov(\@narrow, \@wide), '>', D_MOST,
	    'but another shape');
};

sub quartiles {
	my @sorted = sort { $a <=> $b } @_;
	return map { sprintf '%.2f', $sorted[@sorted * $_ / 4] * 1000 } 1 .. 3;
}

# Samples until a shift could be seen in all that was measured.
sub collect {
	my (@mechanisms) = @_;
	my (%times, %replies);
	for (1 .. $batches) {
		for (split /\n/, together($workers,
			sub { sample($_[0], \@mechanisms) })) {
			my ($what, $case, $took, $reply) = split /\t/;
			BAIL_OUT("a worker died: $_") if $what eq 'died';
			push @{ $times{$what}{$case} }, $took;
			$replies{$reply}++;
		}
		last if !any { !sees($times{$_}) } keys %times;
	}
	return (\%times, \%replies);
}

# Would a shift of the reference be seen?
sub sees {
	my ($times) = @_;
	my @reference = @{ $times->{'wrong password'} };
	return differs([map { $_ + $shift } @reference], \@reference);
}

sub compare {
	my (@mechanisms) = @_;
	my ($times, $replies) = collect(@mechanisms);
	is(join(' | ', sort keys %$replies),
	    '535 5.7.8 authentication credentials invalid',
	    'one code and one text');
	for my $what (sort keys %$times) {
		my $of = $times->{$what};
		my $reference = $of->{'wrong password'};
		note(sprintf '%s: %d samples of each, quartiles in ms: %s',
			$what, scalar @$reference, join ', ', map {
				"$_ " . join '/', quartiles(@{ $of->{$_} })
			} sort keys %$of);
		ok(sees($of), "$what: a shift of " . $shift * 1000
		    . ' ms would be seen');
		for my $case (@cases) {
			my $z = mann_whitney($of->{$case}, $reference);
			my $d = kolmogorov_smirnov($of->{$case}, $reference);
			ok($z <= Z_MOST && $d <= D_MOST,
			    "$what: $case takes as long as a wrong password")
			    or diag(sprintf 'z = %.2f, D = %.2f', $z, $d);
		}
		next if $what eq 'SCRAM challenge';
		my $earliest = (sort { $a <=> $b }
			map { @$_ } values %$of)[0];
		cmp_ok($earliest, '>=', $delay, "$what: none is early");
	}
}

# Salt and iteration count that a name is shown, as text.
sub shown {
	my ($clients, $user) = @_;
	my $client = $clients->{client} // '';
	$client = $clients->{client} = $instance->client(implicit => 1)
	    if !$clients->{left}--;
	$clients->{left} = 6 if $clients->{left} < 0;
	my $reply = $client->command('AUTH SCRAM-SHA-256 '
	    . b64("n,,n=$user,r=abcdefghijklmnop"));
	$client->command('*');
	return decode_base64($reply =~ s/^334 //r) =~ /^r=[^,]+,(s=.*)$/
	    ? $1 : "reply: $reply";
}

# What a challenge has that does not depend on the name alone: the count and
# the length of the salt.
sub shape {
	my ($salt, $count) = $_[0] =~ /^s=([^,]+),i=([0-9]+)$/ or return $_[0];
	return length(decode_base64($salt)) . " octets, $count times";
}

# As if users had come from other servers, one of them with few iterations and
# short salts: whoever looks like a third of them must not be one of them only.
subtest 'salts and iteration counts' => sub {
	my %known = map { ("user$_" => $_ % 3 ? [20_000, 16] : [4096, 12]) }
	    1 .. 60;
	my ($status, $out, $err) = $instance->tool({ in => join '', map {
		my ($count, $length) = @{ $known{$_} };
		"$_:{SCRAM-SHA-256}$count," . b64(substr sha256("salt $_"), 0,
			$length) . ',' . b64(sha256("stored $_")) . ','
		    . b64(sha256("server $_")) . "\n"
	} sort keys %known }, 'user', 'import', '--format', 'dovecot', '-');
	is($status, 0, 'users with verifiers of two kinds') or diag($err);
	my %clients;
	for (sort keys %known) {
		my ($count, $length) = @{ $known{$_} };
		is(shape(shown(\%clients, $_)), "$length octets, $count times",
		    "$_ is shown his own") if /[12]$/;
	}
	my @unknown = map { "nobody$_" } 1 .. 200;
	my %first = map { $_ => shown(\%clients, $_) } @unknown;
	my %shapes;
	$shapes{ shape($first{$_}) }++ for @unknown;
	note(join '; ', map { "$_: $shapes{$_}" } sort keys %shapes);
	# Four users have what "user add" gives: 10,000 and 16 octets.
	my %share = ('16 octets, 20000 times' => 40 / 64,
		'12 octets, 4096 times' => 20 / 64,
		'16 octets, 10000 times' => 4 / 64);
	is(scalar(grep { !$share{$_} } keys %shapes), 0,
	    'unknown names are shown what users have');
	for (sort keys %share) {
		my $p = $share{$_};
		my $z = abs(($shapes{$_} // 0) - @unknown * $p)
		    / sqrt(@unknown * $p * (1 - $p));
		cmp_ok($z, '<', Z_MOST, "$_: as often as users have it");
	}
	my %salts = map { (split /,/)[0] => 1 } values %first;
	is(scalar keys %salts, @unknown, 'each name has a salt of its own');
	my @again = grep { shown(\%clients, $_) ne $first{$_} } @unknown;
	is("@again", '', 'and has it again');
	# One more user, and all unknown names look as before, or as if one had
	# a new password.
	$instance->user_add('onemore', 'x');
	my @moved = grep { shown(\%clients, $_) ne $first{$_} } @unknown;
	cmp_ok(scalar @moved, '<', 20, 'nearly all when users come');
	is(scalar(grep { (shown(\%clients, $_) =~ s/,.*//r)
			    eq $first{$_} =~ s/,.*//r } @moved), 0,
	    'the others have another salt too');
};

subtest 'in quiet' => sub {
	compare(qw(PLAIN LOGIN SCRAM));
};

# Whoever logs in meanwhile competes for the same processors and the one auth
# role, with password checks (a name's first login) and without.
subtest 'while others log in' => sub {
	my @load = map {
		my $pid = fork // die "fork: $!";
		if (!$pid) {
			my $end = time + 300;
			while (time < $end && getppid != 1) {
				my $client = $instance->client(implicit => 1)
				    or next;
				$client->plain('bob', 'battery staple');
				$client->close;
				sleep 0.002;
			}
			POSIX::_exit(0);
		}
		$pid;
	} 1 .. 2;
	compare(qw(PLAIN SCRAM));
	kill KILL => @load;
	waitpid $_, 0 for @load;
};

$instance->stop_ok;
done_testing;
