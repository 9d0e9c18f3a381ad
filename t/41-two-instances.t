#!/usr/bin/perl
# Two Sallyports relay to each other: by SCRAM bound to the TLS channel, by
# EXTERNAL, and by a certificate alone.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my %instance = map { $_ => site($_) } qw(left right);

sub site {
	my ($name) = @_;
	my $instance = Sallyport::Instance->new(
		init => ['--hostname', "mail.$name.example"], start => 0,
		options => { upstream => '"upstream"',
			'auth-failure-delay' => '"100ms"',
			'retry-first' => '"1s"', 'retry-most' => '"1s"' },
		submission => { 'client-cert' => 'ask' },
		submissions => { 'client-cert' => 'ask',
			'implicit-external' => 'yes' });
	$instance->{own} = { conf => slurp($instance->{conf}),
		sites => slurp("$instance->{folder}/sites") };
	logins($instance, '');
	$instance->start;
	return $instance;
}

sub logins {
	my ($instance, $text) = @_;
	spew("$instance->{folder}/upstream", $text);
	chmod 0600, "$instance->{folder}/upstream";
}

# from has to as its smarthost, which knows it as peer.
sub route {
	my ($from, $to, %o) = @_;
	my ($sender, $receiver) = @instance{ $from, $to };
	my $port = $receiver->{ports}{ $o{listener} };
	my $tls = $o{listener} eq 'submissions' ? 'implicit' : 'starttls';
	my $smarthost = "smarthost {\n\taddress = \"127.0.0.1:$port\"\n"
	    . "\ttls = $tls\n\tca = \"$to.pem\"\n}";
	spew("$sender->{folder}/$to.pem", slurp("$receiver->{folder}/tls/ca.pem"));
	logins($sender, $o{login} ? "peer $o{login}\n" : '');
	$sender->conf_write(
	    $sender->{own}{conf} =~ s/^smarthost \{.*?\n\}/$smarthost/msr);
	$sender->sites("127.0.0.1:$port out lock match=mail.$to.example"
	    . ($o{cert} ? ' cert=client' : '') . ($o{login} ? ' auth=peer' : '')
	    . "\n");
	like($sender->reload, qr/result=ok/, "$from relays to $to");
}

# back to what it was: the tests' own smarthost.
sub unroute {
	my ($name) = @_;
	my $instance = $instance{$name};
	$instance->queue_empty;
	$instance->conf_write($instance->{own}{conf});
	$instance->sites($instance->{own}{sites});
	$instance->reload;
}

sub submit {
	my ($from, $subject) = @_;
	my $letter = message(subject => $subject)
	    =~ s/alice\@example\.org/alice\@$from.example/r;
	my $client = $instance{$from}->authenticated(name => "mail.$from.example");
	like($client->transaction($letter, from => "alice\@$from.example"),
	    qr/^250 /, "$subject: $from takes it");
	return $letter;
}

# A message of from's alice goes all the way, and unharmed.
sub passes {
	my ($from, $to, $mechanism) = @_;
	my $smarthost = $instance{$to}{smarthost};
	my $before = $smarthost->count;
	my $letter = submit($from, "$mechanism to $to");
	ok($instance{$to}->arrived($before + 1), 'it goes through the other');
	ok($instance{$to}->logged(qr/ auth .*result=ok user=peer\@$to\.example mechanism=$mechanism /),
	    "which knows by $mechanism who it is");
	is(without_trace(($smarthost->messages)[-1]), without_trace($letter),
	    'and arrives as it was sent');
}

# It stays here, because of what the other says.
sub stays {
	my ($from, $to, $pattern, $what) = @_;
	my $before = $instance{$to}{smarthost}->count;
	submit($from, $what);
	ok($instance{$from}->logged(qr/(?:deferred|bounced|failed)\b.*$pattern/),
	    "$what: not taken");
	is($instance{$to}{smarthost}->count, $before, "$what: nothing went on");
	$instance{$from}->queue_empty;
}

sub ok_tool {
	my ($name, $what, @arguments) = @_;
	my ($status, $out, $err) = $instance{$name}->tool(@arguments);
	is($status, 0, $what) or diag $err;
}

sub to_each_other {
	my ($from, $to) = @_;
	my $receiver = $instance{$to};
	my $certificate = "$instance{$from}{folder}/tls/client.pem";
	$receiver->user_add('peer', 'between us two');
	ok_tool($to, 'it may send what its users may', 'user', 'rights', 'peer',
	    '--add', "\@$from.example");

	subtest 'SCRAM-SHA-256-PLUS' => sub {
		route($from, $to, listener => 'submission',
			login => 'SCRAM-SHA-256-PLUS peer "between us two"');
		passes($from, $to, 'SCRAM-SHA-256-PLUS');
	};
	subtest 'EXTERNAL' => sub {
		route($from, $to, listener => 'submission', cert => 1,
			login => 'EXTERNAL peer');
		stays($from, $to, '535', 'not bound');
		ok_tool($to, 'bind its key', 'user', 'bind', 'peer', $certificate);
		passes($from, $to, 'EXTERNAL');
		ok_tool($to, 'unbind it', 'user', 'unbind', 'peer', 'all');
	};
	subtest 'a certificate alone' => sub {
		route($from, $to, listener => 'submissions', cert => 1);
		my $tries = () = $receiver->log_lines(qr/ auth .*result=ok/);
		spew("$receiver->{folder}/$from-ca.pem",
			slurp("$instance{$from}{folder}/tls/ca.pem"));
		$receiver->listener_option('submissions', 'client-ca',
			"\"$from-ca.pem\"");
		$receiver->sites("127.0.0.1 in lock match=mail.$from.example\n"
		    . $receiver->{own}{sites});
		like($receiver->reload, qr/result=ok/, 'a row that it meets');
		stays($from, $to, '530', 'not bound');
		is(scalar(my @after = $receiver->log_lines(qr/ auth .*result=ok/)),
		    $tries, 'a row grants nothing');
		ok_tool($to, 'bind its name', 'user', 'bind', 'peer', '--ca',
		    "$receiver->{folder}/$from-ca.pem", '--san',
		    "dns:mail.$from.example");
		passes($from, $to, 'EXTERNAL');
		like(($instance{$from}->log_lines(qr/ relay .* tls site=/))[-1],
		    qr/cert=client/, 'with the certificate of the row');
	};
	unroute($_) for $from, $to;
}

subtest 'left to right' => sub { to_each_other('left', 'right') };
subtest 'right to left' => sub { to_each_other('right', 'left') };

$_->stop_ok for values %instance;
done_testing;
