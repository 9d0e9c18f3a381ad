# What the server's processes spend.
package Cost;

use strict;
use warnings;
use Exporter qw(import);
use POSIX qw(sysconf _SC_CLK_TCK);
use Sallyport::Test qw(slurp);

our @EXPORT = qw(cpu @roles);
our @roles = qw(master session signer auth helpers relay lookup);

# {role => CPU milliseconds so far} of an instance.
sub cpu {
	my ($instance) = @_;
	my %pid = (%{ $instance->roles }, master => $instance->{pid});
	my %ms;
	for my $role (@roles) {
		my ($rest) = slurp("/proc/$pid{$role}/stat") =~ /.*\) (.*)/s;
		my @field = split ' ', $rest;
		$ms{$role} = ($field[11] + $field[12]) * 1000
		    / sysconf(_SC_CLK_TCK);
	}
	return \%ms;
}

1;
