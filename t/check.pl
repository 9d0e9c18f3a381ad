#!/usr/bin/perl
# All tests under one harness, prove's: check.pl BUILD SANITIZED-BUILD JOBS [TESTS...]
#
# Every test runs on the plain build and again on the sanitized one (the unit
# tests as programs, the integration tests against its daemon), then each fuzz
# target for a few seconds on the sanitized one.  TESTS are files of t/, or
# names of unit tests, to run alone.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use TAP::Harness;

my ($plain, $sanitized, $jobs, @only) = @ARGV;
chdir dirname(abs_path($0)) . '/..' or die "chdir: $!";

sub wanted {
	my ($name) = @_;
	return !@only || grep { $name =~ /\Q$_\E/ } @only;
}

# Names that t/run understands: BUILD:KIND:FILE.
my @tests;
for my $build ($plain, $sanitized) {
	push @tests, map { "$build:unit:$_" } grep { wanted($_) }
	    map { basename($_, '.c') } glob 't/unit/*.c';
	push @tests, map { "$build:perl:$_" } grep { wanted($_) }
	    glob 't/[0-9]*.t t/root/*.t';
}
push @tests, map { "$sanitized:fuzz:$_" } grep { wanted("fuzz/$_") }
    map { basename($_, '.c') } glob 't/fuzz/*.c';

# Those that measure have the machine to themselves, at the end.
my $alone = qr/^\Q$plain\E:perl:.*(?:30-auth|95-idle)/;
my @together = grep { !/$alone/ } @tests;
my @apart = grep { /$alone/ } @tests;

my $harness = TAP::Harness->new({
	jobs => $jobs, timer => 1, color => -t STDOUT,
	exec => [$^X, 't/run.pl'],
	rules => { seq => [
		@together ? { par => \@together } : (),
		@apart ? { seq => \@apart } : () ] } });
my $results = $harness->runtests(@together, @apart);
exit($results->all_passed && $results->total > 0 ? 0 : 1);
