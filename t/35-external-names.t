#!/usr/bin/perl
# A client certificate bound to a user by its authority and a name in it: which
# certificates count, for how long, and what nobody gets by one.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(
	options => { 'auth-failure-delay' => '"100ms"' },
	submission => { 'client-cert' => 'ask' },
	submissions => { 'client-cert' => 'ask', 'implicit-external' => 'yes' });
my %authority = map {
	$_ => Sallyport::Certs->authority($instance->{scratch}, $_)
} qw(peers others);
my %cert;

sub issue {
	my ($name, $authority, %o) = @_;
	$cert{$name} = [$authority{$authority}->issue($name, cn => 'x',
		purpose => 'client', %o)];
}

sub ca {
	my ($name) = @_;
	my $file = "$instance->{folder}/$name.pem";
	spew($file, slurp($authority{$name}->file));
	return $file;
}

sub tool_ok {
	my ($what, @arguments) = @_;
	my ($status, $out, $err) = $instance->tool(@arguments);
	is($status, 0, $what) or diag $err;
}

sub reload_ok {
	like($instance->reload, qr/result=ok/, $_[0]);
}

sub client {
	my ($name, %o) = @_;
	return $instance->client(cert => $cert{$name}[0], key => $cert{$name}[1],
		%o);
}

# MAIL by the certificate alone.
sub mail {
	my ($client, $from) = @_;
	return $client->command('MAIL FROM:<' . ($from // 'hq@example.org') . '>');
}

sub mail_by {
	return mail(client($_[0], implicit => 1));
}

# AUTH EXTERNAL.
sub external_by {
	return client($_[0])->command('AUTH EXTERNAL =');
}

# Both ways in, and what the log says of the certificate.
sub counts {
	my ($name, $what) = @_;
	like(mail_by($name), qr/^250 /, "$what: MAIL without AUTH");
	like(external_by($name), qr/^235 /, "$what: EXTERNAL");
}

sub counts_not {
	my ($name, $what, $pattern) = @_;
	my $before = () = $instance->log_lines(qr/ certificate .*$pattern/);
	like(mail_by($name), qr/^530 5\.7\.0 /, "$what: no MAIL without AUTH");
	like(external_by($name), qr/^535 5\.7\.8 /, "$what: no EXTERNAL");
	my $after = () = $instance->log_lines(qr/ certificate .*$pattern/);
	is($after, $before + 2, "$what: and the log says why");
}

my $ca = ca('peers');
$instance->listener_option($_, 'client-ca', '"peers.pem"')
    for qw(submission submissions);
reload_ok('an authority for peers');
tool_ok('somebody without a password', 'user', 'add', 'hq', '--kind',
    'server', '--no-password');
tool_ok('bound to a name', 'user', 'bind', 'hq', '--ca', $ca, '--san',
    'dns:hq.example');

subtest 'what counts' => sub {
	issue('good', 'peers', dns => ['hq.example']);
	counts('good', 'the name');
	issue('renewed', 'peers', dns => ['hq.example']);
	counts('renewed', 'with another key');
	issue('upper', 'peers', dns => ['HQ.Example']);
	counts('upper', 'in upper case');
	issue('several', 'peers', dns => ['x.example', 'hq.example', 'y.example']);
	counts('several', 'among others');
	issue('both', 'peers', dns => ['hq.example'], purpose => 'both');
	counts('both', 'for servers and clients');
	issue('cn', 'peers', cn => 'hq.example');
	counts_not('cn', 'the name in the CN alone', 'names=0');
	issue('name', 'peers', dns => ['branch.example']);
	counts_not('name', 'another name', 'chain=good for-clients=yes names=1');
	issue('above', 'peers', dns => ['example']);
	counts_not('above', 'the domain above', 'names=1');
	issue('wildcard', 'peers', dns => ['*.example']);
	counts_not('wildcard', 'a wildcard', 'chain=good .*names=0');
	issue('email', 'peers', email => ['hq.example@hq.example']);
	counts_not('email', 'a mailbox', 'names=1');
	issue('ip', 'peers', ip => ['127.0.0.1']);
	counts_not('ip', 'an address', 'names=0');
	issue('server', 'peers', dns => ['hq.example'], purpose => 'server');
	counts_not('server', 'a certificate for servers',
		'chain=good for-clients=no names=0');
	issue('none', 'peers', dns => ['hq.example'], purpose => 'none');
	counts_not('none', 'for no purpose', 'for-clients=no names=0');
	issue('old', 'peers', dns => ['hq.example'], from => -86400 * 9,
		to => -60);
	counts_not('old', 'expired', 'chain=expired .*names=0');
	issue('early', 'peers', dns => ['hq.example'], from => 86400);
	counts_not('early', 'not yet valid', 'chain=not-yet-valid .*names=0');
	issue('self', 'peers', dns => ['hq.example'], self => 1);
	counts_not('self', 'self-signed', 'chain=self-signed .*names=0');
	issue('other', 'others', dns => ['hq.example']);
	counts_not('other', 'another authority', 'chain=untrusted .*names=0');
	issue('many', 'peers', dns => [map { "h$_.example" } 1 .. 80,
		'hq.example']);
	counts_not('many', 'more names than are looked at',
		'names=0 detail="more names');
};

subtest 'a mailbox' => sub {
	tool_ok('bound to a mailbox', 'user', 'bind', 'bob', '--ca', $ca,
	    '--san', 'email:Bob@Example.org');
	issue('bob', 'peers', email => ['Bob@example.ORG']);
	like(mail(client('bob', implicit => 1), 'bob@example.org'), qr/^250 /,
	    'is known by it');
	issue('lower', 'peers', email => ['bob@example.org']);
	like(mail(client('lower', implicit => 1), 'bob@example.org'), qr/^530 /,
	    'case matters in the local part');
};

# OpenSMTPD's issue 926: what clients are trusted by is nothing else.
subtest 'the listener\'s authorities alone' => sub {
	tool_ok('somebody else', 'user', 'add', 'fake', '--no-password');
	tool_ok('bound by another authority', 'user', 'bind', 'fake', '--ca',
	    ca('others'), '--san', 'dns:hq.example');
	$instance->option('system-ca', '"others.pem"');
	reload_ok('which the system trusts');
	counts_not('other', 'trusted for servers', 'chain=untrusted .*names=0');
	counts('good', 'the right one');
	my $rows = slurp("$instance->{folder}/sites");
	$instance->sites("127.0.0.1 in verify ca=others.pem\n$rows");
	reload_ok('a row trusts it');
	counts_not('other', 'a row does not count', 'chain=untrusted .*names=0');
	$instance->sites($rows);
	my $conf = slurp($instance->{conf});
	$instance->conf_write($conf =~ s/^\s*client-ca = .*\n//mgr);
	reload_ok('no authorities');
	like(mail_by('good'), qr/^530 /, 'nobody vouches for a name');
	$instance->conf_write($conf);
	reload_ok('authorities again');
	counts('good', 'it does again');
	is(($instance->tool('user', 'remove', 'fake'))[0], 0, 'remove');
};

# Nothing is granted by the site table.
subtest 'a row that is met' => sub {
	my $rows = slurp("$instance->{folder}/sites");
	$instance->sites("127.0.0.1 in lock match=branch.example\n$rows");
	reload_ok('lock');
	counts_not('name', 'lock met, but nobody\'s', 'chain=good');
	ok($instance->log_lines(qr/ policy .*site=127\.0\.0\.1 .*asked=lock reached=lock verdict=pass/),
	    'the row is met');
	$instance->sites($rows);
	reload_ok('without the row');
};

subtest 'two claim one certificate' => sub {
	tool_ok('alice has its key', 'user', 'bind', 'alice', $cert{several}[0]);
	my $alarms = () = $instance->log_lines(qr/ alarm auth .*ambiguous/);
	is($alarms, 0, 'nobody has complained yet');
	like(mail_by('several'), qr/^530 /, 'a key and a name: nobody');
	like(external_by('several'), qr/^535 /, 'nor by EXTERNAL');
	ok($instance->logged(qr/ alarm auth .*result=ambiguous user=alice\@example\.org other=hq\@example\.org /),
	    'an alarm tells');
	is(scalar(my @again = $instance->log_lines(qr/ alarm auth .*ambiguous/)),
	    1, 'one');
	counts('good', 'others with the name');
	tool_ok('not hers', 'user', 'unbind', 'alice', $cert{several}[0]);
	counts('several', 'it is his');
	tool_ok('two names', 'user', 'bind', 'alice', '--ca', $ca, '--san',
	    'dns:y.example');
	like(mail_by('several'), qr/^530 /, 'of two users: nobody');
	tool_ok('not hers', 'user', 'unbind', 'alice', '--ca', $ca, '--san',
	    'dns:y.example');
	tool_ok('his by key and name', 'user', 'bind', 'hq', $cert{several}[0]);
	counts('several', 'his twice');
	my ($status, $out, $err) = $instance->tool('user', 'bind', 'alice',
	    '--ca', $ca, '--san', 'dns:hq.example');
	is($status, 1, 'nobody else can be bound to his name');
	like($err, qr/hq\@example\.org/, 'and it is said whose it is');
};

subtest 'a connection that stays' => sub {
	my $crl = "$instance->{folder}/peers.crl";
	my %kept = map { $_ => client($_, implicit => 1) } qw(good renewed);
	like(mail($kept{$_}), qr/^250 /, $_) for qw(good renewed);
	like($_->command('RSET'), qr/^250 /, 'RSET') for values %kept;
	$authority{peers}->crl($crl, revoked => [$cert{good}[0]]);
	$instance->listener_option($_, 'client-crl', '"peers.crl"')
	    for qw(submission submissions);
	reload_ok('revocation lists');
	like(mail($kept{good}), qr/^421 4\.7\.0 /, 'revoked: no longer');
	ok($instance->logged(qr/ disconnect .*cause=certificate /),
	    'as the log says');
	like(mail($kept{renewed}), qr/^250 /, 'the other goes on');
	counts_not('good', 'revoked', 'chain=revoked .*names=0');
	counts('renewed', 'not on the list');
	$authority{others}->crl($crl);
	reload_ok('the list of another authority');
	counts_not('renewed', 'revocation is not known',
		'chain=revocation-unknown .*names=0');
	$authority{peers}->crl($crl);
	reload_ok('a new list');
	my $kept = client('good', implicit => 1);
	like(mail($kept), qr/^250 /, 'no longer revoked');
	$kept->command('RSET');
	my $asked = client('name', implicit => 1);
	like(mail($asked), qr/^530 /, 'of nobody');
	spew("$instance->{folder}/peers.pem", slurp($authority{others}->file));
	$authority{others}->crl($crl);
	reload_ok('other authorities');
	like(mail($kept), qr/^421 /, 'not by the old ones');
	spew("$instance->{folder}/peers.pem", slurp($authority{peers}->file));
	$authority{peers}->crl($crl);
	reload_ok('the old ones');
	counts('good', 'again');
	tool_ok('a user for the other', 'user', 'bind', 'alice', '--ca', $ca,
	    '--san', 'dns:branch.example');
	like(mail($asked, 'alice@example.org'), qr/^250 /,
	    'asked again at each MAIL');
};

subtest 'a TLS session kept by the client' => sub {
	my $before = client('renewed', implicit => 1);
	like(mail($before), qr/^250 /, 'known');
	my $again = client('renewed', implicit => 1,
		session => $before->session);
	is($again->resumed ? 1 : 0, 0, 'is not resumed');
	like(mail($again), qr/^250 /, 'the certificate is asked for again');
};

subtest 'refused options' => sub {
	my $conf = slurp($instance->{conf});
	for (['client-crl = "peers.pem"', qr/client-crl: .*expected revocation lists/,
		'anchors'], ['client-crl = "nowhere.crl"', qr/client-crl: .*nowhere/,
		'a file that is not there']) {
		my ($option, $pattern, $what) = @$_;
		$instance->conf_write(
		    $conf =~ s/client-crl = "peers\.crl"/$option/r);
		like(join('', run({}, program('sallyportd'), '-c',
			    $instance->{conf}, '-t')), $pattern, $what);
	}
	$instance->conf_write($conf =~ s/^\s*client-ca = .*\n//mr);
	like(join('', run({}, program('sallyportd'), '-c', $instance->{conf},
		    '-t')), qr/client-crl without client-ca/, 'no authorities');
	$instance->conf_write($conf);
};

subtest 'unbind' => sub {
	tool_ok('the key goes', 'user', 'unbind', 'hq', $cert{several}[0]);
	counts('several', 'the name is left');
	is(($instance->tool('user', 'unbind', 'hq', '--ca', $ca, '--san',
		'dns:other.example'))[0], 1, 'a name that is not there');
	tool_ok('the name goes', 'user', 'unbind', 'hq', '--ca', $ca, '--san',
	    'dns:hq.example');
	counts_not('good', 'unbound', 'chain=good .*names=1');
};

# What is taken away ends sessions that live by it, idle and busy ones, and no
# others.
subtest 'taken away while it is used' => sub {
	my @name = ('--ca', $ca, '--san', 'dns:hq.example');
	tool_ok('bound again', 'user', 'bind', 'hq', @name);
	for ([disable => 'enable', []], [unbind => 'bind', \@name],
	    [remove => '', []]) {
		my ($away, $back, $what) = @$_;
		my %session = map { $_ => client('good', implicit => 1) }
		    qw(idle busy);
		like(mail($session{$_}), qr/^250 /, "$away: $_") for keys %session;
		like($session{idle}->command('RSET'), qr/^250 /, "$away: RSET");
		like($session{busy}->command('RCPT TO:<b@example.net>'),
		    qr/^250 /, "$away: RCPT");
		like($session{busy}->command('DATA'), qr/^354 /, "$away: DATA");
		my $other = $instance->authenticated(implicit => 1);
		tool_ok($away, 'user', $away, 'hq', @$what);
		like($session{idle}->reply, qr/^421 4\.7\.0 /,
		    "$away: an idle one is told at once");
		ok($session{idle}->closed, "$away: and hung up on");
		like($session{busy}->content(message()), qr/^421 4\.7\.0 /,
		    "$away: a message is not accepted");
		like($other->command('NOOP'), qr/^250 /, "$away: others go on");
		like(mail_by('good'), qr/^530 /, "$away: nobody on a new one");
		next if !$back;
		tool_ok($back, 'user', $back, 'hq', @$what);
		like(mail_by('good'), qr/^250 /, "$back: somebody again");
	}
};

$instance->stop_ok;
done_testing;
