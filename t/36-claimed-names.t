#!/usr/bin/perl
# Rows that a claimed name selects, for clients without a password: whom an
# alarm is about, that it ends, and that such rows can be rehearsed.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(
	submission => { 'client-cert' => 'ask', 'client-ca' => '"peers.pem"' },
	start => 0);
my $peers = Sallyport::Certs->authority($instance->{folder}, 'peers');
my %cert = map { $_ => [$peers->issue($_, dns => ["$_.example"],
	purpose => 'client')] } qw(branch other);
$instance->start;
for (sort keys %cert) {
	my ($status, undef, $errors) = $instance->tool('user', 'add', $_,
		'--sender', '*', '--certificate', $cert{$_}[0]);
	is($status, 0, "user $_") or diag($errors);
}

sub rows {
	$instance->sites(join '', map { "$_\n" } @_);
	like($instance->reload // '', qr/result=ok/, "table: @_");
}

# The reply to MAIL of who shows one certificate and claims one name.
sub mail {
	my ($shown, $claimed, $from) = @_;
	my ($cert, $key) = @{ $cert{$shown} };
	my $c = $instance->client(cert => $cert, key => $key);
	$c->ehlo($claimed);
	like($c->command('AUTH EXTERNAL ='), qr/^235 /, "$shown as $claimed");
	return $c->command('MAIL FROM:<' . ($from // 'x@example.org') . '>');
}

sub failing {
	my ($relay) = grep { defined $_->{'sites-failing'} }
	    values %{ $instance->status->{roles} // $instance->status };
	return $relay->{'sites-failing'};
}

my $alarm = qr/ alarm site state=(\w+) direction=in site=(\S+) row=(\S+) /;

subtest 'one alarm, about the row and not the address' => sub {
	rows('branch.example in lock');
	for (1 .. 3) {
		like(mail('other', 'branch.example'), qr/^554 5\.7\.0 .*branch\.example/,
		    'a name that is not his');
	}
	my ($state, $site, $row) = ($instance->logged($alarm) // '') =~ $alarm;
	is($state, 'failing', 'an alarm');
	is($site, 'branch.example', 'about the site of the row');
	is($row, 'default,sites:1', 'and its row');
	is(scalar(my @all = $instance->log_lines($alarm)), 1, 'one');
	is(failing(), 1, 'counted');
	like(mail('branch', 'branch.example'), qr/^250 /, 'he himself');
	ok((wait_until { failing() == 0 }), 'and all is well');
};

subtest 'an address that meets its own row' => sub {
	rows('127.0.0.1 in encrypt', 'branch.example in lock');
	like(mail('other', 'branch.example'), qr/^554 5\.7\.0 /, 'refused at MAIL');
	ok((wait_until { failing() == 1 }), 'a failing site');
	like($instance->logged(qr/site=127\.0\.0\.1 row=sites:1,sites:2 .*verdict=refuse/)
	    // '', $alarm, 'which is the address');
	like(mail('other', 'other.example'), qr/^250 /,
	    'what its row asks alone is met');
	is(failing(), 1, 'and says nothing about the other');
	like(mail('branch', 'branch.example'), qr/^250 /, 'then all that is asked');
	ok((wait_until { failing() == 0 }), 'well again');
};

subtest 'rehearsal' => sub {
	my $observe = 'mode=observe until=2099-12-31 reason="a test"';
	# A row that only adds is observed where the one it adds to is.
	rows("127.0.0.1 in encrypt min=tls1.3 $observe", "branch.example in lock $observe",
	    "bank.example from lock "
	    . "match=branch.example $observe");
	like(mail('other', 'branch.example', 'x@bank.example'), qr/^250 /,
	    'what is observed goes on');
	like(mail('branch', 'elsewhere.example', 'x@bank.example'), qr/^250 /,
	    'and so does what is met');
	my %told;
	wait_until {
		my $text = ($instance->tool('policy', 'rehearsal', '--json'))[1];
		%told = map { $_->{site} => $_ } @{ decode_json($text) };
		return $told{'bank.example'}{connections} == 2;
	};
	is($told{'bank.example'}{refused}, 1, 'from: one of two');
	is($told{'branch.example'}{connections}, 1, 'in: one claimed the name');
	is($told{'branch.example'}{refused}, 1, 'which was not his');
	ok($told{'branch.example'}{reasons}{'certificate-name'}, 'and why');
};

$instance->stop_ok;
done_testing;
