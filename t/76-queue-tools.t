#!/usr/bin/perl
# The operator's hand on the queue: lists and summaries by filter, hold,
# release, bounce, remove; with the server running, restarted and stopped.
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
my $two = '127.0.0.1:' . $second->port;
spew("$instance->{folder}/routes", "second.example rcpt $two smtp\n");
$instance->option(routes => '"routes"');
$instance->start;
$_->fault(mail => '451 4.3.0 come back later') for $first, $second;

my $count = 0;

# A message of that login to these; its queue id.
sub submit {
	my ($login, @to) = @_;
	my $text = message(subject => 'mark' . ++$count);
	$text =~ s/<alice\@/<$login\@/;
	my $reply = $instance->authenticated(user => $login)->transaction($text,
		from => "$login\@example.org", to => \@to);
	return ($reply =~ /^250 .*?\b([0-9A-Z]{19})\b/)[0];
}

sub tool {
	my ($status, $out, $err) = $instance->tool('queue', @_);
	return wantarray ? ($status, $out, $err) : $out;
}

# What --json printed.
sub objects {
	my $list = eval { decode_json($_[0]) };
	return ref $list eq 'ARRAY' ? @$list : ();
}

# The queue ids that these filters mean.
sub listed {
	my ($status, $out, $err) = tool('list', '--json', @_);
	is($status, 0, "list @_") or diag($err);
	return join ' ', map { $_->{queue} } objects($out);
}

# How many deferrals the log has.
sub deferrals {
	return scalar(my @lines = $instance->log_lines(qr/ deferred /));
}

my $alice = submit('alice', 'x@first.example');
my $bob = submit('bob', 'y@second.example');
my $both = submit('alice', 'x@first.example', 'y@second.example');
ok($alice && $bob && $both, 'accepted') or diag explain [$alice, $bob, $both];
ok(wait_until { deferrals() >= 4 }, 'all are deferred');

subtest 'filters' => sub {
	is(listed(), "$alice $bob $both", 'all, the oldest first');
	is(listed('--user', 'bob'), $bob, 'a bare name is in the realm');
	is(listed('--user', 'alice@example.org'), "$alice $both", 'hers');
	is(listed('--site', 'second.example'), "$bob $both",
		'the domain of a recipient');
	is(listed('--site', '.example'), "$alice $bob $both", 'under it');
	is(listed('--site', '127.0.0.1'), "$alice $bob $both", 'a next hop');
	is(listed('--site', $two), "$bob $both", 'one of a port');
	is(listed('--sender', '@example.org', '--user', 'bob'), $bob, 'both');
	is(listed('--sender', '<>'), '', 'none');
	is(listed('--reason', 'COME back'), "$alice $bob $both", 'by text');
	is(listed('--reason', '4.3'), "$alice $bob $both", 'by status');
	is(listed('--reason', '5'), '', 'by another');
	is(listed('--state', 'queued', '--state', 'held'), '', 'by states');
	is(listed('--state', 'deferred', $bob), $bob, 'with an id');
	is(listed('--older', '1h'), '', 'none is so old');
	is(listed('--newer', '1h'), "$alice $bob $both", 'all are newer');
	like(tool('list', '--older', '1h'), qr/^no message matches$/,
		'which is not an empty queue');
};

subtest 'wrong usage' => sub {
	for my $words (['hold'], ['release'], ['remove'], ['bounce'], ['show'],
		['list', '--all'], ['list', '--older', 'soon'],
		['list', '--state', 'lost'], ['hold', '--user', ''],
		['hold', '--because', 'x', $alice], ['list', '--body'],
		['show', '--user', 'bob', $bob], ['list', '--summary', $bob]) {
		my ($status) = tool(@$words);
		is($status, 2, "@$words");
	}
	my ($status, undef, $err) = tool('bounce', '--status', '4.0.0', $bob);
	is($status, 2, 'bounce --status 4.0.0');
	like($err, qr/5\.7\.1/, 'and what was expected');
	is(listed(), "$alice $bob $both", 'nothing was done');
};

sub summary_ok {
	my ($name) = @_;
	my ($status, $out) = tool('list', '--summary', '--json');
	is($status, 0, "summary, $name");
	my @rows = grep { $_->{kind} ne 'site' } objects($out);
	is(join(' ', map { "$_->{kind} $_->{messages}" } @rows),
		'row 2 row 2 total 3',
		'the one of two ways counts twice and once');
	is(join(' ', sort map { $_->{port} } @rows[0, 1]),
		join(' ', sort map { $_->port } $first, $second),
		'a row for each next hop');
	is($rows[0]{host}, '127.0.0.1', 'its host');
	is($rows[0]{reason}, '451 4.3.0 come back later', 'its reason');
	is($rows[0]{ages}{'5m'}, 2, 'by age');
	is($rows[0]{ages}{$_}, 0, "$_: none") for qw(15m 1h 4h 1d 3d older);
}

