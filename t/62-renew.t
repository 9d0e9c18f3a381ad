#!/usr/bin/perl
# Certificates of a server are renewed before their end, with their keys or
# with new ones that were announced.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use MIME::Base64;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";

my $sites = slurp("$instance->{folder}/sites");

sub cert_ok {
	my ($status, $out, $err) = $instance->tool('cert', @_);
	is($status, 0, "cert @_") or diag $err;
	return $out;
}

sub x509 {
	my ($file, @what) = @_;
	my ($status, $out) = run({}, 'openssl', 'x509', '-in', $file, '-noout', @what);
	return $out;
}

# SHA-256 of a key's SubjectPublicKeyInfo.
sub pin {
	my ($status, $out) = run({}, 'openssl', 'pkey', '-in', $_[0], '-pubout');
	return sha256_hex(decode_base64($out =~ s/-----.*?-----//gr));
}

subtest 'due or not' => sub {
	my $before = slurp("$tls/server.pem");
	like(cert_ok('renew'), qr/server\.pem: good until .*client\.pem: good until /s,
	    'nothing is');
	is(slurp("$tls/server.pem"), $before, 'so nothing is done');
	my $key = slurp("$tls/server.key");
	my $names = x509("$tls/server.pem", '-ext', 'subjectAltName,extendedKeyUsage');
	like(cert_ok('renew', 'server', '--due', 1000, '--days', 90),
	    qr/\A\S*server\.pem: renewed until [^\n]*\n\z/, 'one, by its name');
	isnt(slurp("$tls/server.pem"), $before, 'is renewed');
	is(slurp("$tls/server.key"), $key, 'with its key');
	is(x509("$tls/server.pem", '-ext', 'subjectAltName,extendedKeyUsage'), $names,
	    'for the same');
	like(cert_ok('renew'), qr/server\.pem: good/, '90 days are enough');
	like(cert_ok('renew', '--due', 100), qr/server\.pem: renewed.*client\.pem: good/s,
	    'or not');
	like($instance->reload // '', qr/result=ok/, 'the server takes it');
	ok($instance->authenticated, 'and serves');
	like(cert_ok('renew', 'client', '--due', 1000, '--reload'),
	    qr/client\.pem: renewed[^\n]*\nthe server has taken it\n\z/, 'or at once');
	unlike(cert_ok('renew', '--reload'), qr/server has/, 'if there is anything');
	my $conf = slurp($instance->{conf});
	$instance->conf_write("x\n$conf");
	my ($status, $out, $err) = $instance->tool('cert', 'renew', '--reload');
	is($status, 1, 'a configuration that cannot be read');
	$instance->conf_write($conf);
	spew("$instance->{folder}/sites", "x\n");
	($status, $out, $err) = $instance->tool('cert', 'renew', 'client',
		'--due', 1000, '--reload');
	is($status, 1, 'if the server refuses what is there');
	like($out, qr/client\.pem: renewed/, 'it is renewed all the same');
	like($err, qr/the server goes on with what it had: \S*sites:1/, 'and that is said');
	spew("$instance->{folder}/sites", $sites);
	like($instance->reload // '', qr/result=ok/, 'put right');
	($status, $out, $err) = $instance->tool('cert', 'renew', 'nobody');
	is($status, 1, 'a name that is not there');
	like($err, qr/nobody: no such certificate in /, 'is said');
};

subtest 'a key that was announced' => sub {
	my $old = pin("$tls/server.key");
	my $out = cert_ok('tlsa', '--port', 465);
	is($out, "_465._tcp.mail.example.org. IN TLSA 3 1 1 $old ; present key\n",
	    'the record of the present key');
	my $ports = join '|', @{ $instance->{ports} }{qw(submission submissions)};
	like(cert_ok('tlsa'), qr/\A(?:_(?:$ports)\._tcp\.\S+ IN TLSA .*\n){2}\z/,
	    'for the listeners\' ports');
	$out = cert_ok('tlsa', 'server', '--port', 465, '--next');
	my ($next) = $out =~ /3 1 1 ([0-9a-f]{64}) ; next key$/m;
	is($next, pin("$tls/server.key.next"), 'and of the next, which is made');
	is(pin("$tls/server.key"), $old, 'but not yet used');
	is(cert_ok('tlsa', '--port', 465), $out, 'it stays the next one');
	cert_ok('renew', 'server', '--due', 9999, '--new-key');
	is(pin("$tls/server.key"), $next, 'until it is the key');
	ok(!-e "$tls/server.key.next", 'and not the next any more');
	like($instance->reload // '', qr/result=ok/, 'the server takes it');
	cert_ok('renew', 'server', '--due', 9999, '--new-key');
	isnt(pin("$tls/server.key"), $next, 'a new one is made if none was announced');
	like($instance->reload // '', qr/result=ok/, 'and taken');
};

# The chain comes first, then its key: in between a crash leaves both.
subtest 'half renewed' => sub {
	my $key = slurp("$tls/server.key");
	cert_ok('tlsa', '--next');
	my $next = slurp("$tls/server.key.next");
	cert_ok('renew', 'server', '--due', 9999, '--new-key');
	spew("$tls/server.key.next", $next);
	spew("$tls/server.key", $key);
	chmod 0600, "$tls/server.key", "$tls/server.key.next";
	like($instance->reload // '', qr/result=refused/, 'such a pair is refused');
	cert_ok('renew', 'server', '--due', 9999);
	is(slurp("$tls/server.key"), $next, 'the next run puts it right');
	like($instance->reload // '', qr/result=ok/, 'and it is taken');
};

subtest 'not ours' => sub {
	my ($cert, $key) = $instance->{authority}->issue('bought',
		dns => ['mail.example.org'], to => 86400 * 3);
	my @files = (slurp($cert), slurp($key));
	spew("$tls/server.pem", $files[0]);
	spew("$tls/server.key", $files[1]);
	my ($status, $out, $err) = $instance->tool('cert', 'renew');
	is($status, 1, 'what another authority has issued');
	like($err, qr/server\.pem: not issued by the authority in /, 'is left to it');
	is(slurp("$tls/server.pem"), $files[0], 'as it was');
	like($out, qr/client\.pem: good/, 'the others are looked at all the same');
};

subtest 'the list of revoked ones' => sub {
	cert_ok('crl', '--days', 10);
	my $end = sub {
		return (run({}, 'openssl', 'crl', '-in', "$tls/crl.pem", '-noout',
			'-nextupdate'))[1];
	};
	my $before = $end->();
	my ($status, $out) = $instance->tool('cert', 'renew', '--due', 5);
	unlike($out, qr/crl\.pem/, 'is left while it is good');
	is($end->(), $before, 'really');
	($status, $out) = $instance->tool('cert', 'renew', '--due', 20);
	like($out, qr/crl\.pem: renewed/, 'and made anew in time');
	isnt($end->(), $before, 'really');
};

$instance->stop_ok;
done_testing;
