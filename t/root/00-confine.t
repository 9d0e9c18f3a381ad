#!/usr/bin/perl
# As root: users, root directories, empty network namespaces, and that the
# session role accepts and cannot connect.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

plan skip_all => 'needs root: users, chroot, namespaces' if !is_root();

my $instance = Sallyport::Instance->new;
my $roles = $instance->roles;
my %expected = (session => 'run', relay => 'run', signer => '/', auth => 'store',
	lookup => '/', helpers => '/');

sub status_field {
	my ($pid, $field) = @_;
	my ($value) = slurp("/proc/$pid/status") =~ /^$field:\s*(.*)/m;
	return $value // '';
}

my %uids;
for my $role (sort keys %expected) {
	my $pid = $roles->{$role};
	ok($pid, "$role runs") or next;
	my $user = 'sallyport-' . ($role eq 'helpers' ? 'helper' : $role);
	my @uids = split ' ', status_field($pid, 'Uid');
	my ($name) = getpwuid $uids[0];
	is($name, $user, "$role: its user");
	is(join(' ', @uids), join(' ', ($uids[0]) x 4), "$role: all user ids");
	$uids{$uids[0]}++;
	is(status_field($pid, 'NoNewPrivs'), 1, "$role: no_new_privs")
	    if $role ne 'helpers';
	is(status_field($pid, 'CapEff') =~ s/0//gr, '', "$role: no capability");
	if ($role =~ /^(?:session|signer|auth)$/) {
		is(status_field($pid, 'Seccomp'), 2, "$role: a seccomp filter");
		my $own = readlink "/proc/$pid/ns/net";
		isnt($own, readlink '/proc/self/ns/net', "$role: a network of its own");
		my ($status, $out) = run({}, 'nsenter', '-t', $pid, '-n', 'ip', '-o',
			'addr');
		unlike($out, qr/inet/, "$role: with no address in it");
	}
}
is(scalar(keys %uids), scalar(keys %expected), 'all are different');
like(readlink("/proc/$roles->{$_}/root"), qr{/state/run$}, "$_: its root directory")
    for qw(session relay);
like(readlink("/proc/$roles->{auth}/root"), qr{/state/store$}, 'auth: its root directory');
for my $role (qw(session relay)) {
	my @stat = stat "/proc/$roles->{$role}/root/";
	is($stat[4], 0, "$role: root owns its root directory");
	is($stat[2] & 022, 0, "$role: which others cannot write");
}

my ($status, $out, $err) = run({}, build_folder() . '/t/root/confined',
	'sallyport-session', "$instance->{folder}/state/run");
note($out);
is($status, 0, 'the confined program') or diag($err);
my @bad = $out =~ /^not ok \d+ - (.*)/mg;
is_deeply(\@bad, [], 'what a confined session can do') or diag($out);
cmp_ok(scalar(() = $out =~ /^ok/mg), '>', 25, 'all tried');

$instance->stop_ok;
done_testing;
