#!/usr/bin/perl
# GSSAPI with a real Kerberos: who has a ticket is a login, and nobody else.
use strict;
use warnings;
use lib 't/lib';
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

$ENV{PATH} .= ':/usr/sbin:/sbin';
for (qw(krb5kdc kdb5_util kadmin.local kinit gsasl)) {
	plan skip_all => "$_ is not installed" unless in_path($_);
}

my $scratch = scratch();
my $port = free_port();
my %kerberos = (KRB5_CONFIG => "$scratch/krb5.conf",
	KRB5_KDC_PROFILE => "$scratch/kdc.conf",
	KRB5CCNAME => "FILE:$scratch/cc");
my @kdc;

# A realm of its own with a KDC on loopback.
sub realm {
	my ($realm, $port) = @_;
	my %env = (%kerberos, KRB5_KDC_PROFILE => "$scratch/$realm/kdc.conf");
	mkdir "$scratch/$realm";
	spew("$scratch/$realm/kdc.conf", <<"END");
[kdcdefaults]
	kdc_listen = 127.0.0.1:$port
	kdc_tcp_listen = 127.0.0.1:$port
[realms]
	$realm = {
		database_name = $scratch/$realm/principal
		acl_file = $scratch/$realm/acl
		key_stash_file = $scratch/$realm/stash
		supported_enctypes = aes256-cts-hmac-sha1-96:normal
	}
END
	my ($status, $out, $err) = run({ env => \%env, timeout => 120 },
		'kdb5_util', '-r', $realm, 'create', '-s', '-P', 'master key');
	die "kdb5_util: $err" if $status;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', "$scratch/$realm/log";
		open STDERR, '>&', \*STDOUT;
		$ENV{$_} = $env{$_} for keys %env;
		exec 'krb5kdc', '-n', '-r', $realm, '-P', "$scratch/$realm/pid"
		    or POSIX::_exit(127);
	}
	push @kdc, $pid;
	wait_until { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) }
	    or die "krb5kdc does not answer";
	return sub {
		my ($status, $out, $err) = run({ env => \%env },
			'kadmin.local', '-r', $realm, @_);
		die "kadmin.local @_: $out $err" if $status;
	};
}

my $other_port = free_port();
spew("$scratch/krb5.conf", <<"END");
[libdefaults]
	default_realm = EXAMPLE.ORG
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
[realms]
	EXAMPLE.ORG = {
		kdc = 127.0.0.1:$port
	}
	ELSEWHERE.TEST = {
		kdc = 127.0.0.1:$other_port
	}
[domain_realm]
	localhost = EXAMPLE.ORG
	.example.org = EXAMPLE.ORG
END
my $admin = realm('EXAMPLE.ORG', $port);
my $other = realm('ELSEWHERE.TEST', $other_port);
END {
	local $?;
	for (@kdc) {
		kill TERM => $_;
		waitpid $_, 0;
	}
}

# Clients connect to "localhost", so that is the host of our principal.
my $keytab = "$scratch/keytab";
$admin->('addprinc', '-randkey', 'smtp/localhost');
$admin->('addprinc', '-randkey', 'smtp/elsewhere.example.org');
$admin->('addprinc', '-pw', "secret of $_", $_)
    for qw(alice carol dora/admin);
$admin->('ktadd', '-k', $keytab, 'smtp/localhost');
# A trust from the other realm to ours: its principals get tickets for us.
for ($admin, $other) {
	$_->('addprinc', '-pw', 'trust', 'krbtgt/EXAMPLE.ORG@ELSEWHERE.TEST');
}
$other->('addprinc', '-pw', 'secret of alice', 'alice');

sub for_helper {
	my ($file) = @_;
	chmod 0600, $file;
	my $uid = getpwnam('sallyport-helper');
	chown $uid, -1, $file if is_root() && defined $uid;
}
for_helper($keytab);

my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { keytab => "\"$keytab\"", hostname => '"localhost"',
		realm => '"example.org"',
		'kerberos-realms' => '{ "EXAMPLE.ORG" }',
		'auth-failure-delay' => '"200ms"', 'auth-free-failures' => 1000,
		'helper-deadline' => '"3s"' },
	submission => { mechanisms => '{ "GSSAPI", "PLAIN" }',
		backends => '{ "store", "kerberos" }' },
	submissions => { mechanisms => '{ "GSSAPI", "PLAIN" }' });