summary_ok('running');
like(tool('list', '--summary'),
	qr/^\s+all\s+5m\s+15m\s+1h\s+4h\s+1d\s+3d\s+older\n(?:\s+2\s+2\s+0.*  127\.0\.0\.1:\d+: 451 4\.3\.0 come back later\n){2}\s+3\s+3.*total, \d+ octets\n(?:next hop .*\n)*$/,
	'and as a table');

subtest 'show' => sub {
	my $out = tool('show', $both);
	like($out, qr/^    by .*client .* session \S+ .*tls TLS1\.3/m,
		'who brought it, and how');
	like($out, qr/^next hop 127\.0\.0\.1:\d+, deferred, 1 recipient, 1 attempt, next in \d+m\n(?:.*\n)?next hop 127/m,
		'its next hops');
	like($out, qr/^attempt 1, .*\n(?:.*\n)*?    deferred 4\.3\.0 <y\@second\.example>: 451/m,
		'attempts');
	like($out, qr/^Subject: mark3$/m, 'the header');
	my ($body) = message(subject => 'mark3') =~ /\r\n\r\n(.*?)\r\n/;
	like(tool('show', '--body', $both),
		qr/^Subject: mark3\n(?:.+\n)*\n\Q$body\E$/m, 'but with --body');
	unlike($out, qr/\Q$body\E/, 'and without it the body is not shown');
};

subtest 'hold and release' => sub {
	my ($status, $out) = tool('hold', '--site', 'second.example');
	is($status, 0, 'hold');
	is($out, "2 messages matched, 2 held\n", 'how many are said');
	is(listed('--state', 'held'), "$bob $both", 'they are');
	like(tool('list', $bob), qr/held by the operator/, 'and by whom');
	ok($instance->logged(qr/ hold queue=$bob by=operator/), 'logged');
	ok($instance->stop, 'stop');
	is(listed('--state', 'held'), "$bob $both", 'without the server');
	summary_held();
	my (undef, undef, $err) = tool('release', $bob);
	like($err, qr/does not run/, 'release needs it');
	$instance->start;
	is(listed('--state', 'held'), "$bob $both", 'over a restart');
	$_->fault() for $first, $second;
	is(tool('flush'), "3 messages matched, 1 due now\n", 'flush');
	ok($instance->arrived(1), 'what is not held goes');
	ok(wait_until { listed_quiet() eq "$bob $both" }, 'the others stay');
	is($second->count, 0, 'nothing went there');
	is(tool('release', $bob), "1 message matched, 1 released\n", 'release');
	ok(wait_until { $second->count == 1 }, 'goes at once');
	ok($instance->logged(qr/ delivered queue=$bob .*attempt=2 /),
		'as the second attempt');
};

sub summary_held {
	like(tool('list', '--summary', '--state', 'held'),
		qr/127\.0\.0\.1:\d+: held by the operator\n/, 'the summary says it');
}

sub listed_quiet {
	return join ' ', map { $_->{queue} } $instance->queue;
}

sub trace {
	return $instance->tool('trace', @_);
}

subtest 'trace' => sub {
	my $time = qr/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/;
	my ($status, $out, $err) = trace($both);
	is($status, 0, 'trace') or diag($err);
	like($out, qr/\A$time  accepted login alice\@example\.org client \S+ session \S+ .*\n    TLS1\.3 \S+\n    from <alice\@example\.org>, 2 recipients, \d+ octets\n/,
		'how it came');
	like($out, qr/^$time  attempt 1 to 127\.0\.0\.1:\d+ 127\.0\.0\.1\n(?:    .*\n)*    deferred <y\@second\.example>: 451 4\.3\.0 come back later\n/m,
		'an attempt, and the reply');
	like($out, qr/^$time  now held by the operator\n    held, 1 recipient, next hop 127\.0\.0\.1:\d+\n/m,
		'where it is');
	($status, $out) = trace($bob);
	is($status, 0, 'of one that has gone');
	like($out, qr/    delivered <y\@second\.example>: 250 .*\n$time  now done\n\z/,
		'to the reply of the smarthost');
	($status, $out) = trace('--json', $bob);
	is((objects($out))[0]{state}, 'done', 'as JSON');
	($status, undef, $err) = trace('0NOSUCH');
	is($status, 1, 'of none: no');
	like($err, qr/no message 0NOSUCH/, 'and why');
	is((trace())[0], 2, 'an id is expected');
};

