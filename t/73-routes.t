#!/usr/bin/perl
# Routes: by recipient and sender, several hops, refusals, and what waits when
# the table changes.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use Sallyport::Instance;
use Sallyport::Smarthost;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(start => 0,
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $first = $instance->{smarthost};
my ($cert, $key) = $instance->{authority}->issue('second',
	ip => ['127.0.0.1']);
my $second = Sallyport::Smarthost->new("$instance->{scratch}/second",
	cert => $cert, key => $key);
my ($one, $two) = map { '127.0.0.1:' . $_->port } $first, $second;
my $file = "$instance->{folder}/routes";

sub routes {
	my (@rows) = @_;
	spew($file, join '', map { "$_\n" } @rows);
	return $instance->reload // '';
}

spew($file, "second.example rcpt $two smtp\n");
$instance->option(routes => '"routes"');
$instance->start;

my $count = 0;

# A message to these; the reply, and its mark.
sub submit {
	my ($from, @to) = @_;
	my $mark = 'mark' . ++$count;
	my $reply = $instance->authenticated->transaction(
		"From: <$from>\r\nSubject: $mark\r\n\r\nhello\r\n",
		from => $from, to => \@to);
	return ($reply, $mark);
}

# The message of that mark there: true once it has come.
sub arrives {
	my ($smarthost, $mark, $name) = @_;
	ok(wait_until { grep { /\b$mark\b/ } $smarthost->messages }, $name);
}

# Whom it was for, by the commands that came before it.
sub recipients {
	my ($smarthost, $mark) = @_;
	return [map { /^RCPT TO:<(.*?)>/mg } grep { /^Subject: $mark\r/m }
	    split /^(?=MAIL FROM)/m, $smarthost->received('tls')];
}

subtest 'one message, two next hops' => sub {
	my ($reply, $mark) = submit('alice@example.org', 'a@first.example',
		'b@second.example', 'c@first.example');
	like($reply, qr/^250/, 'accepted');
	arrives($first, $mark, 'the smarthost has it');
	arrives($second, $mark, 'so has the other');
	is_deeply(recipients($first, $mark),
		['a@first.example', 'c@first.example'], 'for its two');
	is_deeply(recipients($second, $mark), ['b@second.example'],
		'for its one');
	ok(wait_until { !$instance->queue }, 'nothing is left');
};

subtest 'one that is away delays nobody else' => sub {
	$second->stop;
	my ($reply, $mark) = submit('alice@example.org', 'a@first.example',
		'b@second.example');
	like($reply, qr/^250/, 'accepted');
	arrives($first, $mark, 'one part has gone');
	ok($instance->logged(qr/deferred .*rcpt=b\@second\.example/),
		'the other waits');
	my ($waiting) = $instance->queue;
	is_deeply($waiting->{rcpts} // $waiting->{recipients},
		['b@second.example'], 'and only it is listed')
	    or diag explain $waiting;
	$second->start;
	$instance->tool('queue', 'flush');
	arrives($second, $mark, 'until the hop is back');
	is_deeply(recipients($first, $mark), ['a@first.example'],
		'nobody got it twice');
};

subtest 'routed anew' => sub {
	$second->stop;
	my ($reply, $mark) = submit('alice@example.org', 'b@second.example');
	like($reply, qr/^250/, 'accepted');
	ok($instance->logged(qr/deferred .*rcpt=b\@second\.example/), 'waits');
	like(routes('other.example rcpt discard'), qr/result=ok/, 'reload');
	$instance->tool('queue', 'flush');
	arrives($first, $mark, 'goes the new way');
	$second->start;
};

subtest 'the second of two' => sub {
	my $closed = free_port();
	like(routes("two.example rcpt 127.0.0.1:$closed,$two smtp"),
		qr/result=ok/, 'reload');
	my ($reply, $mark) = submit('alice@example.org', 'b@two.example');
	like($reply, qr/^250/, 'accepted');
	arrives($second, $mark, 'gets it');
};

subtest 'the first does not meet its row' => sub {
	my $before = slurp("$instance->{folder}/sites");
	$instance->sites("$before$one out lock match=nobody.example\n");
	my ($tls) = $first->{settings}{tls} eq 'implicit' ? 'smtps' : 'smtp';
	is($second->{settings}{tls}, $first->{settings}{tls}, 'both alike');
	like(routes("two.example rcpt $one,$two $tls"), qr/result=/, 'reload');
	my ($status, $out) = $instance->tool('route', 'explain',
		'alice@example.org', 'b@two.example');
	like($out, qr/to \Q127.0.0.1\E:\d+, \w+ TLS, lock.*else to /s,
		'explained');
	my ($reply, $mark) = submit('alice@example.org', 'b@two.example');
	arrives($second, $mark, 'the second gets it');
	is_deeply(recipients($first, $mark), [], 'and the first nothing');
	$instance->sites($before);
	$instance->reload;
};

subtest 'by sender' => sub {
	like(routes("example.org from $two smtp", "<> from $one"),
		qr/result=ok/, 'reload');
	my ($reply, $mark) = submit('alice@example.org', 'x@first.example');
	like($reply, qr/^250/, 'accepted');
	arrives($second, $mark, 'the sender decides');
};

subtest 'refused and discarded' => sub {
	like(routes('gone.example rcpt error:5.1.2 "they are gone"',
			'later.example rcpt error:4.3.5 "not today"',
			'drop.example rcpt discard'), qr/result=ok/, 'reload');
	my $client = $instance->authenticated;
	like($client->command('MAIL FROM:<alice@example.org>'), qr/^250/,
		'MAIL');
	is($client->command('RCPT TO:<a@gone.example>'),
		'550 5.1.2 they are gone', 'refused');
	is($client->command('RCPT TO:<a@later.example>'),
		'450 4.3.5 not today', 'for now');
	$client->close;
	my ($reply, $mark) = submit('alice@example.org', 'a@drop.example');
	like($reply, qr/^250/, 'accepted');
	ok($instance->logged(qr/discarded .*rcpt=a\@drop\.example/),
		'dropped, and logged');
	ok(wait_until { !$instance->queue }, 'nothing is left');
	is_deeply(recipients($first, $mark), [], 'nobody has it');
};

subtest 'held' => sub {
	like(routes('kept.example rcpt hold "under review"',
			"* any $two smtp"), qr/result=ok/, 'reload');
	my ($reply, $mark) = submit('alice@example.org', 'a@kept.example',
		'b@other.example');
	like($reply, qr/^250/, 'accepted');
	arrives($second, $mark, 'the other recipient has it');
	ok($instance->logged(qr/hold queue=\S+ by=route line=1/), 'logged');
	my ($held) = $instance->queue;
	is($held->{state}, 'held', 'listed as held');
	is($held->{reason}, 'held by line 1 of the routes: under review',
		'with the line and the text');
	is($held->{route_line}, 1, 'the line alone too');
	is_deeply($held->{recipients}, ['a@kept.example'], 'for one');
	my $why = qr/    held by line 1 of the routes: under review\n/;
	like(($instance->tool('queue', 'list'))[1], qr/^$why/m, 'as text');
	like(($instance->tool('queue', 'list', '--summary'))[1],
		qr/  held by line 1 of the routes: under review\n/, 'summed up');
	like(($instance->tool('trace', $held->{queue}))[1],
		qr/  now held\n    held, 1 recipient, next hop none\n$why\z/,
		'its story says it');
	my (undef, $explained) = $instance->tool('route', 'explain',
		'alice@example.org', 'a@kept.example');
	like($explained, qr/routes:1 speaks\nheld for the operator: under review\nwhen released, to \Q$two\E, starttls TLS, /,
		'explained');
	like(routes("* any $two smtp"), qr/result=ok/, 'the row is removed');
	$instance->tool('queue', 'flush');
	is(scalar(@{ recipients($second, $mark) }), 1, 'held still');
	$instance->tool('queue', 'release', $held->{queue});
	ok(wait_until { !$instance->queue }, 'released, it goes');
	is_deeply([sort @{ recipients($second, $mark) }],
		['a@kept.example', 'b@other.example'], 'to whom it was for');
	like(routes('drop.example rcpt discard'), qr/result=ok/,
		'the smarthost again');
};

subtest 'mail that waits for a domain that is refused now' => sub {
	$first->stop;
	my ($reply, $mark) = submit('alice@example.org', 'a@closing.example');
	like($reply, qr/^250/, 'accepted');
	ok($instance->logged(qr/deferred .*rcpt=a\@closing\.example/), 'waits');
	like(routes('closing.example rcpt error:5.1.2 "closed"'),
		qr/result=ok/, 'reload');
	$instance->tool('queue', 'flush');
	ok($instance->logged(qr/bounced .*rcpt=a\@closing\.example.*closed/),
		'bounces');
	$first->start;
	$instance->tool('queue', 'flush');
	ok(wait_until { grep { /5\.1\.2/ } $first->messages },
		'its sender is told');
};

subtest 'a table that does not compile' => sub {
	my $said = routes('gone.example rcpt nowhere.example:99999');
	like($said, qr/result=refused/, 'reload refuses it');
	like($instance->log_text, qr/routes:1: .*port/, 'and says where');
	my $client = $instance->authenticated;
	$client->command('MAIL FROM:<alice@example.org>');
	like($client->command('RCPT TO:<a@closing.example>'), qr/^550 5\.1\.2/,
		'the old one holds');
	my ($status, $out, $err) = $instance->tool('route', 'check');
	is($status, 1, 'route check: no');
	like($err, qr/routes:1: .*port/, 'with the line');
	routes('* any ' . $one);
};

subtest 'a next hop that is ourselves' => sub {
	my $own = '127.0.0.1:' . $instance->{ports}{submission};
	like(routes("loops.example rcpt $own smtp"), qr/result=ok/, 'reload');
	my ($reply, $mark) = submit('alice@example.org', 'a@loops.example');
	like($reply, qr/^250/, 'accepted');
	ok($instance->logged(qr/bounced .*rcpt=a\@loops\.example .*status=5\.4\.6/),
		'bounced');
	ok($instance->logged(qr/our own listener .*submission.*loops back/),
		'and said why');
	ok(wait_until { grep { /5\.4\.6/ } $first->messages },
		'its sender is told');
	ok(wait_until { !$instance->queue }, 'nothing is left');
	like($instance->authenticated->transaction(message(), from => '',
			to => ['b@loops.example']), qr/^250/, 'accepted from nobody');
	ok($instance->logged(qr/ held .*rcpt=b\@loops\.example .*status=5\.4\.6/),
		'held: there is nobody to tell');
	ok($instance->logged(qr/ alarm .*5\.4\.6/), 'but the operator');
	is(scalar(() = $instance->log_lines(qr/ deferred .*\@loops\.example/)), 0,
		'and it does not go round');
	$instance->queue_empty;
	my $received = join '',
	    map { "Received: by mail.example.org (Sallyport) with ESMTPSA id x;\r\n" .
		"\tSat, 21 Nov 2026 0$_:00:00 +0000\r\n" } 1 .. 9;
	is(substr($instance->authenticated->transaction(
		"${received}From: <alice\@example.org>\r\n\r\nhello\r\n",
		from => 'alice@example.org', to => ['a@first.example']), 0, 9),
		'554 5.4.6', 'what has come through nine times is refused');
};

subtest 'policy explain follows the routes' => sub {
	like(routes("there.example rcpt $two,$one smtp",
			'drop.example rcpt discard',
			'bulk.example from hold', "* any $one smtp"),
		qr/result=ok/, 'reload');
	my ($status, $out, $err) = $instance->tool('policy', 'explain', 'rcpt',
		'x@there.example', '--json');
	is($status, 0, 'explained');
	my $answer = eval { decode_json($out) } // {};
	is_deeply([map { [@$_{qw(point value because)}] }
		grep { $_->{point} =~ /next hop/ } @{ $answer->{demand} }],
		[['next hop', $two, 'line 1 of the routes'],
		    ['next hop after it', $one, 'line 1 of the routes']],
		'by the row for the recipient');
	my ($unrouted) = split /:/, $two;
	is($answer->{site}, $unrouted, 'about that next hop');
	($status, $out) = $instance->tool('policy', 'explain', 'rcpt',
		'x@other.example', '--from', 'a@bulk.example');
	like($out, qr/held +until the operator releases it +line 3/,
		'by the sender');
	like($out, qr/next hop +\Q$one\E +line 4/, 'and after a release');
	($status, $out, $err) = $instance->tool('policy', 'explain', 'rcpt',
		'x@drop.example');
	is($status, 1, 'no next hop');
	like($err, qr/line 2 of .*routes says discard/, 'and why');
};

subtest 'the tool' => sub {
	like(routes("* any $one smtp"), qr/result=ok/, 'reload');
	my ($status, $out, $err) = $instance->tool('route', 'explain',
		'alice@example.org', 'x@y.example', '--json');
	is($status, 0, 'explain');
	my $answer = eval { decode_json($out) } // {};
	is($answer->{kind}, 'relay', 'a next hop');
	is($answer->{line}, 1, 'by that row');
	is($answer->{hops}[0]{level}, 'lock', 'with its demand');
	is_deeply([map { "$_->{by} $_->{key}" } @{ $answer->{tried} }],
		['rcpt x@y.example', 'rcpt y.example', 'rcpt .example',
		    'from alice@example.org', 'from example.org',
		    'from .org', 'any *'], 'all that was looked for');
	($status, $out) = $instance->tool('route', 'list');
	like($out, qr/routes:1: \* any \Q$one\E smtp\n/, 'list');
	($status, $out, $err) = $instance->tool('route', 'explain', 'x');
	is($status, 2, 'one word is too few');
	for my $none ('y', 'x y@z.example', 'x@y@z.example', 'x@y> A=B', '<>',
		"\xff\@z.example") {
		($status, $out, $err) = $instance->tool('route', 'explain',
			'a@b.example', $none);
		is($status, 2, "$none is no recipient") or diag($out);
	}
	is(($instance->tool('route', 'explain', $_, '<"x y"@z.example>'))[0], 0,
		"from $_") for '<>', 'a@b.example', '<a@b.example>';
};

subtest 'while no server runs' => sub {
	$second->stop;
	like(routes("away.example rcpt $two smtp"), qr/result=ok/, 'reload');
	my ($reply, $mark) = submit('alice@example.org', 'a@away.example');
	like($reply, qr/^250/, 'accepted');
	ok($instance->logged(qr/deferred .*rcpt=a\@away\.example/), 'waits');
	$instance->stop_ok;
	my ($waiting) = $instance->queue;
	is($waiting->{port}, $second->port, 'listed with its own next hop');
	my ($status, $out) = $instance->tool('queue', 'show',
		$waiting->{queue});
	like($out, qr/attempt 1, .*Connection refused/s, 'and the attempt');
	spew($file, "x\n");
	($status, $out, my $err) = $instance->tool('queue', 'list');
	is($status, 0, 'listed if the routes do not compile');
	like($err, qr/routes:1: .*as if there were no routes/s, 'with a note');
};

done_testing;