$instance->tool('cert', 'issue', 'localhost', 'mail.example.org', '--role',
	'server', '--out', "$instance->{folder}/tls/server");
$instance->start;

# A ticket for a principal, and none else.
sub ticket {
	my ($principal, @more) = @_;
	unlink "$scratch/cc";
	my ($name) = $principal =~ /^([^@]*)/;
	my ($status, $out, $err) = run({ env => \%kerberos,
		in => "secret of $name\n" }, 'kinit', @more, $principal);
	die "kinit $principal: $out $err" if $status;
}

my $before; # lines about logins, before the last one

sub gsasl {
	my (@more) = @_;
	$before = () = $instance->log_lines(qr/ auth session=/);
	my ($status) = run({ env => \%kerberos, timeout => 30 }, 'gsasl', '--smtp',
		"--connect=localhost:$instance->{ports}{submission}",
		"--x509-ca-file=$instance->{folder}/tls/ca.pem",
		'-m', 'GSSAPI', '--quiet', '--no-cb', @more);
	return $status;
}

sub last_auth {
	return wait_until {
		my @lines = $instance->log_lines(qr/ auth session=/);
		@lines > $before ? $lines[-1] : undef } 5;
}

like($instance->client->ehlo, qr/^250-AUTH GSSAPI PLAIN\r?$/m, 'it is offered, first');
unlike($instance->client(implicit => 1)->ehlo, qr/GSSAPI/,
    'not where kerberos is no backend');

{
	my ($status, $out) = $instance->tool('user', 'check', 'carol');
	is($status, 0, 'user check: somebody would answer for carol');
	like($out, qr/^submission: kerberos: GSSAPI$/m, 'Kerberos would');
	($status, $out) = $instance->tool('user', 'check', 'carol@other.example');
	like($out, qr/not by GSSAPI: no realm of Kerberos has this name/,
	    'but for no other realm');
}

subtest 'gsasl' => sub {
	ticket('alice');
	is(gsasl('-a', 'alice'), 0, 'alice has a ticket');
	like(last_auth(), qr/result=ok user=alice\@example\.org/, 'and is who it says');
	is(gsasl('-a', 'alice', '-z', 'alice'), 0, 'her own authorization identity');
	is(gsasl('-a', 'alice', '-z', 'alice@example.org'), 0, 'with its realm');
	ticket('carol');
	is(gsasl('-a', 'carol'), 0, 'who is not in the store');
	like(last_auth(), qr/result=ok user=carol\@example\.org/, 'is a login too');
};

subtest 'curl' => sub {
	ticket('alice');
	spew("$scratch/message", message());
	my ($status, $out, $err) = run({ env => \%kerberos, timeout => 30 },
		'curl', '--silent', '--show-error', '--ssl-reqd', '--cacert',
		"$instance->{folder}/tls/ca.pem", '--user', 'alice@EXAMPLE.ORG:',
		'--login-options', 'AUTH=GSSAPI', '--mail-from',
		'alice@example.org', '--mail-rcpt', 'bob@example.net',
		'--upload-file', "$scratch/message",
		"smtp://localhost:$instance->{ports}{submission}");
	is($status, 0, 'sends a message') or diag($err);
	ok($instance->arrived(1), 'which arrives');
};

subtest 'refused' => sub {
	ticket('alice');
	isnt(gsasl('-a', 'alice', '-z', 'carol'), 0, 'to act as another');
	like(last_auth(), qr/result=failed .*authorization identity of somebody else/,
	    'for that reason');
	ticket('dora/admin');
	isnt(gsasl('-a', 'dora'), 0, 'an instance is not the person');
	like(last_auth(), qr/result=failed .*no login here/, 'for that reason');
	ticket('alice@ELSEWHERE.TEST');
	isnt(gsasl('-a', 'alice'), 0, 'alice of another realm, whatever it is trusted with');
	like(last_auth(), qr/result=failed .*no login here/, 'for that reason');
	$instance->tool('user', 'disable', 'alice');
	ticket('alice');
	isnt(gsasl('-a', 'alice'), 0, 'one whom the store has disabled');
	like(last_auth(), qr/result=failed .*disabled/, 'for that reason');
	$instance->tool('user', 'enable', 'alice');
	is(gsasl('-a', 'alice'), 0, 'until he is enabled again');
};

subtest 'a ticket that has expired' => sub {
	ticket('alice', '-l', '3s');
	is(gsasl('-a', 'alice'), 0, 'is good before');
	sleep 4;
	isnt(gsasl('-a', 'alice'), 0, 'and not after');
};

