#!/usr/bin/perl
# With watch-files what is renewed is used without being told, and without
# anybody noticing but those who look at the certificate.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch,
	options => { 'watch-files' => 'yes' });
my $tls = "$instance->{folder}/tls";
my $reloads = qr/ master \S+ reload result=/;

# So many reloads there are, and what the last one came to.
sub reloads {
	return scalar(() = $instance->log_lines($reloads));
}

# Without a signal: wait for a reload beyond those, with that result.
sub noticed {
	my ($before, $result, $what) = @_;
	my $line = wait_until {
		my @lines = $instance->log_lines($reloads);
		@lines > $before && $lines[-1] =~ $result ? $lines[-1] : undef } 90;
	ok($line, $what) or diag(($instance->log_lines($reloads))[-1]);
}

sub fingerprint {
	my ($file) = @_;
	my ($status, $out) = run({}, 'openssl', 'x509', '-in', $file, '-noout',
		'-fingerprint', '-sha256');
	return $out =~ s/.*=|[:\n]//gr;
}

# Of what a client is shown.
sub shown {
	my $client = $instance->client(ca => undef) or return '';
	my $shown = $client->{sock}->get_fingerprint('sha256', undef) // '';
	$client->close;
	return uc($shown =~ s/^sha256\$//r);
}

sub shows_ok {
	my ($file, $what) = @_;
	my $expected = fingerprint($file);
	my $is_shown = wait_until { shown() eq $expected } 90;
	ok($is_shown, $what);
}

# A further pair for the server's name; its files.
my $made = 0;
sub pair {
	my (%o) = @_;
	return $instance->{authority}->issue('pair' . ++$made,
		dns => ['mail.example.org'], %o);
}

sub move {
	my ($from, $to) = @_;
	spew("$to.new", slurp($from));
	chmod 0600, "$to.new";
	rename "$to.new", $to or die "$to: $!";
}

subtest 'renewed' => sub {
	my $before = reloads();
	my $old = $instance->authenticated;
	my ($status, $out, $err) = $instance->tool('cert', 'renew', 'server', '--due', 999);
	is($status, 0, 'sallyport cert renew') or diag $err;
	noticed($before, qr/result=ok/, 'is noticed');
	ok($instance->logged(qr/ note files changed=1 first=\S+server\.pem/), 'and said');
	shows_ok("$tls/server.pem", 'a client sees it');
	like($old->transaction(message()), qr/^250/, 'who was there goes on');
};

subtest 'the two files of a pair' => sub {
	my $before = reloads();
	my ($cert, $key) = pair();
	my $began = time;
	spew("$tls/server.pem", slurp($cert));
	sleep 0.4;
	spew("$tls/server.key", slurp($key));
	my $gap = time - $began;
	noticed($before, qr/result=ok/, 'are taken once both are there');
	shows_ok($cert, 'and shown');
	SKIP: {
		skip("they took $gap s", 1) if $gap > 1.5;
		is(reloads(), $before + 1, 'by one reload, without an alarm between');
	}
};

subtest 'what is wrong, and put right' => sub {
	my ($cert, $key) = pair();
	my $good = fingerprint("$tls/server.pem");
	my $before = reloads();
	move($cert, "$tls/server.pem");
	noticed($before, qr/alarm reload result=refused/, 'half a pair is refused in the end');
	is(shown(), $good, 'the old one stays');
	$before = reloads();
	move($key, "$tls/server.key");
	noticed($before, qr/result=ok/, 'the other half puts it right');
	shows_ok($cert, 'and it is shown');
	$before = reloads();
	chmod 0644, "$tls/server.key";
	noticed($before, qr/result=refused/, 'so is a key that others can read');
	$before = reloads();
	chmod 0600, "$tls/server.key";
	noticed($before, qr/result=ok/, 'until they cannot');
	$before = reloads();
	rename $tls, "$tls.away" or die $!;
	noticed($before, qr/result=refused/, 'and a folder that is gone');
	$before = reloads();
	rename "$tls.away", $tls or die $!;
	noticed($before, qr/result=ok/, 'until it is back');
};

# Files come by links that are changed: certbot's, and a volume's of Kubernetes.
subtest 'links' => sub {
	my $conf = slurp($instance->{conf});
	my ($live, $archive) = map { "$scratch/$_" } qw(live archive);
	mkdir $_ or die $! for $live, $archive;
	my $number = 0;
	my $certbot = sub {
		my @files = pair();
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
		my @files = pair();
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
		shows_ok($shown, 'and shown');
		for my $round (1 .. 2) {
			my $before = reloads();
			$shown = $renew->();
			noticed($before, qr/result=ok/, "$what: renewed, $round");
			shows_ok($shown, 'and shown');
		}
	}
	$instance->conf_write($conf);
	like($instance->reload // '', qr/result=ok/, 'as before');
};

$instance->stop_ok;
done_testing;
