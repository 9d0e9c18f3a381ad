#!/usr/bin/perl
# Alarms: who is told, once, by mail and by a program; certificates and dated
# exceptions near their end; what a role sees of its starter's environment.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX qw(strftime);
use Sallyport::Client;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'retry-first' => '"1s"', 'retry-most' => '"1s"',
		'alarm-mail' => '"ops@example.org"' });
my $smarthost = $instance->{smarthost};
my $scratch = $instance->{scratch};
my $state = "$instance->{folder}/state/alarms.json";

# The program: what it got, each call in a file of its own, renamed when it
# is whole.
my $told = "$scratch/told";
mkdir $told;
chmod 0777, $told;
my $program = "$scratch/pager";
spew($program, <<'E');
#!/bin/sh
out=$1/$$
ls /proc/$$/fd >$out.fds
{
	echo "argument $2"
	echo "ids $(id -u) $(id -g) $(id -G)"
	echo "session $(cut -d' ' -f6 /proc/$$/stat) $$"
	echo "privileges $(grep NoNewPrivs /proc/$$/status | tr -d '[:space:]')"
	sed 's/^/descriptor /' $out.fds
	env | sed 's/^/environment /'
	sed 's/^/text /'
} >$out.new
mv $out.new $out.done
E
chmod 0755, $program;

sub told {
	return map { slurp($_) } glob "$told/*.done";
}

sub forget_told {
	unlink glob "$told/*";
}

sub pages {
	my ($pattern, $seconds) = @_;
	return wait_until { grep { /$pattern/ } told() } $seconds;
}

# Alarm mails kept by the smarthost, as {from, to, octets}.
sub mails {
	my ($pattern) = @_;
	return grep { $_->{octets} =~ /^Auto-Submitted: auto-generated\r$/m
	    && $_->{octets} =~ $pattern }
	    map { { %$_, octets => slurp(
		"$smarthost->{folder}/Maildir/new/$_->{file}") } }
	    $smarthost->events('message');
}

# How often the log has it since the last start.
sub count_logged {
	my ($pattern) = @_;
	my $text = substr $instance->log_text, $instance->{log_start};
	return scalar grep { /$pattern/ } split /\n/, $text;
}

sub logged_now {
	my ($pattern, $seconds) = @_;
	return wait_until { count_logged($pattern) } $seconds;
}

subtest 'a program that cannot be run' => sub {
	spew("$scratch/open", "#!/bin/sh\n");
	chmod 0757, "$scratch/open";
	for my $case (["$scratch/absent", 'No such file'],
	    [$scratch, 'expected a program'], [$instance->{conf}, 'expected a program'],
	    ["$scratch/open", 'others can write it']) {
		$instance->option('alarm-command', qq({ "$case->[0]" }));
		my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
			$instance->{conf}, '-t');
		is($status, 1, "$case->[1]: refused");
		like($err, qr/^\Q$instance->{conf}\E:\d+: alarm-command: .*\Q$case->[1]\E/m,
		    'with file and line');
	}
	for my $mailbox ('ops', 'ops@', '<ops@example.org>', 'ops@example.org SIZE=1') {
		$instance->option('alarm-command', '{ }');
		$instance->option('alarm-mail', qq("$mailbox"));
		my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
			$instance->{conf}, '-t');
		like($err, qr/^\Q$instance->{conf}\E:\d+: alarm-mail: .*expected a mailbox/m,
		    "alarm-mail $mailbox: refused");
	}
	$instance->option('alarm-mail', '"ops@example.org"');
	$instance->option('alarm-command', qq({ "$program", "$told", "\$HOME;id" }));
	my ($status, $out, $err) = run({}, program('sallyportd'), '-c',
		$instance->{conf}, '-t');
	is($status, 0, 'one that can be run is good') or diag($err);
};

subtest 'output that cannot be written' => sub {
	for my $option ('-V', '-t') {
		my ($status, $out, $err) = run({}, '/bin/sh', '-c',
			'exec "$0" "$@" >/dev/full', program('sallyportd'), '-c',
			$instance->{conf}, $option);
		is($status, 1, "$option fails");
		like($err, qr/standard output/, 'and says why');
	}
};