subtest 'trace from the log' => sub {
	my ($status, $out, $err) = trace('--log', $instance->{log}, $bob);
	is($status, 0, 'trace --log') or diag($err);
	like($out, qr/ connect session=(\S+) .*\n(?s:.*) tls session=\1 .* version=TLS1\.3 (?s:.*) auth session=\1 .* mechanism=PLAIN (?s:.*) accepted queue=$bob session=\1 (?s:.*) policy queue=$bob .* reached=lock (?s:.*) delivered queue=$bob .* reply="250 /,
		'from the connection to the reply');
	unlike($out, qr/queue=(?!$bob\b)/, 'and of no other message');
	my $same = `{ sed 's/^/host sallyportd[1]: /' $instance->{log}; } | @{[program('sallyport')]} trace --log - $bob`;
	is($same =~ s/^host sallyportd\[1\]: //gmr, $out,
		'from standard input, with a prefix');
	is((trace('--log', $instance->{log}, '0NOSUCH'))[0], 1, 'of none: no');
	is((trace('--log', '/nonexistent', $bob))[0], 1, 'without a log: no');
	is((trace('--log', $instance->{log}, '--json', $bob))[0], 2,
		'its lines are no JSON');
};

subtest 'what is said of wrong usage' => sub {
	for (
		[['list', '--older', 'yesterday'], qr/a time was expected/],
		[['list', '--older', '2h', '--newer', '1h'],
			qr/no message is older and newer/],
		[['list', '--state', 'stuck'], qr/queued, deferred, active or held/],
		[['list', '--older'], qr/a value was expected/],
		[['list', '--bogus'], qr/unknown option/],
		[['show', '--user', 'x', $both], qr/it takes no filter/],
		[['remove'], qr/a queue id, a filter or --all/],
		[['remove', '--all', $both], qr/--all or some of them/],
		[['hold', '--all', '--user', 'x'], qr/--all or some of them/],
		[['bounce', '--status', '4.1.1', $both],
			qr/a status for good .*5\.7\.1/],
		[['bounce', '--status', '5.7', $both],
			qr/a status for good .*5\.7\.1/],
		[['bounce', '--because', "a\tb", $both], qr/a text of printable ASCII/],
		[['frob'], qr/unknown command/]
	) {
		my ($words, $why) = @$_;
		my ($status, $out, $err) = tool(@$words);
		is($status, 2, "@$words") or diag($out);
		like($err, qr/^sallyport: queue $words->[0]: $why/, 'and why');
	}
	is((tool('remove', '0NOSUCH'))[0], 1, 'an id that is none: no');
	is((tool('show', '0NOSUCH'))[0], 1, 'to show neither');
	like(listed(), qr/$both/, 'nothing was done');
};

subtest 'bounce' => sub {
	$first->forget;
	is(tool('bounce', '--status', '5.7.1', '--because', 'they have moved',
			$both), "1 message matched, 1 returned\n", 'bounce');
	ok(wait_until { !listed_quiet() }, 'it is gone');
	my $report = wait_until { (grep { /report-type=delivery-status/ &&
		    /^Final-Recipient: .*y\@second/m } $first->messages)[0] };
	ok($report, 'its sender is told');
	like($report, qr/they have moved/, 'why');
	like($report, qr/451 4\.3\.0 come back later/, 'and what was said last');
	like($report, qr/^Status: 5\.7\.1\r?$/m, 'with the status');
	ok($instance->logged(qr/ bounced queue=$both rcpt=y\@second/), 'logged');
};

subtest 'a next hop that is left alone' => sub {
	$second->stop;
	my $id = submit('bob', 'y@second.example');
	ok($instance->logged(qr/ deferred queue=$id /), 'deferred');
	my ($site) = grep { $_->{kind} eq 'site' && $_->{failures} }
	    objects(scalar tool('list', '--summary', '--json'));
	is("$site->{host}:$site->{port}", $two, 'the summary names it');
	cmp_ok($site->{until}, '>', time + 600, 'until when');
	like(tool('list', '--summary'),
		qr/^next hop \Q$two\E: left alone for \d+m, until \d{4}-\S+ \S+; failed 1 time: .*Connection refused$/m,
		'and why');
	tool('remove', $id);
	$second->start;
};

subtest 'nobody to tell' => sub {
	$first->fault(data => '451 4.3.0 not now', mail => '451 4.3.0 not now');
	my $id = submit('alice', 'z@first.example');
	ok($instance->logged(qr/ deferred queue=$id /), 'deferred');
	tool('bounce', $id);
	my $notice = wait_until {
		my ($one) = grep { $_->{from} eq '' } $instance->queue;
		$one && $one->{queue} };
	ok($notice, 'the notification waits');
	ok(wait_until { listed_quiet() eq $notice && $instance->queue == 1
		&& ($instance->queue)[0]{state} eq 'deferred' }, 'it alone');
	my ($status, $out, $err) = tool('bounce', '--sender', '<>');
	is($status, 1, 'bounce of a bounce: no');
	like($err, qr/1 not returned: from the null reverse-path/, 'and why');
	is(listed(), $notice, 'it is left');
	is((tool('remove', '--all'))[1], "1 message matched, 1 removed\n",
		'remove --all');
	is(listed(), '', 'gone');
};

$instance->clean_ok;
done_testing;
