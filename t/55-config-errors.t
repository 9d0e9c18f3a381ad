#!/usr/bin/perl
# What keeps the server from starting: each has a message of its own, and
# nothing is left running.
use strict;
use warnings;
use lib 't/lib';
use File::Copy qw(copy);
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(start => 0);
my $folder = $instance->{folder};
my $good = slurp($instance->{conf});

sub refuses {
	my ($name, @says) = @_;
	my $text = $instance->refused;
	ok(defined $text, "$name: it does not start") or return;
	like($text, $_, "$name: it says $_") or diag($text) for @says;
	ok(!$instance->ready('submission'), "$name: nobody listens");
}

sub with_mode {
	my ($file, $mode, $then) = @_;
	my $before = (stat "$folder/$file")[2] & 07777;
	chmod $mode, "$folder/$file";
	$then->();
	chmod $before, "$folder/$file";
}

sub without {
	my ($file, $then) = @_;
	rename "$folder/$file", "$folder/$file.away" or die "$file: $!";
	$then->();
	rename "$folder/$file.away", "$folder/$file" or die "$file: $!";
}

{
	my $taken = IO::Socket::IP->new(Listen => 1, LocalHost => '127.0.0.1',
		LocalPort => $instance->{ports}{submissions});
	refuses('port in use', qr/127\.0\.0\.1:$instance->{ports}{submissions}/,
		qr/in use/i);
}

for my $key (qw(server.key client.key)) {
	with_mode("tls/$key", 0644, sub {
		refuses("$key readable by others", qr/$key/, qr/others|mode|0600|permission/i);
	});
	without("tls/$key", sub {
		refuses("$key missing", qr/$key/, qr/No such file|missing|absent/i);
	});
}
with_mode('tls', 0777, sub {
	refuses('the folder of keys writable by others', qr/tls/,
		qr/others|writ|permission/i);
});
without('tls/server.pem', sub {
	refuses('certificate missing', qr/server\.pem/, qr/No such file|missing/i);
});
{
	copy("$folder/tls/server.key", "$folder/tls/keep");
	spew("$folder/tls/server.key", slurp("$folder/tls/client.key"));
	refuses('key of another certificate', qr/server/, qr/match|fit|belong|SPKI/i);
	spew("$folder/tls/server.key", slurp("$folder/tls/keep"));
	spew("$folder/tls/server.key", "rubbish\n");
	refuses('key that is none', qr/server\.key/, qr/key|PEM/i);
	spew("$folder/tls/server.key", slurp("$folder/tls/keep"));
	unlink "$folder/tls/keep";
}
for my $option ([smarthost => '', 'ca'], [listener => 'submission', 'client-ca']) {
	my ($section, $name, $which) = @$option;
	$instance->section_option($section, $name, $which, "\"$folder/sites\"");
	my @is = (qr/sallyport\.conf:\d+: /, qr/\b$which\b.*sites: expected trust anchors/);
	refuses("$section: $which that is no certificate", @is);
	my ($status, $out, $err) = run({}, program('sallyportd'), '-t', '-c',
		$instance->{conf});
	is($status, 1, '-t fails too');
	like($err, $_, "-t says $_") for @is;
	$instance->conf_write($good);
}
without('sites', sub {
	rename "$folder/state/run/tables", "$folder/state/run/away";
	mkdir "$folder/state/run/tables", 0755;
	refuses('no table, none before', qr/sallyport\.conf: sites: .*sites: No such file/);
	rmdir "$folder/state/run/tables";
	rename "$folder/state/run/away", "$folder/state/run/tables";
});
without('state/store/users.kch', sub {
	refuses('missing store', qr/users\.kch/, qr/No such file|missing|absent|no credential store/i);
});
with_mode('state/store/users.kch', 0644, sub {
	refuses('store readable by others', qr/users\.kch/,
		qr/others|mode|0600|permission/i);
});
{
	my $store = slurp("$folder/state/store/users.kch");
	spew("$folder/state/store/users.kch", substr $store, 0, 1000);
	refuses('store cut off', qr/users\.kch/);
	spew("$folder/state/store/users.kch", $store);
}

$instance->conf_write($good =~ s/^end.*//mr);
refuses('configuration cut off', qr/sallyport\.conf:\d+: /);
$instance->conf_write($good);

my $sites = slurp("$folder/sites");
{
	$instance->sites("$sites\n* out frobnicate\n");
	my @lines = split /\n/, "$sites\n* out frobnicate";
	my $line = @lines;
	my @tables = glob "$folder/state/run/tables/*";
	ok(@tables, 'init has compiled the table');
	ok($instance->start(may_fail => 1), 'wrong table, a last good one: it starts');
	ok($instance->log_lines(qr/sites:$line: /), 'and says what is wrong where');
	ok($instance->stop, 'it stops');
	rename "$folder/state/run/tables", "$folder/state/run/away";
	mkdir "$folder/state/run/tables", 0755;
	refuses('wrong table, none before', qr/sites:$line: /);
	rmdir "$folder/state/run/tables" or unlink glob "$folder/state/run/tables/*";
	rmdir "$folder/state/run/tables";
	rename "$folder/state/run/away", "$folder/state/run/tables";
	$instance->sites($sites);
}

ok($instance->start(may_fail => 1), 'with all put right it starts');
{
	my $text = $instance->refused;
	ok(defined $text, 'a second server on the same folder does not start');
	like($text // '', qr/in use|another|running/i, 'and says why');
	ok($instance->authenticated, 'the first is unharmed');
}
$instance->stop_ok;
done_testing;
