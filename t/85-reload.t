#!/usr/bin/perl
# SIGHUP: new connections get the new configuration, those that are there keep
# theirs, and a bad file changes nothing.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $instance = Sallyport::Instance->new;

sub size {
	my ($c) = @_;
	my ($size) = $c->ehlo =~ /^250[- ]SIZE (\d+)/m;
	return $size;
}

subtest 'options' => sub {
	my $before = $instance->roles;
	$instance->option('message-size' => '"1M"');
	like($instance->reload // '', qr/result=ok/, 'reload');
	is(size($instance->client), 1 << 20, 'in force for a new connection');
	my $old = $instance->client;
	$instance->option('message-size' => '"2M"');
	like($instance->reload // '', qr/result=ok/, 'reload');
	is(size($old), 1 << 20, 'a connection keeps what it began with');
	is(size($instance->client), 2 << 20, 'a new one gets the new');
	is_deeply($instance->roles, $before, 'no process was replaced');
};

subtest 'a transaction over a reload' => sub {
	my $count = $instance->{smarthost}->count;
	my $c = $instance->authenticated;
	$c->command('MAIL FROM:<alice@example.org>');
	$c->command('RCPT TO:<bob@example.net>');
	$c->command('DATA');
	$instance->reload;
	like($c->content(message()), qr/^250/, 'goes on');
	ok($instance->arrived($count + 1), 'and arrives');
};

subtest 'a bad file' => sub {
	my $good = slurp($instance->{conf});
	$instance->conf_write($good =~ s/^end.*/frobnicate = 1\nend = true/mr);
	like($instance->reload // '', qr/result=refused.*sallyport\.conf:\d+/,
	    'is refused, file and line named');
	is(size($instance->client), 2 << 20, 'and changes nothing');
	$instance->conf_write($good);
	my $key = "$instance->{folder}/tls/server.key";
	chmod 0644, $key;
	like($instance->reload // '', qr/result=refused.*server\.key/, 'a key too open as well');
	chmod 0600, $key;
	like($instance->reload // '', qr/result=ok/, 'all put right: taken');
};

subtest 'a renewed certificate' => sub {
	my $old = $instance->client;
	my $serial = sub { Net::SSLeay::X509_get_serialNumber($_[0]{sock}->peer_certificate) };
	my $before = Net::SSLeay::P_ASN1_INTEGER_get_hex($serial->($old));
	my ($status, $out, $err) = $instance->tool('cert', 'issue',
		'mail.example.org', '--role', 'server', '--out',
		"$instance->{folder}/tls/server");
	is($status, 0, 'cert issue') or diag($err);
	like($instance->reload // '', qr/result=ok/, 'reload');
	my $new = $instance->client;
	my $after = Net::SSLeay::P_ASN1_INTEGER_get_hex($serial->($new));
	isnt($after, $before, 'is shown to new connections');
	like($old->command('NOOP'), qr/^250/, 'the old connection lives on');
};

subtest 'listeners' => sub {
	my $port = free_port();
	my $good = slurp($instance->{conf});
	my $with = $good =~ s/^(listener\s+"?submission"?\s*\{.*?)\baddresses\s*=\s*\{/$1addresses = { "127.0.0.1:$port", /msr;
	isnt($with, $good, 'one more address');
	$instance->conf_write($with);
	like($instance->reload // '', qr/result=ok/, 'reload');
	my $c = Sallyport::Client->new(port => $port, timeout => 5);
	like($c ? $c->{greeting} : '', qr/^220/, 'a new address is served');
	$instance->conf_write($good);
	like($instance->reload // '', qr/result=ok/, 'reload');
	ok((wait_until { !Sallyport::Client->new(port => $port, bare => 1) } 5),
	    'an address taken away refuses');
	ok(!$c || $c->command('NOOP') =~ /^250/, 'its connection lives on');
	my $taken = IO::Socket::IP->new(Listen => 1, LocalHost => '127.0.0.1');
	my $used = $taken->sockport;
	$instance->conf_write($good =~ s/^(listener\s+"?submission"?\s*\{.*?)\baddresses\s*=\s*\{/$1addresses = { "127.0.0.1:$used", /msr);
	like($instance->reload // '', qr/result=refused.*$used/, 'a port in use: refused');
	ok($instance->authenticated, 'and the others are served');
	$instance->conf_write($good);
	$instance->reload;
};

subtest 'many' => sub {
	my $oldest = $instance->client;
	my $c;
	for my $n (1 .. 12) {
		$instance->option(recipients => 100 + $n);
		$instance->reload;
		$c = $instance->client if $n == 10;
	}
	like($oldest->command('NOOP'), qr/^421 4\.3\.2 /,
	    'a connection on a configuration long gone is closed');
	like($c->command('NOOP'), qr/^250 /, 'one on a recent one is not');
};

subtest 'under load' => sub {
	my $count = $instance->{smarthost}->count;
	my $pid = fork // die;
	if (!$pid) {
		my $ok = 1;
		for (1 .. 3) {
			my $c = $instance->authenticated or $ok = 0, last;
			$c->transaction(message()) =~ /^250/ or $ok = 0 for 1 .. 10;
		}
		POSIX::_exit($ok ? 0 : 1);
	}
	$instance->signal('HUP'), sleep 0.05 for 1 .. 10;
	waitpid $pid, 0;
	is($?, 0, 'no submission fails while it reloads ten times');
	ok($instance->arrived($count + 30), 'all arrive');
};

# Two tables take turns while mail flows: every decision is of one of them whole.
subtest 'tables under load' => sub {
	my $sites = slurp("$instance->{folder}/sites");
	my ($hop) = $sites =~ /^(\S+\s+out\s+lock.*)$/m;
	my @tables = ("$hop\n127.0.0.0/8 in encrypt\n",
		"# one\n# two\n# three\n# four\n127.0.0.1 in encrypt min=tls1.3\n"
		. "# five\n$hop\n");
	my %whole = map { $_ => 1 } ('out sites:1 lock', 'in sites:2 encrypt',
		'out sites:7 lock', 'in sites:5 encrypt');
	$instance->sites($tables[0]);
	$instance->reload;
	my $count = $instance->{smarthost}->count;
	my $before = () = $instance->log_lines(qr/ policy /);
	my $stop = "$instance->{scratch}/stop";
	my $sent = 0;
	my $pid = open my $from_child, '-|';
	if (!$pid) {
		my $ok = 1;
		while (!-e $stop && $sent < 2000) {
			my $c = $instance->authenticated or $ok = 0, last;
			for (1 .. 5) {
				$c->transaction(message()) =~ /^250/ ? $sent++ : ($ok = 0);
			}
		}
		syswrite STDOUT, "$sent\n";
		POSIX::_exit($ok ? 0 : 1);
	}
	for my $turn (1 .. 8) {
		my $now = $instance->{smarthost}->count;
		$instance->sites($tables[$turn % 2]);
		like($instance->reload // '', qr/result=ok/, 'reload');
		wait_until { $instance->{smarthost}->count > $now + 10 } 10;
	}
	spew($stop, '');
	chomp($sent = <$from_child>);
	close $from_child;
	is($?, 0, 'no submission fails');
	ok($instance->arrived($count + $sent), "all $sent arrive");
	my @lines = $instance->log_lines(qr/ policy /);
	my %seen;
	for (@lines[$before .. $#lines]) {
		my ($side, $row, $asked) =
		    /direction=(\S+) .*\brow=(\S+) asked=(\S+)/;
		$seen{"$side $row $asked"}++;
	}
	is_deeply([grep { !$whole{$_} } sort keys %seen], [], 'no decision is torn');
	cmp_ok(scalar(grep { /^out/ } keys %seen), '==', 2, 'both tables spoke');
	$instance->sites($sites);
	$instance->reload;
};

$instance->stop_ok;
done_testing;
