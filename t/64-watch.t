#!/usr/bin/perl
# With watch-files what is renewed is used without being told, and without
# anybody noticing but those who look at the certificate.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Test;
use Sallyport::Watched;
use Test::More;
use Time::HiRes qw(sleep time);

my $scratch = scratch();
my $instance = Sallyport::Watched->new(scratch => $scratch);
my $tls = "$instance->{folder}/tls";

subtest 'renewed' => sub {
	my $before = $instance->reloads;
	my $old = $instance->authenticated;
	my ($status, $out, $err) = $instance->tool('cert', 'renew', 'server', '--due', 999);
	is($status, 0, 'sallyport cert renew') or diag $err;
	$instance->noticed_ok($before, qr/result=ok/, 'is noticed');
	ok($instance->logged(qr/ note files changed=1 first=\S+server\.pem/), 'and said');
	$instance->shows_ok("$tls/server.pem", 'a client sees it');
	like($old->transaction(message()), qr/^250/, 'who was there goes on');
};

subtest 'the two files of a pair' => sub {
	my $before = $instance->reloads;
	my ($cert, $key) = $instance->pair;
	my $began = time;
	spew("$tls/server.pem", slurp($cert));
	sleep 0.4;
	spew("$tls/server.key", slurp($key));
	my $gap = time - $began;
	$instance->noticed_ok($before, qr/result=ok/, 'are taken once both are there');
	$instance->shows_ok($cert, 'and shown');
	SKIP: {
		skip("they took $gap s", 1) if $gap > 1.5;
		is($instance->reloads, $before + 1, 'by one reload, without an alarm between');
	}
};

subtest 'what is wrong, and put right' => sub {
	my ($cert, $key) = $instance->pair;
	my $good = fingerprint("$tls/server.pem");
	my $before = $instance->reloads;
	$instance->put($cert, "$tls/server.pem");
	$instance->noticed_ok($before, qr/alarm reload result=refused/, 'half a pair is refused in the end');
	is($instance->shown, $good, 'the old one stays');
	$before = $instance->reloads;
	$instance->put($key, "$tls/server.key");
	$instance->noticed_ok($before, qr/result=ok/, 'the other half puts it right');
	$instance->shows_ok($cert, 'and it is shown');
	$before = $instance->reloads;
	chmod 0644, "$tls/server.key";
	$instance->noticed_ok($before, qr/result=refused/, 'so is a key that others can read');
	$before = $instance->reloads;
	chmod 0600, "$tls/server.key";
	$instance->noticed_ok($before, qr/result=ok/, 'until they cannot');
	$before = $instance->reloads;
	rename $tls, "$tls.away" or die $!;
	$instance->noticed_ok($before, qr/result=refused/, 'and a folder that is gone');
	$before = $instance->reloads;
	rename "$tls.away", $tls or die $!;
	$instance->noticed_ok($before, qr/result=ok/, 'until it is back');
};

# Files come by links that are changed: certbot's, and a volume's of Kubernetes.
subtest 'links' => sub {
	my $conf = slurp($instance->{conf});
	my ($live, $archive) = map { "$scratch/$_" } qw(live archive);
	mkdir $_ or die $! for $live, $archive;
	my $number = 0;
	my $certbot = sub {
		my @files = $instance->pair;
		$number++;
		for (['fullchain', $files[0]], ['privkey', $files[1]]) {
			my ($name, $file) = @$_;
			spew("$archive/$name$number.pem", slurp($file));
			chmod 0600, "$archive/$name$number.pem";
			unlink "$live/$name.pem";
			symlink "../archive/$name$number.pem", "$live/$name.pem" or die $!;
		}
		return $files[0];
	};
	my $volume = "$scratch/volume";
	mkdir $volume or die $!;
	my $kubernetes = sub {
		my @files = $instance->pair;
		my $version = '..version' . ++$number;
		mkdir "$volume/$version" or die $!;
		spew("$volume/$version/tls.crt", slurp($files[0]));
		spew("$volume/$version/tls.key", slurp($files[1]));
		chmod 0600, "$volume/$version/tls.key";
		symlink $version, "$volume/..data_tmp" or die $!;
		rename "$volume/..data_tmp", "$volume/..data" or die $!;
		return $files[0];
	};
	for (['certbot', $certbot, "$live/fullchain.pem", "$live/privkey.pem"],
		['Kubernetes', $kubernetes, "$volume/tls.crt", "$volume/tls.key"]) {
		my ($what, $renew, $cert, $key) = @$_;
		my $shown = $renew->();
		if ($what eq 'Kubernetes') {
			symlink "..data/$_", "$volume/$_" or die $! for qw(tls.crt tls.key);
		}
		$instance->section_option('certificate', 'server', 'chain', qq("$cert"));
		$instance->section_option('certificate', 'server', 'key', qq("$key"));
		like($instance->reload // '', qr/result=ok/, "$what: in use");
		$instance->shows_ok($shown, 'and shown');
		for my $round (1 .. 2) {
			my $before = $instance->reloads;
			$shown = $renew->();
			$instance->noticed_ok($before, qr/result=ok/, "$what: renewed, $round");
			$instance->shows_ok($shown, 'and shown');
		}
	}
	$instance->conf_write($conf);
	like($instance->reload // '', qr/result=ok/, 'as before');
};

$instance->stop_ok;
done_testing;
