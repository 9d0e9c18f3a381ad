#!/usr/bin/perl
# What an administrator gets wrong about certificates: each mistake has its
# word, from the tool, at a start and at a reload alike.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $scratch = scratch();
my $instance = Sallyport::Instance->new(scratch => $scratch);
my $folder = $instance->{folder};
my $tls = "$folder/tls";
my $conf = slurp($instance->{conf});
my $sites = slurp("$folder/sites");
my %good = map { ($_ => slurp("$tls/$_")) } qw(server.pem server.key client.pem
    client.key ca.pem);

# --- making of files --------------------------------------------------------

sub command_ok {
	my ($status, $out, $err) = run({}, @_);
	die "@_: $err$out" if $status;
	return $out;
}

sub openssl {
	return command_ok('openssl', @_);
}

# An authority with a key of that kind: (its prefix).
sub authority {
	my ($name, $key, $days, @more) = @_;
	openssl('genpkey', @$key, '-out', "$scratch/$name.key");
	openssl('req', '-x509', '-new', '-key', "$scratch/$name.key", '-days',
		$days, '-subj', "/CN=$name", '-out', "$scratch/$name.pem",
		'-addext', 'basicConstraints=critical,CA:TRUE', '-addext',
		'keyUsage=critical,keyCertSign,cRLSign', @more);
	return "$scratch/$name";
}

my @p256 = ('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256');
sub rsa {
	return ('-algorithm', 'RSA', '-pkeyopt', "rsa_keygen_bits:$_[0]");
}

