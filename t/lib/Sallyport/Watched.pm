# A Sallyport::Instance with watch-files: what it takes without being told, and
# what clients are shown.
package Sallyport::Watched;

use strict;
use warnings;
use parent 'Sallyport::Instance', 'Exporter';
use Sallyport::Test;
use Test::More;

our @EXPORT = qw(fingerprint);

my $reloads = qr/ master \S+ reload result=/;

sub new {
	my ($class, %o) = @_;
	return $class->SUPER::new(%o, options => { 'watch-files' => 'yes' });
}

# So many reloads there were.
sub reloads {
	my ($self) = @_;
	return scalar(() = $self->log_lines($reloads));
}

# Without a signal: wait for a reload beyond those, with that result.
sub noticed_ok {
	my ($self, $before, $result, $what) = @_;
	my $line = wait_until {
		my @lines = $self->log_lines($reloads);
		@lines > $before && $lines[-1] =~ $result ? $lines[-1] : undef } 90;
	ok($line, $what) or diag(($self->log_lines($reloads))[-1]);
}

sub fingerprint {
	my ($file) = @_;
	my ($status, $out) = run({}, 'openssl', 'x509', '-in', $file, '-noout',
		'-fingerprint', '-sha256');
	return $out =~ s/.*=|[:\n]//gr;
}

# Of what a client is shown.
sub shown {
	my ($self) = @_;
	my $client = $self->client(ca => undef) or return '';
	my $shown = $client->{sock}->get_fingerprint('sha256', undef) // '';
	$client->close;
	return uc($shown =~ s/^sha256\$//r);
}

sub shows_ok {
	my ($self, $file, $what) = @_;
	my $expected = fingerprint($file);
	my $is_shown = wait_until { $self->shown eq $expected } 90;
	ok($is_shown, $what);
}

# A further pair for the server's name; its files.
sub pair {
	my ($self, %o) = @_;
	return $self->{authority}->issue('pair' . ++$self->{pairs},
		dns => ['mail.example.org'], %o);
}

# One file in the place of another.
sub put {
	my ($self, $from, $to) = @_;
	spew("$to.new", slurp($from));
	chmod 0600, "$to.new";
	rename "$to.new", $to or die "$to: $!";
}

1;