subtest 'the environment' => sub {
	plan skip_all => 'not root: roles are not ours to look at' if !is_root();
	$instance->start(env => { SECRET => 'x', SSLKEYLOGFILE => "$scratch/keys",
		GNUTLS_SYSTEM_PRIORITY_FILE => '/dev/null', TZ => 'UTC',
		SALLYPORT_X => '1' });
	my $roles = $instance->roles;
	is(scalar keys %$roles, 6, 'all roles are there');
	for my $role (sort keys %$roles) {
		my @names = sort map { /^([^=]+)/ }
		    split /\0/, slurp("/proc/$roles->{$role}/environ");
		my @alien = grep { !/^(?:PATH|TZ|LANG|LD_PRELOAD|SALLYPORT_.*
		    |[A-Z]+SAN_OPTIONS|PAM_WRAPPER.*)$/x } @names;
		is("@alien", '', "$role: nothing but what is listed");
		is(scalar(grep { /^(?:TZ|SALLYPORT_X)$/ } @names), 2, "$role: and that");
	}
	$instance->stop;
};

subtest 'a role that dies' => sub {
	forget_told();
	$smarthost->forget;
	$instance->start(env => { SECRET => 'of the starter' });
	kill KILL => $instance->roles->{lookup};
	ok(logged_now(qr/ alarm role-died role=lookup /), 'is an alarm');
	ok(pages(qr/role-died role=lookup/, 15), 'the program is run') or return;
	my ($page) = grep { /role-died role=lookup/ } told();
	like($page, qr/^text \S+Z master alarm role-died role=lookup pid=\d+ signal=9 name=KILL$/m,
	    'with the line on its standard input');
	like($page, qr/^argument \$HOME;id$/m, 'its arguments as they are: no shell');
	# The shell itself adds some.
	is(join(' ', grep { !/^(?:PWD|_|SHLVL|OLDPWD)$/ }
		sort map { /^([^=]+)/ } $page =~ /^environment (.*)$/mg),
	    'PATH SALLYPORT_HOSTNAME SALLYPORT_VERSION', 'its environment is fixed');
	like($page, qr/^session (\d+) \1$/m, 'a session of its own');
	like($page, qr/^privileges NoNewPrivs:1$/m, 'no new privileges');
	if (is_root()) {
		my ($uid, $gid) = (getpwnam 'sallyport-lookup')[2, 3];
		like($page, qr/^ids $uid $gid $gid$/m,
		    'the user of the lookup role, and no other group');
	}
	# 10 and above are the shell's own.
	is_deeply([grep { $_ < 10 } $page =~ /^descriptor (\d+)$/mg], [0, 1, 2],
	    'no descriptor of ours');
	ok((wait_until { mails(qr/role-died role=lookup/) } 15), 'a mail arrives')
	    or return;
	my ($mail) = mails(qr/role-died role=lookup/);
	is($mail->{from}, '', 'null reverse-path');
	is_deeply($mail->{to}, ['ops@example.org'], 'to alarm-mail');
	like($mail->{octets}, qr/^From: Sallyport <postmaster\@mail\.example\.org>\r$/m, 'From');
	like($mail->{octets}, qr/^\Q$_\E:/m, $_) for qw(Date Message-ID To Subject);
	unlike($mail->{octets}, qr/(?<!\r)\n|\r(?!\n)/, 'CRLF throughout');
	my $alarms = $instance->status->{alarms};
	cmp_ok($alarms->{$_}, '>=', 1, "status counts $_") for qw(raised mailed commanded);
	is($alarms->{'left-out'}, 0, 'none was left out');
	my ($status, $out) = $instance->tool('status');
	like($out, qr/^alarms .*\braised=\d+/m, 'the text too');
};

# Those that came while it was away, and its own end, are not lost.
subtest 'the relay dies' => sub {
	$smarthost->forget;
	my $pid = $instance->roles->{relay};
	kill KILL => $pid;
	ok((wait_until { mails(qr/role-died role=relay pid=$pid /) } 20),
	    'the mail about it arrives');
	is(scalar(mails(qr/role-died role=relay pid=$pid /)), 1, 'once');
};

subtest 'the same again' => sub {
	$instance->stop;
	$smarthost->forget;
	forget_told();
	my $keep = slurp("$instance->{folder}/sites");
	$instance->start;
	$instance->sites("nonsense\n");
	$instance->reload for 1 .. 3;
	ok(pages(qr/ configuration error=/), 'a table that does not compile is told');
	sleep 1;
	is(scalar(grep { /sites:1: / } grep { / configuration error=/ } told()), 1,
	    'once for three times');
	cmp_ok($instance->status->{alarms}{repeated}, '>=', 2, 'the others are counted');
	$instance->sites($keep);
	like($instance->reload, qr/result=ok/, 'right again');
};