# issue(NAME, key => [], by => authority, san =>, eku =>, days =>, options =>
# []): PEM of certificate, and of key.
sub issue {
	my ($name, %o) = @_;
	my $by = $o{by} // "$tls/ca";
	my $at = "$scratch/$name";
	openssl('genpkey', @{ $o{key} // \@p256 }, '-out', "$at.key");
	openssl('req', '-new', '-key', "$at.key", '-subj', "/CN=mail.example.org",
		'-out', "$at.csr");
	spew("$at.ext", join '', map { "$_\n" } 'basicConstraints=CA:FALSE',
		'keyUsage=digitalSignature', $o{eku} eq '' ? ()
		: "extendedKeyUsage=$o{eku}", $o{san} eq '' ? ()
		: "subjectAltName=$o{san}");
	openssl('x509', '-req', '-in', "$at.csr", '-CA', "$by.pem", '-CAkey',
		"$by.key", '-extfile', "$at.ext", '-days', $o{days} // 90,
		'-out', "$at.pem", @{ $o{options} // [] });
	return (slurp("$at.pem"), slurp("$at.key"));
}

my %server = (eku => 'serverAuth', san => 'DNS:mail.example.org');

# The server's certificate with something wrong.
sub server {
	my ($name, %o) = @_;
	my ($pem, $key) = issue($name, %server, %o);
	spew("$tls/server.pem", $pem . ($o{above} // $good{'ca.pem'}));
	spew("$tls/server.key", $key);
}

# certtool's, for what openssl does not make.
sub certtool_server {
	my ($name, $template, @generate) = @_;
	my $at = "$scratch/$name";
	spew("$at.tmpl", $template);
	command_ok('certtool', '--generate-privkey', @generate, '--outfile',
		"$at.key");
	command_ok('certtool', '--generate-certificate', '--load-privkey',
		"$at.key", '--load-ca-certificate', "$tls/ca.pem",
		'--load-ca-privkey', "$tls/ca.key", '--template', "$at.tmpl",
		'--outfile', "$at.pem");
	spew("$tls/server.pem", slurp("$at.pem") . $good{'ca.pem'});
	spew("$tls/server.key", slurp("$at.key"));
}

sub put_good {
	for (sort keys %good) {
		spew("$tls/$_", $good{$_});
		chmod /key$/ ? 0600 : 0644, "$tls/$_";
	}
	chmod 0755, $tls;
	$instance->conf_write($conf);
	$instance->sites($sites);
}

# A list of revoked ones by our authority.
sub crl {
	my ($by, $file, $days) = @_;
	spew("$scratch/index", '');
	spew("$scratch/ca.cnf", "[ca]\ndefault_ca=x\n[x]\ndatabase=$scratch/index\n"
		. "default_md=sha256\n");
	openssl('ca', '-config', "$scratch/ca.cnf", '-gencrl', '-keyfile',
		"$by.key", '-cert', "$by.pem", '-out', $file, ref $days ? @$days
		: ('-crldays', $days));
}

sub listeners_have {
	my (%options) = @_;
	for my $listener (qw(submission submissions)) {
		$instance->listener_option($listener, $_ => $options{$_})
		    for sort keys %options;
	}
}

# --- the mistakes -----------------------------------------------------------

my $old = authority('old', [rsa(1024)], 3650);
my $other = authority('other', \@p256, 3650);

# Word, what it is about, severity, what is said, how it is made.
my @mistakes = (
	['key-mismatch', 'the key of another', 'error', qr/does not belong to the certificate in \S+server\.pem/,
		sub { spew("$tls/server.key", $good{'client.key'}) }],
	['chain-order', 'the authority first', 'error', qr/the key belongs to certificate 2/,
		sub { spew("$tls/server.pem", $good{'ca.pem'}
			. $good{'server.pem'} =~ s/(-END CERT\S+\n).*/$1/sr) }],
	['chain-order', 'one that issued nothing of it', 'error',
		qr/certificate 1 of the chain was not issued by certificate 2/,
		sub { server('stray', above => slurp("$other.pem") . $good{'ca.pem'}) }],
	['key-inside', 'key and certificate in one file', 'error', qr/expected certificates alone/,
		sub { spew("$tls/server.pem", $good{'server.key'} . $good{'server.pem'}) }],
	['key-mode', 'a key that all read', 'error', qr/mode 0644 lets others read/,
		sub { chmod 0644, "$tls/client.key" }],
	['key-mode', 'a key that its group writes', 'error', qr/mode 0660 lets others write/,
		sub { chmod 0660, "$tls/server.key" }],
	['key-mode', 'in a folder that all write', 'error', qr/in folder \S+ which others can write/,
		sub { chmod 0777, $tls }],
	['file-mode', 'a certificate in such a folder', 'error', qr/in folder \S+ which others can write/,
		sub { chmod 0777, $tls }],
	['file-mode', 'a certificate that all write', 'error', qr/mode 0666 lets everybody write/,
		sub { chmod 0666, "$tls/server.pem" }],
	['key-unusable', 'a key we do not sign with', 'error', qr/1024/,
		sub { server('small', key => [rsa(1024)]) }],
	['unreadable', 'none there', 'error', qr/No such file/,
		sub { unlink "$tls/server.pem" }],
	['broken', 'half a certificate', 'error', qr/cut off/,
		sub { spew("$tls/server.pem", substr $good{'server.pem'}, 0, 200) }],

	['group-mode', 'a certificate that its group writes', 'warning', qr/mode 0664/,
		sub { chmod 0664, "$tls/server.pem" }],
	['chain-incomplete', 'nobody has issued it', 'warning',
		qr/CN=other, who issued its last certificate/,
		sub { server('alone', by => $other, above => '') }],
	['chain-incomplete', 'one between is missing', 'warning', qr/CN=between, who issued/,
		sub { server('far', by => between(), above => '') }],
	['name-missing', 'no subjectAltName', 'warning', qr/the common name does not count/,
		sub { server('nameless', san => '') }],
	['name-other', 'for another host', 'warning',
		qr/it is for mx\.example\.org, clients that connect to mail\.example\.org refuse it/,
		sub { server('misnamed', san => 'DNS:mx.example.org') }],
	['name-other', 'a wildcard too short', 'warning', qr/for \*\.org/,
		sub { server('wild', san => 'DNS:*.org') }],
	['purpose-server', 'for clients alone', 'warning', qr/lacks serverAuth/,
		sub { server('client-only', eku => 'clientAuth') }],
	['purpose-server', 'for no purpose', 'warning', qr/lacks serverAuth/,
		sub { server('useless', eku => '') }],
	['purpose-client', 'for servers alone, shown to the smarthost', 'warning',
		qr/lacks clientAuth.*public authorities/,
		sub {
			my ($pem, $key) = issue('server-only', %server);
			spew("$tls/client.pem", $pem);
			spew("$tls/client.key", $key);
		}],
	['self-signed', 'by itself', 'warning', qr/it is self-signed/,
		sub {
			openssl('req', '-x509', '-new', '-newkey', 'ec', '-pkeyopt',
				'ec_paramgen_curve:P-256', '-nodes', '-keyout', "$tls/server.key",
				'-out', "$tls/server.pem", '-days', 90, '-subj', '/CN=self',
				'-addext', 'subjectAltName=DNS:mail.example.org', '-addext',
				'extendedKeyUsage=serverAuth', '-addext',
				'basicConstraints=critical,CA:FALSE');
			chmod 0600, "$tls/server.key";
		}],
	['weak-key', 'of its authority', 'warning', qr/CN=old: its key is weak, RSA of 1024 bits/,
		sub { server('by-old', by => $old, above => slurp("$old.pem")) }],
	['weak-hash', 'signed with SHA-1', 'warning', qr/signature is weak, RSA-SHA1.*SHA-256/,
		sub { server('sha1', by => authority('by-sha1', [rsa(2048)], 90),
			options => ['-sha1'], above => slurp("$scratch/by-sha1.pem")) }],
	['near-end', 'a week left', 'warning', qr/expires \S+Z, in [67] days, renew it/,
		sub { server('short', days => 7) }],
	['expired', 'since yesterday', 'warning', qr/expired \S+Z, renew it/,
		sub { certtool_server('over', "cn = mail.example.org\ndns_name = mail.example.org\n"
			. "tls_www_server\nsigning_key\nactivation_date = \"2020-01-01 00:00:00 UTC\"\n"
			. "expiration_date = \"2021-01-01 00:00:00 UTC\"\n") }],
	['not-yet-valid', 'from 2090 on', 'warning', qr/only from 2090-/,
		sub { certtool_server('early', "cn = mail.example.org\ndns_name = mail.example.org\n"
			. "tls_www_server\nsigning_key\nactivation_date = \"2090-01-01 00:00:00 UTC\"\n"
			. "expiration_date = \"2091-01-01 00:00:00 UTC\"\n") }],
	['near-end', 'an authority\'s', 'warning', qr/CN=ending: expires/,
		sub {
			my $ca = authority('ending', \@p256, 20);
			listeners_have('client-ca' => qq("$ca.pem"));
		}],
	['broken', 'anchors that are none', 'error', qr/expected trust anchors.* it holds a private key/,
		sub { listeners_have('client-ca' => qq("$tls/ca.key")) }],

	['crl-stale', 'a list of yesteryear', 'warning', qr/is stale, it is good until \S+Z.*cert crl/,
		sub { client_crl('stale', "$tls/ca", ['-crl_lastupdate', '20200101000000Z',
			'-crl_nextupdate', '20200201000000Z']) }],
	['crl-issuer', 'a list of another', 'warning', qr/CN=other is signed by none of the anchors/,
		sub { client_crl('foreign', $other, 30) }],
	['crl-broken', 'half a list', 'warning', qr/cut off\?: no certificate is trusted with it/,
		sub {
			client_crl('half', "$tls/ca", 30);
			spew("$scratch/half.crl", substr slurp("$scratch/half.crl"), 0, 150);
		}],
	['broken', 'a certificate as a list', 'error', qr/expected revocation lists.* it holds a certificate/,
		sub { listeners_have('client-ca' => qq("$tls/ca.pem"),
			'client-crl' => qq("$tls/ca.pem")) }],
	['crl-stale', 'a row\'s list', 'warning', qr/is stale/,
		sub {
			crl("$tls/ca", "$scratch/row.crl", ['-crl_lastupdate',
				'20200101000000Z', '-crl_nextupdate', '20200201000000Z']);
			$instance->sites("${sites}hop.example out verify ca=$tls/ca.pem "
				. "crl=$scratch/row.crl\n");
		}],
	['expired', 'a row\'s anchor', 'warning', qr/CN=row: expired/,
		sub {
			command_ok('certtool', '--generate-privkey', '--outfile', "$scratch/row.key");
			spew("$scratch/row.tmpl", "cn = row\nca\ncert_signing_key\n"
				. "activation_date = \"2020-01-01 00:00:00 UTC\"\n"
				. "expiration_date = \"2021-01-01 00:00:00 UTC\"\n");
			command_ok('certtool', '--generate-self-signed', '--load-privkey',
				"$scratch/row.key", '--template', "$scratch/row.tmpl", '--outfile',
				"$scratch/row.pem");
			$instance->sites("${sites}hop.example out verify ca=$scratch/row.pem\n");
		}],
);

# An authority below "other".
sub between {
	my $at = "$scratch/between";
	openssl('genpkey', @p256, '-out', "$at.key");
	openssl('req', '-new', '-key', "$at.key", '-subj', '/CN=between', '-out', "$at.csr");
	spew("$at.ext", "basicConstraints=critical,CA:TRUE\n");
	openssl('x509', '-req', '-in', "$at.csr", '-CA', "$other.pem", '-CAkey', "$other.key",
		'-extfile', "$at.ext", '-days', 90, '-out', "$at.pem");
	return $at;
}

sub client_crl {
	my ($name, @how) = @_;
	crl($how[0], "$scratch/$name.crl", @how[1 .. $#how]);
	listeners_have('client-ca' => qq("$tls/ca.pem"),
		'client-crl' => qq("$scratch/$name.crl"));
}

# --- judging ----------------------------------------------------------------

# What the tool finds: its exit status, and objects.
sub found {
	my ($status, $out, $err) = $instance->tool('cert', 'check', @_, '--json');
	my $list = eval { decode_json($out) };
	diag("cert check @_: $err$out") if !ref $list;
	return ($status, @{ $list // [] });
}

# Whoever comes is shown this.
sub serving {
	my $client = $instance->client(ca => undef) or return 'nothing';
	return Net::SSLeay::X509_get_fingerprint(
		$client->{sock}->peer_certificate, 'sha256');
}

# Log lines since then, as they were before they were quoted.
sub logged_since {
	my ($at) = @_;
	return substr($instance->log_text, $at) =~ s/\\(.)/$1/gr;
}

# What makes a renewal a bad one.
my %worse = map { ($_ => 1) } qw(chain-incomplete name-missing name-other purpose-server
    purpose-client weak-key weak-hash expired not-yet-valid);

subtest 'nothing wrong' => sub {
	my ($status, $out, $err) = $instance->tool('cert', 'check');
	is($status, 0, 'cert check says so') or diag($err);
	is($out, "no problem found\n", 'in words');
	my @found = found();
	is_deeply(\@found, [0], 'and as JSON');
	unlike($instance->log_text, qr/ warning configuration /, 'nor warns the server');
};

# The tool, and a reload of a server that runs.
for (@mistakes) {
	my ($word, $name, $severity, $text, $make) = @$_;
	subtest "$word: $name" => sub {
		my $before = serving();
		my $at = -s $instance->{log};
		$make->();
		my ($status, @found) = found();
		is($status, 1, 'cert check says no');
		my ($one) = grep { $_->{word} eq $word && $_->{text} =~ $text } @found;
		ok($one, 'it is named') or diag(map { "$_->{word}: $_->{text}\n" } @found);
		is($one->{severity}, $severity, "as $severity");
		like($one->{position}, qr/^\Q$folder\E\/(?:sallyport\.conf:\d+|sites)$/, 'with its place');
		(undef, my $out) = $instance->tool('cert', 'check');
		like($out, qr/^$severity: \Q$one->{position}\E: .*$text.* \[$word\]$/m, 'and in words');
		my $line = $instance->reload // '';
		my $level = $severity eq 'error' ? 'alarm' : 'warning';
		like(logged_since($at), qr/ $level configuration $severity=.*\Q$one->{position}\E: .*$text/,
		    "a reload: $severity");
		if ($severity eq 'error') {
			like($line, qr/ alarm reload result=refused/, 'it is refused');
			is(serving(), $before, 'and nothing has changed');
		} elsif ($worse{$word} && $one->{file} =~ /\.pem$/
		    && $one->{part} =~ /^certificate /) {
			like($line, qr/result=refused/, 'it is refused as a renewal');
			like(logged_since($at), qr/worse than the one in force, which stays \([^)]*\b$word\b/,
			    'which made things worse');
			is(serving(), $before, 'and nothing has changed');
		} else {
			like($line, qr/result=ok/, 'it is taken');
		}
		put_good();
		like($instance->reload // '', qr/result=ok/, 'put right: taken');
	};
}

subtest 'several at once' => sub {
	chmod 0644, "$tls/client.key";
	server('several', san => 'DNS:mx.example.org', days => 7);
	my ($status, @found) = found();
	is(join(' ', sort map { $_->{word} } @found), 'key-mode name-other near-end',
	    'are all named');
	put_good();
};

# What is in force is bad already: then a reload for another reason is taken.
subtest 'no renewal' => sub {
	$instance->stop;
	server('late', san => 'DNS:mx.example.org');
	$instance->start;
	chmod 0664, "$tls/server.pem";
	like($instance->reload // '', qr/result=ok/, 'the same file: taken');
	server('later', san => 'DNS:mx.example.org');
	like($instance->reload // '', qr/result=ok/, 'another that is as bad: taken');
	put_good();
	like($instance->reload // '', qr/result=ok/, 'a better one: taken');
	server('worse', san => 'DNS:mx.example.org');
	like($instance->reload // '', qr/result=refused/, 'and back again: not');
	put_good();
};

# Its clients may know that authority.
subtest 'an authority that only others know' => sub {
	my $by = between();
	server('foreign', by => $by, above => slurp("$by.pem"));
	like($instance->reload // '', qr/result=ok/, 'a whole chain: taken');
	server('cut', by => $by, above => '');
	like($instance->reload // '', qr/result=refused/, 'one cut off: not');
	put_good();
	like($instance->reload // '', qr/result=ok/, 'put right: taken');
};

$instance->stop_ok;

# A start.
for (@mistakes) {
	my ($word, $name, $severity, $text, $make) = @$_;
	subtest "$word: $name, at a start" => sub {
		my $at = -s $instance->{log};
		$make->();
		if ($severity eq 'error') {
			my $log = $instance->refused // '';
			like($log =~ s/\\(.)/$1/gr, qr/^\Q$folder\E\/\S+: .*$text/m, 'it is refused');
			unlike($log, qr/ ready /, 'nothing is served');
		} else {
			ok($instance->start(may_fail => 1), 'it starts');
			like(logged_since($at), qr/ warning configuration warning=.*$text/, 'with a warning');
			$instance->stop;
		}
		put_good();
	};
}

done_testing;
