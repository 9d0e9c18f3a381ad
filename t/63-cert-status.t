#!/usr/bin/perl
# Every certificate in use and how long it lasts, on one screen.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX qw(strftime);
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch,
	submission => { 'client-cert' => 'ask' });
my $folder = $instance->{folder};
my $tls = "$folder/tls";
my $smarthost_pin = Sallyport::Certs->pin("$scratch/smarthost.pem");

sub status_of {
	my ($status, $out, $err) = $instance->tool('cert', 'status', '--json');
	my $list = eval { decode_json($out) };
	diag("cert status: $out$err") if !$list || $err ne '';
	return ($status, @{ $list // [] });
}

# The one item of that kind whose use matches.
sub item {
	my ($kind, $use, @items) = @_;
	my @found = grep { $_->{kind} eq $kind && $_->{use} =~ $use } @items;
	is(scalar @found, 1, "one $kind: $use") or diag(explain(\@items));
	return $found[0] // {};
}

sub tool_ok {
	my ($status, $out, $err) = $instance->tool(@_);
	is($status, 0, "@_") or diag($err);
	return $out;
}

subtest 'a new set-up' => sub {
	my ($status, @items) = status_of();
	is($status, 0, 'nothing is near its end');
	is(join(' ', map { $_->{kind} } @items), 'own authority own authority',
	    'ours, our authority, and the smarthost\'s');
	my $own = item('own', qr/certificate server$/, @items);
	is($own->{name}, 'CN=mail.example.org', 'its subject');
	is($own->{file}, "$tls/server.pem", 'its file');
	cmp_ok($own->{days}, '>=', 823, 'how many days it has');
	like($own->{not_after}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'and its end');
	is($own->{state}, 'good', 'and how it is');
	like($own->{fingerprint}, qr/^[0-9a-f]{64}$/, 'and which one it is');
	my $ca = item('authority', qr/certificate server, certificate client/, @items);
	like($ca->{use}, qr/own authority/, 'one in several files is one');
	item('authority', qr/^smarthost$/, @items);
};

subtest 'clients' => sub {
	for my $name (qw(branch lost)) {
		tool_ok('cert', 'issue', "$name.example.org", '--role', 'client', '--out',
			"$scratch/$name", '--ca', $tls);
		tool_ok('user', 'add', $name, '--kind', 'server', '--certificate',
			"$scratch/$name.pem");
	}
	my ($foreign) = Sallyport::Certs->authority($scratch, 'their')
	    ->issue('foreign', purpose => 'client');
	tool_ok('user', 'add', 'foreign', '--no-password');
	tool_ok('user', 'bind', 'foreign', $foreign);
	tool_ok('user', 'add', 'named', '--no-password');
	tool_ok('user', 'bind', 'named', '--ca', "$tls/ca.pem", '--san',
		'dns:branch.example.org');
	tool_ok('device', 'enrol', 'alice', 'phone', '--certificate', '--output',
		"$scratch/phone.p12");
	for my $running (1, 0) {
		my ($status, @items) = status_of();
		is($status, 0, 'none is near its end');
		my %clients = map { ($_->{name} => $_) } grep { $_->{kind} eq 'client' } @items;
		is(join(' ', sort keys %clients), join(' ', map { "$_\@example.org" }
			'alice+phone', qw(branch foreign lost named)), 'all that are bound');
		is($clients{"$_\@example.org"}{state}, 'good', "$_: is known")
		    for 'branch', 'named', 'alice+phone';
		is($clients{'branch@example.org'}{pin}, Sallyport::Certs->pin("$scratch/branch.pem"),
		    'by its key');
		is($clients{'foreign@example.org'}{state}, 'unknown',
		    'another authority\'s has no end that we know of');
		$instance->stop if $running;
	}
	tool_ok('cert', 'revoke', "$scratch/lost.pem", '--ca', $tls);
	my ($status, @items) = status_of();
	is($status, 1, 'one that is taken back is an alarm');
	my ($lost) = grep { $_->{name} eq 'lost@example.org' } @items;
	is($lost->{state}, 'revoked', 'is said');
	# With the same key, as a renewal does it.
	tool_ok('cert', 'issue', 'lost.example.org', '--role', 'client', '--out',
		"$scratch/lost", '--ca', $tls, '--days', 3);
	($status, @items) = status_of();
	($lost) = grep { $_->{name} eq 'lost@example.org' } @items;
	is($lost->{state}, 'near', 'its next certificate counts');
	is($status, 1, 'and is near its end');
	# Older programs wrote no keys.
	my $ledger = slurp("$tls/issued");
	spew("$tls/issued", $ledger =~ s/ key=\S+//gr);
	($status, @items) = status_of();
	($lost) = grep { $_->{name} eq 'lost@example.org' } @items;
	is($lost->{state}, 'unknown', 'without keys in the ledger nothing is known');
	spew("$tls/issued", $ledger =~ s/ key=\K../zz/r);
	my (undef, undef, $err) = $instance->tool('cert', 'list');
	like($err, qr/issued:\d+: not a line of/, 'a key that is none is refused');
	spew("$tls/issued", $ledger);
	tool_ok('user', 'disable', 'lost');
	($status, @items) = status_of();
	ok(!(grep { $_->{name} eq 'lost@example.org' } @items), 'who may not log in has none in use');
	is($status, 0, 'and is no alarm');
};

# A time of openssl's, in so many days.
sub days {
	return strftime('%Y%m%d%H%M%SZ', gmtime(time + $_[0] * 86400));
}

subtest 'lists' => sub {
	my ($status, @items) = status_of();
	my $list = item('list', qr/^own authority$/, @items);
	is($list->{state}, 'good', 'a new list is good for a month and not near its end');
	$instance->listener_option('submission', 'client-crl' => qq("$tls/crl.pem"));
	$instance->listener_option('submission', 'client-ca' => qq("$tls/ca.pem"));
	spew("$scratch/index", '');
	spew("$scratch/ca.cnf", "[ca]\ndefault_ca=x\n[x]\ndatabase=$scratch/index\n"
		. "default_md=sha256\n");
	for (['near', '-crl_lastupdate', days(-20), '-crl_nextupdate', days(2)], ['ended', '-crl_lastupdate', '20200101000000Z',
			'-crl_nextupdate', '20200201000000Z']) {
		my ($state, @how) = @$_;
		my ($rc, undef, $err) = run({}, 'openssl', 'ca', '-config', "$scratch/ca.cnf",
			'-gencrl', '-keyfile', "$tls/ca.key", '-cert', "$tls/ca.pem", '-out',
			"$tls/crl.pem", @how);
		is($rc, 0, 'another list') or diag($err);
		($status, @items) = status_of();
		$list = item('list', qr/^listener submission, own authority$/, @items);
		is($list->{state}, $state, "is $state");
		is($status, 1, 'an alarm');
	}
	unlink "$tls/crl.pem";
	($status, @items) = status_of();
	is(item('list', qr/^listener submission/, @items)->{state}, 'unreadable', 'one that is gone');
	is($status, 1, 'an alarm');
	tool_ok('cert', 'crl', '--ca', $tls);
};

subtest 'pinned peers' => sub {
	my $sites = slurp("$folder/sites");
	$instance->sites($sites =~ s/^(\s*127\.0\.0\.1\S*\s+out\s+lock.*)$/$1 pin=$smarthost_pin/mr
		. "absent.example out lock pin=sha256:" . 'ab' x 32 . "\n");
	my ($status, @items) = status_of();
	my $peer = item('peer', qr/^sites:\d+, pin sha256:.*, not seen yet$/,
		grep { $_->{name} ne 'absent.example' } @items);
	is($peer->{pin}, $smarthost_pin, 'which it is');
	is($peer->{state}, 'unknown', 'not seen yet');
	$instance->start;
	$instance->authenticated->transaction(message());
	ok($instance->arrived(1), 'mail goes there');
	for my $running (1, 0) {
		# It is written down once it has gone.
		my $seen = wait_until {
			my (undef, @now) = status_of();
			my ($one) = grep { ($_->{pin} // '') eq $smarthost_pin } @now;
			$one && $one->{state} ne 'unknown' ? $one : undef;
		} 20;
		ok($seen, $running ? 'seen: its certificate is known' : 'and without a server')
		    or next;
		is($seen->{state}, 'good', 'and good');
		cmp_ok($seen->{days}, '>=', 88, 'for so long');
		$instance->stop if $running;
	}
	($status, @items) = status_of();
	my ($absent) = grep { $_->{name} eq 'absent.example' } @items;
	is($absent->{state}, 'unknown', 'who was never seen is unknown');
	is($status, 0, 'which is no alarm');
	$instance->sites($sites);
};

# One item of ours, as the screen shows it.
sub line_of {
	my ($out) = @_;
	return $out =~ /^(.*\(certificate server,? .*)$/m ? $1 : '';
}

sub put_server {
	my (@how) = @_;
	my ($pem, $key) = Sallyport::Certs->authority($scratch, 'short')->issue('short',
		dns => ['mail.example.org'], @how);
	$instance->section_option('certificate', 'server', chain => qq("$pem"));
	$instance->section_option('certificate', 'server', key => qq("$key"));
}

subtest 'the screen' => sub {
	my $conf = slurp($instance->{conf});
	my $out = tool_ok('cert', 'status');
	like(line_of($out), qr{^  #{12} +82\d days  20\d\d-\d\d-\d\d  CN=mail\.example\.org \(certificate server, tls/server\.pem\)$},
	    'a bar, days, the end, whose and where');
	like($out, qr/^our certificates\n.*^clients that are bound\n.*^authorities\n.*^revocation lists\n/ms,
	    'by kinds');
	unlike($out, qr/\e/, 'no colour but on a terminal');
	for (['half of its life', qr/^  #{6}\.{6} +1\d\d days /, from => -86400 * 180,
			to => 86400 * 180 - 3600], ['near its end', qr/^! ##\.{10} +12 days /,
			from => -86400 * 78, to => 86400 * 13 - 3600],
		['over', qr/^! \.{12} +ended /, from => -86400 * 90, to => -86400],
		['not begun', qr/^! .{12} +not-yet /, from => 86400, to => 86400 * 90]) {
		my ($name, $line, @how) = @$_;
		put_server(@how);
		my ($status, $screen) = $instance->tool('cert', 'status');
		like(line_of($screen), $line, $name);
		is($status, $line =~ /!/ ? 1 : 0, 'the exit status says so');
	}
	put_server(from => -86400 * 90, to => -86400);
	# script(1) has it on a terminal.
	for (['with colour', { TERM => 'xterm', NO_COLOR => '' }, qr/\e\[31m\.{12}\e\[0m +ended/],
		['NO_COLOR', { TERM => 'xterm', NO_COLOR => '1' }, qr/! \.{12} +ended/],
		['a dumb terminal', { TERM => 'dumb', NO_COLOR => '' }, qr/! \.{12} +ended/]) {
		my ($name, $env, $line) = @$_;
		my ($status, $screen) = run({ env => $env }, 'script', '-qec', join(' ',
			program('sallyport'), '-c', $instance->{conf}, 'cert', 'status'), '/dev/null');
		is($status, 1, "$name: the same status");
		like($screen, $line, $name);
	}
	spew("$tls/server.pem", "nothing\n");
	$instance->conf_write($conf);
	my ($status, $screen) = $instance->tool('cert', 'status');
	is($status, 1, 'one that cannot be read is an alarm');
	like(line_of($screen), qr/unreadable .* expected certificates in PEM/, 'and says why');
};

subtest 'wrong usage' => sub {
	for (['x'], ['--days', 3], ['--role', 'server']) {
		my ($status, $out, $err) = $instance->tool('cert', 'status', @$_);
		is($status, 2, "status @$_");
		like($err, qr/\Asallyport cert: /, 'is said');
	}
	$instance->sites("x out nonsense\n");
	my ($status, $out, $err) = $instance->tool('cert', 'status');
	is($status, 1, 'a site table that does not compile: no');
	like($err, qr/sites:1: /, 'is said');
	like($out, qr/CN=mail\.example\.org/, 'and the rest is shown');
};

$instance->clean_ok;
done_testing;
