#!/usr/bin/perl
# Sender rights: what a login may say that it is from, at MAIL and in the
# message, and that "user rights --explain" says the same.
use strict;
use warnings;
use lib 't/lib';
use IO::Select;
use JSON::PP;
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my ($wrapper) = glob '/usr/lib/*/libpam_wrapper.so*';
my ($matrix) = glob '/usr/lib/*/pam_wrapper/pam_matrix.so';
my $scratch = scratch();
my %env;
if ($wrapper && $matrix) {
	mkdir "$scratch/pam.d";
	spew("$scratch/passdb", "peter:pan:sallyport\nwendy:pan:sallyport\n");
	chmod 0644, "$scratch/passdb";
	spew("$scratch/pam.d/sallyport", join '', map {
		"$_ required $matrix passdb=$scratch/passdb\n" } qw(auth account));
	my $preload = $wrapper;
	if (sanitized()) {
		chomp(my $asan = `gcc -print-file-name=libasan.so`);
		$preload = "$asan $wrapper";
	}
	%env = (LD_PRELOAD => $preload, PAM_WRAPPER => 1,
		PAM_WRAPPER_SERVICE_DIR => "$scratch/pam.d");
}

my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { 'pam-realms' => '{ "example.org" }', 'auth-tries' => 10,
		'auth-failure-delay' => '"100ms"' },
	submission => { backends => '{ "store", "pam" }' },
	submissions => { 'client-cert' => 'ask', 'implicit-external' => 'yes' });
my $password = $Sallyport::Instance::password{alice};

sub tool_ok {
	my ($name, @arguments) = @_;
	my ($status, $out, $err) = $instance->tool(@arguments);
	is($status, 0, $name) or diag($err);
	return $out;
}

# A login of the same password as alice, with these patterns.
sub login {
	my ($name, @patterns) = @_;
	$instance->user_add($name, $password, @patterns);
}

# What each of them may use, of all addresses below.
my %may = (
	own => ['own@example.org', 'OWN@Example.ORG', '"own"@example.org'],
	exact => ['shop@example.org', '"shop"@example.org'],
	many => ['shop@example.org', '"shop"@example.org', 'exact@example.org',
		'x@sub.example.net'],
	domain => ['a@example.net', 'b@EXAMPLE.NET', '"a b"@example.net'],
	under => ['x@sub.example.net', 'x@a.sub.example.net'],
	plus => ['plus+@example.org', 'plus+shop@example.org'],
	bounces => ['list-bounces@example.org', '"a b-bounces"@example.org'],
	idn => ['x@xn--bcher-kva.example'],
	literal => ['x@[192.0.2.1]'],
);
my %patterns = (
	own => [],
	exact => ['shop@example.org'],
	many => ['Shop@example.org', 'exact@example.org', '@sub.example.net'],
	domain => ['@example.net'],
	under => ['@.example.net'],
	plus => ['plus+*@example.org'],
	bounces => ['*-bounces@example.org'],
	idn => ["\@b\xc3\xbccher.example"],
	literal => ['x@[192.0.2.1]'],
	any => ['*'],
);
my @addresses = do {
	my %seen;
	grep { !$seen{$_}++ } (map { @$_ } @may{sort keys %may}),
	    'owner@example.org', 'own@example.com', 'own+x@example.org',
	    'shop@example.org.evil.example', '"shop@example.org"@evil.example',
	    'a@notexample.net', 'plus@example.org', 'plus+x@evil.example',
	    'list-bounces@evil.example', 'x-bounces.x@example.org',
	    '@evil.example:own@example.com', 'x@[192.0.2.2]';
};
$may{any} = \@addresses;
login($_, @{ $patterns{$_} }) for sort keys %patterns;