# Its death need not be the new configuration's doing.
subtest 'a role that dies during a reload' => sub {
	my $pid = $instance->roles->{lookup};
	kill STOP => $pid;
	$instance->signal('HUP');
	sleep 0.5;
	kill KILL => $pid;
	ok(logged_now(qr/ reload again=yes died=lookup/), 'is tried once more');
	ok((wait_until { count_logged(qr/ reload result=ok /) == 2 } 10),
	    'and then it is in force') or diag(grep { / reload / } $instance->log_lines(qr/reload/));
};

subtest 'a program that hangs' => sub {
	my $hang = "$scratch/hang";
	spew($hang, "#!/bin/sh\necho \$\$ >>$told/hung\nexec sleep 600\n");
	chmod 0755, $hang;
	forget_told();
	$instance->option('alarm-command', qq({ "$hang" }));
	like($instance->reload, qr/result=ok/, 'configured');
	my $roles = $instance->roles;
	kill KILL => $roles->{$_} for qw(lookup signer auth);
	ok((wait_until { -s "$told/hung" } 10), 'it runs');
	sleep 2;
	my @running = slurp("$told/hung") =~ /\d+/g;
	cmp_ok(scalar @running, '<=', 2, 'at most two at once');
	ok((wait_until { $instance->ready('submission') } 10), 'the server serves');
	ok($instance->stop, 'and ends without waiting for it');
	ok((wait_until { !grep { kill 0, $_ } @running } 5), 'it is gone as well');
	$instance->option('alarm-command', qq({ "$program", "$told", "-" }));
};

subtest 'certificates near their end' => sub {
	forget_told();
	$smarthost->forget;
	my @files = Sallyport::Certs->authority($scratch, 'soon')
	    ->issue('soon', dns => ['mail.example.org'], purpose => 'both',
		to => 86400 * 6 - 3600);
	my $conf = slurp($instance->{conf});
	$instance->section_option('certificate', 'server', chain => qq("$files[0]"));
	$instance->section_option('certificate', 'server', key => qq("$files[1]"));
	my $pattern = qr/ alarm certificate-ends days=5 file=\Q$files[0]\E for="certificate server" subject=CN=soon ends=/;
	unlink $state;
	$instance->start;
	ok(logged_now($pattern), 'six days before the end the log says so');
	ok(pages(qr/certificate-ends days=5 /), 'the program is told');
	ok((wait_until { mails(qr/certificate-ends days=5 /) } 10), 'and a mail sent');
	$instance->reload;
	is(count_logged($pattern), 1, 'a reload does not repeat it');
	$instance->stop;
	my ($mode) = (stat $state)[2];
	is($mode & 07777, 0600, 'what was told is kept');
	$instance->start;
	sleep 0.5;
	is(count_logged($pattern), 0, 'nor does a restart');
	$instance->stop;
	spew($state, '{"told": ');
	$instance->start;
	ok(logged_now(qr/ alarms trouble=.*damaged/), 'a damaged memory is reported');
	ok(logged_now($pattern), 'and it is told again rather than never');
	$instance->stop;
	$instance->conf_write($conf);
};

subtest 'a client certificate that is none' => sub {
	my @files = $instance->{authority}->issue('half', purpose => 'server');
	my $conf = slurp($instance->{conf});
	$instance->section_option('certificate', 'client', chain => qq("$files[0]"));
	$instance->section_option('certificate', 'client', key => qq("$files[1]"));
	$instance->start;
	my $pattern = qr/ alarm configuration trouble=".*certificate client: .*lacks clientAuth: it is not shown/;
	ok(logged_now($pattern), 'told at the start');
	$instance->reload;
	is(count_logged($pattern), 2, 'and at a reload');
	$instance->stop;
	$instance->conf_write($conf);
};

subtest 'dated exceptions' => sub {
	my $keep = slurp("$instance->{folder}/sites");
	my $day = sub { strftime('%Y-%m-%d', gmtime(time + 86400 * $_[0])) };
	my ($soon, $later) = ($day->(5), $day->(200));
	$instance->sites("$keep"
	    . "soon.example out may until=$soon reason=\"they move\"\n"
	    . "later.example out may until=$later reason=\"they dally\"\n");
	$instance->start;
	my $pattern = qr/ alarm exception-ends days=5 row=\S*sites:\d+ site=soon\.example direction=out reason="they move" ends=$soon/;
	ok(logged_now($pattern), 'the log says so ahead');
	ok(!count_logged(qr/exception-ends.*later\.example/), 'not of one far off');
	$instance->reload;
	is(count_logged($pattern), 1, 'once');
	$instance->stop;
	my $past = $day->(-2);
	$instance->sites("$keep"
	    . "soon.example out may until=$past reason=\"they move\"\n");
	ok($instance->start(may_fail => 1), 'a start after the date is a start') or return;
	ok(logged_now(qr/ alarm exception-ends state=ended row=\S*sites:\d+ site=soon\.example /),
	    'and the log says that it is over');
	$instance->sites($keep);
	$instance->stop;
};

