#!/usr/bin/perl
# The programs by themselves: help, version, exit statuses, and what a wrong
# configuration says.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my ($status, $out, $err);

($status, $out, $err) = run({}, program('sallyportd'), '-V');
is($status, 0, 'sallyportd -V: exit status');
like($out, qr/^sallyportd? \S*\d+\.\d+/mi, 'it says its version');
like($out, qr/$_/i, "it says $_") for qw(GnuTLS SASL Kyoto SCRAM-SHA-256 PLAIN);

($status, $out, $err) = run({}, program('sallyportd'), '-Q');
is($status, 2, 'sallyportd: a wrong option is status 2');
like($err, qr/usage/i, 'and shows the usage');

($status, $out, $err) = run({}, program('sallyport'));
is($status, 2, 'sallyport without a command is status 2');
($status, $out, $err) = run({}, program('sallyport'), 'frobnicate');
is($status, 2, 'an unknown command is status 2');
like($err, qr/frobnicate/, 'and is named');

($status, $out, $err) = run({}, program('sallyport'), '--help');
is($status, 0, 'sallyport --help: exit status');
for my $command (qw(init user policy cert queue status trace)) {
	like($out, qr/\b$command\b/, "help lists $command");
	($status, my $help, $err) = run({}, program('sallyport'), $command,
		'--help');
	is($status, 0, "$command --help: exit status");
	like($help, qr/sallyport.*\b$command\b/s, "$command --help explains");
	($status, undef, $err) = run({}, program('sallyport'), $command,
		'--no-such-option');
	is($status, 2, "$command --no-such-option: exit status");
}
for my $pair (qw(user:add user:passwd user:list user:show user:remove
	policy:check policy:build policy:list policy:explain
	queue:list queue:show queue:flush queue:hold queue:release queue:remove
	queue:bounce)) {
	my @words = split /:/, $pair;
	($status, $out) = run({}, program('sallyport'), @words, '--help');
	is($status, 0, "@words --help: exit status");
	($status) = run({}, program('sallyport'), @words, '--no-such-option');
	is($status, 2, "@words --no-such-option: exit status");
}

my $instance = Sallyport::Instance->new(start => 0, users => 0);
my $good = slurp($instance->{conf});

sub check {
	return run({}, program('sallyportd'), '-c', $instance->{conf}, '-t');
}

($status, $out, $err) = check();
is($status, 0, '-t likes what init made') or diag($err);

# Each: what is wrong, the edit, what the message has to say.
my @wrong = (
	['unknown option', sub { s/^end/frobnicate = 1\nend/m },
		qr/frobnicate/],
	['cut off: no end = true', sub { s/^end.*//m }, qr/end/],
	['repeated option', sub { s/^end/recipients = 5\nrecipients = 6\nend/m },
		qr/recipients/],
	['environment variable', sub { s/^end/pam-service = "\${HOME}"\nend/m },
		qr/\$\{/],
	['port out of range',
		sub { s/127\.0\.0\.1:$instance->{ports}{submission}\b/127.0.0.1:70000/ },
		qr/port|70000/],
	['size with a wrong unit', sub { s/^end/message-size = "12Q"\nend/m },
		qr/message-size/],
	['duration with a wrong unit', sub { s/^end/expire = "5y"\nend/m },
		qr/expire/],
	['unknown mechanism',
		sub { s/(listener\s+"?submission"?\s*\{)/$1\nmechanisms = { "NTLM" }/ },
		qr/NTLM|mechanisms/],
	['certificate that has no section',
		sub { s/certificates\s*=\s*\{[^}]*\}/certificates = { "nobody" }/ },
		qr/nobody/],
	['TLS 1.1', sub { s/(listener\s+"?submission"?\s*\{)/$1\nmin-tls = "1.1"/ },
		qr/1\.1|min-tls/],
	['negative number', sub { s/^end/recipients = -1\nend/m },
		qr/recipients/],
	['hostname that is none', sub { s/^hostname.*/hostname = "-x y"/m },
		qr/hostname/],
);
for (@wrong) {
	my ($name, $edit, $says) = @$_;
	my $text = $good;
	$edit->() for $text;
	isnt($text, $good, "$name: the test edits the file");
	$instance->conf_write($text);
	($status, $out, $err) = check();
	is($status, 1, "$name: -t says no");
	like($err, qr/sallyport\.conf:\d+: .*$says|sallyport\.conf:\d+:.*/,
	    "$name: file and line");
	like($err, $says, "$name: what is wrong") or diag($err);
}
$instance->conf_write($good);

($status, $out, $err) = run({}, program('sallyportd'), '-c',
    "$instance->{folder}/nowhere.conf", '-t');
is($status, 1, 'no such configuration file: status 1');
like($err, qr/nowhere\.conf/, 'it is named');

done_testing;