# A device of alice, by the store's own text: it knows alice's password.
sub enrol {
	my ($label, @rights) = @_;
	my @lines = map { decode_json($_) }
	    split /\n/, tool_ok('export', 'user', 'export');
	my ($owner) = grep { ($_->{name} // '') eq 'alice@example.org' } @lines;
	my %device = (%$owner, kind => 'device', owner => $owner->{name},
		name => "alice+$label\@example.org", rights => [@rights]);
	delete @device{qw(devices)};
	delete $device{rights} if !@rights;
	push @{ $owner->{devices} }, $label;
	my ($status, undef, $err) = $instance->tool({ in => join '', map {
		encode_json($_) . "\n" } $lines[0], $owner, \%device,
		{ users => 2 } }, 'user', 'import', '--replace', '-');
	is($status, 0, "device $label") or diag($err);
}
tool_ok('rights', 'user', 'rights', 'alice', '--add', 'alice@example.org',
	'--add', '@team.example.org');
enrol('phone');
enrol('printer', 'scan@team.example.org', '@elsewhere.example');

my $peers = Sallyport::Certs->authority($scratch, 'peers');
my %cert;
for (qw(branch closed)) {
	$cert{$_} = [$peers->issue($_, dns => ["$_.example"], purpose => 'client')];
	tool_ok("certificate of $_", 'user', 'add', $_, '--kind', 'server',
		'--certificate', $cert{$_}[0],
		$_ eq 'branch' ? ('--sender', '@branch.example') : ());
}
tool_ok('an entry without credential', 'user', 'add', 'peter',
	'--no-password', '--sender', 'pan@example.org');
$instance->start(env => \%env);

# The same session for many addresses: after each a RSET.
sub asked {
	my ($c, $address) = @_;
	my $reply = $c->command("MAIL FROM:<$address>");
	$c->command('RSET');
	return $reply;
}

subtest 'at MAIL, and explained' => sub {
	for my $login (sort keys %patterns) {
		my $c = $instance->authenticated(user => $login,
			password => $password);
		for my $address (@addresses) {
			my $allowed = grep { $_ eq $address } @{ $may{$login} };
			my $reply = asked($c, $address);
			my $named = $address =~ s/^\@.*://r; # without its route
			like($reply, $allowed ? qr/^250 /
			    : qr/^553 5\.7\.1 $login\@example\.org .*<\Q$named\E>/,
			    "$login: $address");
			my ($status) = $instance->tool('user', 'rights', $login,
				'--explain', $named);
			is($status, $allowed ? 0 : 1, 'explained the same');
		}
		like(asked($c, ''), qr/^250 /, "$login: the null reverse-path");
	}
	like($instance->logged(qr/ refused .*user=own\@example\.org .*field=MAIL/) // '',
	    qr/reason=sender-rights field=MAIL address=/, 'and logged');
};

subtest 'pipelined' => sub {
	my $c = $instance->authenticated(user => 'own', password => $password);
	$c->send("MAIL FROM:<boss\@example.org>\r\nRCPT TO:<b\@example.net>\r\n"
	    . "MAIL FROM:<own\@example.org>\r\nRCPT TO:<b\@example.net>\r\n");
	like($c->reply, $_, "$_") for qr/^553 5\.7\.1 /, qr/^503 /, qr/^250 /,
	    qr/^250 /;
};

# A message with this header; its reply.
my $number = 0;
sub submit {
	my ($c, $header, %o) = @_;
	return $c->transaction("${header}Subject: " . ++$number
	    . "\r\n\r\nhello\r\n", from => 'own@example.org', %o);
}

my $own = 'own@example.org';
my $rights = qr/^553 5\.7\.1 own\@example\.org .*<boss\@example\.org>/;
my $shape = qr/^550 5\.6\.0 /;
my @headers = (
	['its own address', "From: $own\r\n", qr/^250 /],
	['with a name', "From: \"Own, O.\" <$own>\r\n", qr/^250 /],
	['in other case', "From: OWN\@EXAMPLE.org\r\n", qr/^250 /],
	['quoted', "From: \"own\"\@example.org\r\n", qr/^250 /],
	['folded', "From:\r\n Own\r\n\t<$own>\r\n", qr/^250 /],
	['a blank before the colon', "From : $own\r\n", qr/^250 /],
	['with comments', "From: (boss\@example.org) $own (<boss\@example.org>)\r\n",
		qr/^250 /],
	['an encoded name', "From: =?utf-8?q?b=C3=BCro?= <$own>\r\n", qr/^250 /],
	['a name of eight bits', "From: B\xc3\xbcro <$own>\r\n", qr/^250 /],
	['a group', "From: We: $own;\r\n", qr/^250 /],
	['and as Sender', "From: $own\r\nSender: $own\r\n", qr/^250 /],
	['another', "From: boss\@example.org\r\n", $rights],
	['another, with a name', "From: Own <boss\@example.org>\r\n", $rights],
	['another, one name of many', "From: $own, boss\@example.org\r\n", $rights],
	['another, with a comment', "From: ($own) boss\@example.org\r\n", $rights],
	['another, in a group', "From: We: $own, boss\@example.org;\r\n", $rights],
	['another, behind a route', "From: <\@example.org:boss\@example.org>\r\n",
		$rights],
	['another, folded', "From:\r\n boss\@\r\n example.org\r\n", $rights],
	['another, in a field of other case', "fROM: boss\@example.org\r\n", $rights],
	['another, with a blank before the colon', "From\t: boss\@example.org\r\n",
		$rights],
	['another as Sender', "From: $own\r\nSender: boss\@example.org\r\n", $rights],
	['another as Resent-From', "From: $own\r\nResent-From: boss\@example.org\r\n",
		$rights],
	['another as Resent-Sender', "Resent-Sender: boss\@example.org\r\n"
		. "From: $own\r\n", $rights],
	['the same octets in another domain', "From: \"$own\"\@evil.example\r\n",
		qr/^553 5\.7\.1 /],
	['two fields', "From: $own\r\nFrom: $own\r\n", $shape],
	['two fields, the second another', "From: $own\r\nfrom: boss\@example.org\r\n",
		$shape],
	['another as name', "From: boss\@example.org <$own>\r\n", $rights],
	['an address as name', "From: $own <$own>\r\n", $shape],
	['an address after it', "From: $own <boss\@example.org>\r\n", $shape],
	['no address', "From: me\r\n", $shape],
	['an empty field', "From:\r\n", $shape],
	['an empty group', "From: nobody:;\r\n", $shape],
	['a comment that does not end', "From: (a $own\r\n", $shape],
	['an encoded word as local part',
		"From: =?utf-8?q?boss=40example.org?=\@example.org\r\n", $shape],
	['a Sender that is none', "From: $own\r\nSender: me\r\n", $shape],
	['a line that is no field', "To: x\@example.net\r\nhello\r\n"
		. "From: boss\@example.org\r\n", $shape],
	['a name with a fold before its colon', "To: x\@example.net\r\nFrom\r\n"
		. " : boss\@example.org\r\n", $shape],
	['a name with eight bits', "To: x\@example.net\r\n"
		. "From\xc2\xa0: boss\@example.org\r\n", $shape],
	['a mailbox file\'s line among fields', "From: $own\r\n"
		. ">From boss\@example.org Mon\r\nFrom: boss\@example.org\r\n", $shape],
	['more than is kept', "From: $own,\r\n" . (" $own,\r\n" x 1200) . " $own\r\n",
		$shape],
);

subtest 'in the message' => sub {
	my $accepted = 0;
	for my $row (@headers) {
		my ($name, $header, $expect) = @$row;
		my $c = $instance->authenticated(user => 'own',
			password => $password);
		like(submit($c, $header), $expect, $name);
		like($c->command('NOOP'), qr/^250 /, 'the session goes on');
		my $any = $instance->authenticated(user => 'any',
			password => $password);
		like(submit($any, $header), qr/^250 /, 'who may use all is not asked');
		$accepted += 1 + ("$expect" eq qr/^250 /);
		like(submit($c, "From: boss\@example.org\r\n", from => ''), $rights,
		    'nor is the null reverse-path a way round') if $name eq 'another';
	}
	ok($instance->arrived($accepted, 60), 'what was accepted arrives');
	is($instance->{smarthost}->count, $accepted, 'and nothing else');
	like($instance->logged(qr/ refused .*field=From/) // '',
	    qr/user=own\@example\.org .*reason=sender-rights field=From address=boss\@example\.org/,
	    'logged');
	like($instance->logged(qr/ refused .*reason=authors/) // '',
	    qr/user=own\@example\.org .*reply="550 5\.6\.0 /, 'logged');
};

subtest 'line ends that only look so' => sub {
	for my $trick ("From: $own\nFrom: boss\@example.org\r\n",
	    "From: $own\rFrom: boss\@example.org\r\n",
	    "From: $own\r\n\nFrom: boss\@example.org\r\n",
	    "From: $own\0\r\nFrom: boss\@example.org\r\n") {
		my $c = $instance->authenticated(user => 'own',
			password => $password);
		like(submit($c, $trick), qr/^550 5\.6\.0 bare CR, bare LF or NUL/,
		    'refused as what it is');
		ok($c->closed, 'and closed');
	}
};

subtest 'no From field' => sub {
	my $smarthost = $instance->{smarthost};
	$smarthost->forget;
	my $c = $instance->authenticated(user => 'own', password => $password);
	like(submit($c, ''), qr/^250 /, 'accepted');
	like($c->transaction("only text\r\n", from => 'OWN@example.org'), qr/^250 /,
	    'text without a header');
	like(submit($c, '', from => ''), qr/^550 5\.6\.0 no From/,
	    'not with the null reverse-path');
	ok($instance->arrived(2), 'both arrive') or return;
	my @messages = $smarthost->messages;
	my ($field) = grep { !/only text/ } @messages;
	my ($text) = grep { /only text/ } @messages;
	is(join('', $field =~ /^(From:.*\r\n)/mg), "From: <$own>\r\n",
	    'with a field of ours');
	like($text, qr/^From: <OWN\@example\.org>\r\n\r\nonly text\r\n\z/m,
	    'before the text, too');
};

subtest 'devices' => sub {
	my %devices = (
		phone => ['alice@example.org', 'x@team.example.org'],
		printer => ['scan@team.example.org'],
	);
	my @all = ('alice@example.org', 'x@team.example.org',
		'scan@team.example.org', 'alice+phone@example.org',
		'x@elsewhere.example', 'boss@example.org');
	push @{ $devices{phone} }, 'scan@team.example.org';
	for my $label (sort keys %devices) {
		my $c = $instance->authenticated(user => "alice+$label",
			password => $password);
		for my $address (@all) {
			my $allowed = grep { $_ eq $address } @{ $devices{$label} };
			like(asked($c, $address), $allowed ? qr/^250 /
			    : qr/^553 5\.7\.1 alice\+$label\@example\.org /,
			    "$label: $address");
			my ($status) = $instance->tool('user', 'rights',
				"alice+$label", '--explain', $address);
			is($status, $allowed ? 0 : 1, 'explained the same');
		}
	}
	my $c = $instance->authenticated(user => 'alice+printer',
		password => $password);
	like($c->transaction("From: alice\@example.org\r\n\r\n",
		from => 'scan@team.example.org'), qr/^553 5\.7\.1 alice\+printer/,
	    'in the message, too');
};

subtest 'certificates' => sub {
	for my $who (qw(branch closed)) {
		my $c = $instance->client(implicit => 1, cert => $cert{$who}[0],
			key => $cert{$who}[1]);
		my $good = $who eq 'branch' ? 'x@branch.example'
		    : 'closed@example.org';
		like($c->command('MAIL FROM:<alice@example.org>'),
		    qr/^553 5\.7\.1 $who\@example\.org /, "$who: without AUTH");
		like($c->transaction("From: $good\r\n\r\n", from => $good),
		    qr/^250 /, "$who: its own");
		like($c->transaction("From: alice\@example.org\r\n\r\n",
			from => $good), qr/^553 5\.7\.1 /, "$who: in the message");
	}
};

subtest 'logins of PAM' => sub {
	plan skip_all => 'pam_wrapper is not installed' if !%env;
	my $c = $instance->authenticated(user => 'peter', password => 'pan');
	like(asked($c, 'pan@example.org'), qr/^250 /,
	    'what an entry without credential says');
	like(asked($c, 'peter@example.org'), qr/^553 5\.7\.1 /,
	    'and not its own address beside that');
	$c = $instance->authenticated(user => 'wendy', password => 'pan');
	like(asked($c, 'wendy@example.org'), qr/^250 /, 'no entry: its own address');
	like(asked($c, 'pan@example.org'), qr/^553 5\.7\.1 /, 'and no other');
};

sub many {
	my ($c, $count) = @_;
	my $last;
	$last = submit($c, "From: own\@example.org\r\n") for 1 .. $count;
	return $last;
}

subtest 'messages an hour' => sub {
	tool_ok('a rate', 'user', 'limit', 'own', '--rate', '3');
	my $c = $instance->authenticated(user => 'own', password => $password);
	my $other = $instance->authenticated(user => 'own', password => $password);
	$other->command('MAIL FROM:<own@example.org>');
	$other->command('RCPT TO:<bob@example.net>');
	like(submit($c, "From: boss\@example.org\r\n"), $rights, 'refused');
	like(many($c, 3), qr/^250 /, 'three, and what was refused does not count');
	like($c->command('MAIL FROM:<own@example.org>'),
	    qr/^450 4\.7\.1 .* try again in (?:5\d|6\d) minutes/, 'the fourth waits');
	like($c->command('MAIL FROM:<>'), qr/^450 4\.7\.1 /, 'so do notices');
	$other->command('DATA');
	like($other->content("From: own\@example.org\r\n\r\n"), qr/^450 4\.7\.1 /,
	    'and what had begun before, in another session');
	like($instance->logged(qr/ refused .*reason=rate/) // '',
	    qr/user=own\@example\.org .*seconds=\d+/, 'logged');
	tool_ok('no rate', 'user', 'limit', 'own', '--rate', 'none');
	like(many($instance->authenticated(user => 'own', password => $password), 2),
	    qr/^250 /, 'none: as many as it likes');
};

subtest 'a device sends for its owner' => sub {
	tool_ok('a rate of the owner', 'user', 'limit', 'alice', '--rate', '2');
	my $mail = "From: alice\@example.org\r\n\r\n";
	like($instance->authenticated->transaction($mail), qr/^250 /, 'the owner');
	like($instance->authenticated(user => 'alice+phone',
		password => $password)->transaction($mail),
	    qr/^250 /, 'the device');
	like($instance->authenticated->command('MAIL FROM:<alice@example.org>'),
	    qr/^450 4\.7\.1 /, 'the owner has no more');
	like($instance->authenticated(user => 'alice+phone',
		password => $password)->command(
		'MAIL FROM:<alice@example.org>'), qr/^450 4\.7\.1 /,
	    'nor has the device');
	tool_ok('no rate', 'user', 'limit', 'alice', '--rate', 'none');
};

# Its reply without a command, if it comes within two seconds.
sub told {
	my ($c) = @_;
	my $reply;
	local $SIG{ALRM} = sub { die "late\n" };
	alarm 2 * (sanitized() ? 3 : 1);
	eval { $reply = $c->reply };
	alarm 0;
	return $reply // 'nothing';
}

# Ask for more replies than there is room for, until the server reads no more
# either.
sub stuff {
	my ($c) = @_;
	my $wait = IO::Select->new($c->{sock});
	my $line = "VRFY x\r\n" x 512;
	$c->{sock}->blocking(0);
	while ($wait->can_write(2)) {
		last if !defined syswrite($c->{sock}, $line) && !$!{EAGAIN};
	}
	return $c;
}

subtest 'revoked' => sub {
	my $smarthost = $instance->{smarthost};
	wait_until { !$instance->queue } 30;
	$smarthost->forget;
	my $ended = qr/ disconnect .*cause=revoked/;
	my @before = $instance->log_lines($ended);
	my $bystander = $instance->authenticated;
	my $device = $instance->authenticated(user => 'alice+phone',
		password => $password);
	my %c = map { $_ => $instance->authenticated(user => 'own',
		password => $password) } qw(idle busy data whole);
	for my $which (qw(data whole busy)) {
		$c{$which}->command($_) for 'MAIL FROM:<own@example.org>',
		    'RCPT TO:<bob@example.net>';
	}
	$c{$_}->command('DATA') for qw(data whole);
	$c{data}->send("From: own\@example.org\r\n");
	$c{whole}->send("From: own\@example.org\r\n\r\n.");
	$c{busy}->send('RCPT TO:<half@a.comm');
	my $full = stuff($instance->authenticated(user => 'own',
		password => $password));
	tool_ok('disable', 'user', 'disable', 'own');
	$c{whole}->send("\r\n");
	for my $which (sort keys %c) {
		like(told($c{$which}), qr/^421 4\.7\.0 /, "$which: told at once");
		ok($c{$which}->closed, "$which: and closed");
	}
	like($_->command('NOOP'), qr/^250 /, 'others go on') for $bystander, $device;
	like($instance->logged(qr/ revoked user=own\@example\.org /) // '',
	    qr/ sessions=5 /, 'logged');
	wait_until { $instance->log_lines($ended) >= @before + 5 } 5;
	is(scalar(my @after = $instance->log_lines($ended)), @before + 5,
	    'each of them, and the one that took no replies');
	tool_ok('enable', 'user', 'enable', 'own');
	tool_ok('other rights of the owner', 'user', 'rights', 'alice',
		'--remove', '@team.example.org');
	like(told($_), qr/^421 4\.7\.0 /, 'owner and device are told')
	    for $bystander, $device;
	is($smarthost->count, 0, 'nothing was delivered');
};

subtest 'the time of a login ends' => sub {
	my @lines = map { decode_json($_) }
	    split /\n/, tool_ok('export', 'user', 'export');
	my ($own) = grep { ($_->{name} // '') eq 'own@example.org' } @lines;
	$own->{until} = time + 4;
	my ($status, undef, $err) = $instance->tool({ in => join '', map {
		encode_json($_) . "\n" } $lines[0], $own, { users => 1 } },
		'user', 'import', '--replace', '-');
	is($status, 0, 'until soon') or diag($err);
	my $c = $instance->authenticated(user => 'own', password => $password);
	like(asked($c, $own->{name}), qr/^250 /, 'before');
	sleep 5;
	like($c->command('NOOP'), qr/^250 /, 'the session is there');
	like($c->command('MAIL FROM:<own@example.org>'), qr/^421 4\.7\.0 /,
	    'no mail after it');
	ok($c->closed, 'and closed');
	like($instance->logged(qr/ refused .*reason=ended/) // '',
	    qr/user=own\@example\.org/, 'logged');
};

$instance->stop_ok;
done_testing;
