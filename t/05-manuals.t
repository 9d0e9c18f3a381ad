#!/usr/bin/perl
# The manual pages: clean, and complete for what the programs offer.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Test;
use Test::More;

for my $page (sort glob 'man/*.[58]') {
	my ($status, $out, $err) = run({}, 'mandoc', '-T', 'lint', $page);
	# Whether the pages they refer to are installed here is no matter.
	my @wrong = grep { !/referenced manual not found|outdated mandoc.db/ }
	    split /\n/, $out . $err;
	is("@wrong", '', "$page is clean");
}

# Without mark-up, so that words can be looked for.
sub text {
	my ($status, $out) = run({}, 'mandoc', '-T', 'ascii', "man/$_[0]");
	return $out =~ s/.\x08//gr;
}

my $tool = text('sallyport.8');
for my $command (qw(init user device policy route cert queue report status trace)) {
	my ($status, $help) = run({}, program('sallyport'), $command, '--help');
	my %options = map { $_ => 1 } $help =~ /(--[a-z][a-z-]+)/g;
	for my $option (sort keys %options) {
		like($tool, qr/\Q$option\E\b/, "sallyport.8 has $command $option");
	}
	# The words after the command, one a line in its help.
	my ($section) = $tool =~ /^   $command\n(.*?)^(?:   )?\S/ms;
	for my $word ($help =~ /^ {2,4}([a-z]+)\b/mg) {
		like($section, qr/^ +$word\b/m, "sallyport.8 has $command $word");
	}
}
my $daemon = text('sallyportd.8');
like($daemon, qr/^\s*-$_\b/m, "sallyportd.8 has -$_") for qw(c F t V);

# Every option of the configuration's table, by its name in the source.
my $conf = text('sallyport.conf.5');
my %names;
for my $source (glob 'server/config*.c') {
	$names{$_}++ for slurp($source) =~ /\{\s*"([a-z][a-z0-9-]+)", T_/g;
}
cmp_ok(scalar keys %names, '>', 20, 'options are found in the source');
like($conf, qr/\b\Q$_\E\b/, "sallyport.conf.5 has $_") for sort keys %names;

# And no page names an option that is none.
my $source = join '', map { slurp($_) } glob 'server/config*.c';
my %documented = map { $_ => 1 }
    slurp('man/sallyport.conf.5') =~ /^\.It Ic ([a-z][a-z0-9-]+)/mg;
like($source, qr/"\Q$_\E"/, "$_, which the page has, is an option")
    for sort keys %documented;

done_testing;