# Whatever a reboot finds, mail that it can carry is carried.
subtest 'a start with all that is over' => sub {
	my $keep = slurp("$instance->{folder}/sites");
	my $conf = slurp($instance->{conf});
	my @files = Sallyport::Certs->authority($scratch, 'over')
	    ->issue('over', dns => ['mail.example.org'], purpose => 'both',
		from => -86400 * 9, to => -86400);
	my $past = 'until=' . strftime('%Y-%m-%d', gmtime(time - 86400 * 2))
	    . ' reason="they move"';
	$instance->sites("$keep"
	    . "192.0.2.0/24 in may $past\n"
	    . "a.example out verify mode=observe $past\n"
	    . "b.example out verify eku=any $past\n"
	    . "c.example out verify tls-optional=yes $past\n");
	$instance->section_option('certificate', 'server', chain => qq("$files[0]"));
	$instance->section_option('certificate', 'server', key => qq("$files[1]"));
	ok($instance->start(may_fail => 1), 'starts') or return;
	ok(logged_now(qr/ alarm exception-ends state=ended .*site=\Q$_\E /), "$_ is told")
	    for '192.0.2.0/24', 'a.example', 'b.example', 'c.example';
	ok(logged_now(qr/ alarm certificate-ends state=ended file=\Q$files[0]\E /),
	    'and our certificate');
	$instance->stop;
	$instance->conf_write($conf);
	$instance->sites($keep);
};

subtest 'a start with the last good table' => sub {
	my $keep = slurp("$instance->{folder}/sites");
	my $ca = "$instance->{folder}/partner.pem";
	spew($ca, slurp("$instance->{folder}/tls/ca.pem"));
	$instance->sites("${keep}partner.example out verify ca=partner.pem\n");
	$instance->start;
	$instance->stop;
	unlink $ca;
	ok($instance->start(may_fail => 1), 'whose anchors are gone: starts') or return;
	ok(logged_now(qr/ alarm configuration trouble=".*sites: does not compile, the last good/),
	    'the table is told');
	ok(logged_now(qr/ alarm configuration trouble=".*\Q$ca\E: .*rows that name it are not met/),
	    'and so is the file');
	like($instance->reload, qr/result=(?!ok)/, 'a reload refuses it');
	$instance->stop;
	spew($ca, "-----BEGIN CERTIFICATE-----\nnone\n");
	ok($instance->start(may_fail => 1), 'or no anchors at all: starts') or return;
	ok(logged_now(qr/ alarm configuration trouble=".*\Q$ca\E: expected trust anchors/),
	    'told as well');
	$instance->stop;
	$instance->sites($keep);
};

subtest 'a site that fails, and recovers' => sub {
	forget_told();
	$smarthost->restart(tls => 'none');
	$instance->start;
	my $client = $instance->authenticated;
	like($client->transaction(message(subject => "number $_")), qr/^250/, "message $_")
	    for 1 .. 2;
	ok(logged_now(qr/ alarm site .*state=failing/, 20), 'refusing TLS is an alarm');
	ok(pages(qr/ site .*state=failing/), 'the program is told');
	sleep 2;
	is(scalar(grep { / site .*state=failing/ } told()), 1, 'once');
	$smarthost->restart(tls => 'starttls');
	ok($instance->arrived(2, 20), 'with TLS the messages go');
	ok((wait_until { mails(qr/ site .*state=failing/) } 20),
	    'and the mail about the failure with them');
	ok((wait_until { my @none = $instance->queue; @none == 0 } 20), 'all of them');
	$instance->stop;
};

subtest 'an alarm mail that cannot be delivered' => sub {
	$smarthost->forget;
	$smarthost->fault('rcpt=ops@example.org' => '550 5.1.1 no such person here');
	$instance->start;
	kill KILL => $instance->roles->{lookup};
	ok(logged_now(qr/ warning dropped queue=\S+ rcpt=ops\@example\.org /, 15),
	    'is dropped');
	ok((wait_until { my @none = $instance->queue; @none == 0 } 10),
	    'neither held nor bounced');
	sleep 1;
	is($smarthost->count, 0, 'nothing arrives');
	$smarthost->set(fault => undef);
};

$instance->stop_ok(deaths => 1);
done_testing;