subtest 'broken tokens' => sub {
	my %token = ('noise' => 'x' x 100, 'one octet' => "\x60",
		'a length without end' => "\x60\x84\xff\xff\xff\xff",
		'9,000 octets' => "\x60" x 9000);
	for my $name (sort keys %token) {
		my $c = $instance->client;
		like($c->command('AUTH GSSAPI ' . encode_base64($token{$name}, '')),
		    qr/^(535 5\.7\.8|501 5\.5\.2) /, $name);
		like($c->plain('alice', 'correct horse'), qr/^235 /,
		    "$name: the session goes on");
	}
	my $c = $instance->client;
	is($c->command('AUTH GSSAPI'), '334 ', 'no initial response: an empty challenge');
	like($c->command('*'), qr/^501 5\.7\.0 /, 'cancelled');
	like($c->plain('alice', 'correct horse'), qr/^235 /, 'the session goes on');
};

# The first message of a client with a ticket.
sub first_token {
	my ($status, $out) = run({ env => \%kerberos, in => "\n" }, 'gsasl',
		'--client', '-m', 'GSSAPI', '--service=smtp',
		'--hostname=localhost', '-a', 'alice', '--quiet');
	return (sort { length $b <=> length $a } split /\s+/, $out)[0];
}

subtest 'a token that is shown twice' => sub {
	ticket('alice');
	my $token = first_token();
	cmp_ok(length $token, '>', 400, 'a token');
	like($instance->client->command("AUTH GSSAPI $token"), qr/^334 \S/,
	    'is good once');
	like($instance->client->command("AUTH GSSAPI $token"), qr/^535 5\.7\.8 /,
	    'and no second time');
	my @cache = glob "$instance->{folder}/state/helper/*";
	is(scalar(@cache), 1, 'the replay cache is in the state folder');
};

subtest 'a key table that is of no use' => sub {
	my $of = "$scratch/other";
	$admin->('ktadd', '-k', $of, 'smtp/elsewhere.example.org');
	for_helper($of);
	spew("$scratch/$_", $_ eq 'roots' ? slurp($keytab) : "junk\n")
	    for qw(junk roots);
	for_helper("$scratch/junk");
	chmod 0600, "$scratch/roots";
	for (['that lacks our key', $of, 'expected one of smtp/localhost'],
		['that is none', "$scratch/junk", 'expected one of smtp/localhost'],
		is_root() ? ['that the helpers cannot read', "$scratch/roots",
			'cannot read it'] : ()) {
		my ($what, $file, $why) = @$_;
		$instance->option(keytab => "\"$file\"");
		my ($status, $out, $err) = run({}, program('sallyportd'), '-t',
			'-c', $instance->{conf});
		is($status, 0, "$what: -t warns");
		like($err, qr/GSSAPI is not offered: .*\Q$why\E/, "$what: and says why");
		like($instance->reload, qr/result=ok/, "$what: it runs");
		like($instance->client->ehlo, qr/^250-AUTH PLAIN\r?$/m,
		    "$what: it is not offered");
		like($instance->logged(qr/alarm.*GSSAPI is not offered/), qr/\Q$why\E/,
		    "$what: with an alarm");
	}
	my $conf = slurp($instance->{conf});
	spew("$instance->{conf}.2", $conf =~ s/^keytab = .*\n//mr);
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		"$instance->{conf}.2");
	like($err, qr/listener submission: GSSAPI is not offered, there is no keytab/,
	    'none at all: -t says so');
	spew("$instance->{conf}.2", $conf =~ s/^kerberos-realms = .*\n//mr);
	($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		"$instance->{conf}.2");
	is($status, 1, 'without kerberos-realms is an error');
	like($err, qr/:\d+: keytab without kerberos-realms/, 'with its place');
	$instance->option(keytab => "\"$scratch/none\"");
	($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 1, 'one that is missing is an error');
	like($err, qr/sallyport\.conf:\d+: keytab: /, 'with its place');
	chmod 0644, $keytab;
	$instance->option(keytab => "\"$keytab\"");
	($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 1, 'one that others can read is an error');
	like($err, qr/keytab: .*lets others read it/, 'and is named');
	chmod 0600, $keytab;
	like($instance->reload, qr/result=ok/, 'a good one again');
	ticket('alice');
	is(gsasl('-a', 'alice'), 0, 'and a login');
};

$instance->stop_ok;
done_testing;
