#!/usr/bin/perl
# Runs one test of one build, for prove: run.pl BUILD:unit|perl|fuzz:NAME
use strict;
use warnings;
use Cwd qw(abs_path);

my ($build, $kind, $name) = split /:/, $ARGV[0], 3;
$ENV{SALLYPORT_BUILD} = $build = abs_path($build);
$ENV{UBSAN_OPTIONS} //= 'print_stacktrace=1:halt_on_error=1';

if ($kind eq 'unit') {
	$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
	exec "$build/t/unit/$name.t";
} elsif ($kind eq 'perl') {
	exec $^X, '-It/lib', $name;
} elsif ($kind eq 'fuzz') {
	my $corpus = abs_path("t/fuzz/corpus/$name") // '/nonexistent';
	chdir $build;
	exec "$build/t/fuzz/$name", $corpus, $ENV{FUZZ_SECONDS} // 3;
}
die "$ARGV[0]: $!\n";
