#!/usr/bin/perl
# A smarthost that fails: the table of every fault at every step, and what must
# not become of a message.  Each cell is a next hop of its own with one fault;
# all of them get a message at once, then are well again, and get the next one.
use strict;
use warnings;
use lib 't/lib';
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep);

# d: delivered at once, q: queued, and delivered when the next hop is well,
# b: bounced; for the first, second and third recipient.  With an "!" the reply
# was lost when the whole message had been sent, in the documented window, and
# the log says so ("~": perhaps); w: queued though the server had kept it, it comes twice; v:
# the same if the server had read on by then.  "?": once or twice.
my %reply = (
	drop => 'drop',
	stall => 'stall',
	words => 'raw hello there\r\n',
	binary => 'raw \x00\xff\x15\x03\x01\x80\r\n',
	'bare LF' => 'raw 250 2.0.0 ok\n',
	line => 'endless x',
	lines => 'endless 250-x\r\n',
	codes => 'raw 250-2.0.0 a\r\n550 5.0.0 b\r\n',
	421 => '421 4.3.2 closing',
	'4xx' => '451 4.3.0 later',
	'5xx' => '554 5.3.0 never',
	502 => '502 5.5.1 what',
	503 => '503 5.5.1 what',
	extra => 'extra 250 2.0.0 and more',
	take => 'take',
);

# What the log says of it.
my %says = (
	drop => qr/clos|ended|reset|pull function|broken pipe/i,
	stall => qr/timed out/,
	words => qr/reply without a reply code/,
	binary => qr/reply without a reply code|bare/,
	'bare LF' => qr/bare LF/,
	line => qr/reply line too long/,
	lines => qr/reply of too many lines/,
	codes => qr/reply codes of one reply differ/,
	class => qr/unexpected reply|354/,
	421 => qr/421 4\.3\.2 closing/,
	'4xx' => qr/451 4\.3\.0 later/,
	'5xx' => qr/554 5\.3\.0 never/,
	extra => qr/without being asked|unexpected reply|before the end/,
	take => qr/clos|ended|reset|pull function/i,
);

my @garbage = ('words', 'binary', 'bare LF', 'line', 'lines', 'codes', 'class');
my @all = ('drop', 'stall', @garbage, 421, '4xx', '5xx', 'extra');

my %before_mail = (map { $_ => 'qqq' } @all);
my %to_all = (%before_mail, '5xx' => 'bbb');
my %in_doubt = (%to_all, map { $_ => 'qqq!' } 'drop', 'stall', @garbage);
# Over CHUNKING the message goes along, whatever is said of its recipients; one
# reply too many may be seen only when all is done.
my %in_flight = (%in_doubt, extra => '?');
my @garbled = grep { !/^lines?$/ } @garbage; # the others never end

# step, modes, fates by fault; class: a good reply, but of another class;
# settings and site options; says: what the log has for all of them.
my @rows = (
	[tcp => 'starttls', { drop => 'qqq' }],
	[tcp => 'tls', { drop => 'qqq' }, says => qr/TLS/],
	[connect => 'starttls tls', \%before_mail, class => '354 go on',
		says => qr/greeting|without being asked/],
	[ehlo => 'starttls', \%before_mail, class => '354 go on',
		says => qr/EHLO|HELO|STARTTLS/i],
	[starttls => 'starttls', \%before_mail, class => '250 2.0.0 ok',
		says => qr/starttls|TLS/i],
	[handshake => 'starttls tls', { map { $_ => 'qqq' }
			qw(drop stall words binary lines) }, says => qr/TLS/],
	['ehlo-tls' => 'starttls tls', \%before_mail, class => '354 go on',
		says => qr/EHLO|HELO|without being asked/],
	[auth => 'starttls tls', \%before_mail, class => '250 2.0.0 ok',
		site => 'auth=isp', settings => { login => 'relay:open sesame' },
		says => qr/login isp|without being asked/],
	[mail => 'starttls', \%to_all, class => '354 go on'],
	[mail => 'chunking', \%in_flight, class => '354 go on'],
	['rcpt=first' => 'starttls', { %before_mail, '4xx' => 'qdd',
			'5xx' => 'bdd' }, class => '354 go on'],
	['rcpt=first' => 'chunking', { %in_flight, '4xx' => 'qdd',
			'5xx' => 'bdd', map { $_ => 'qvv!' } @garbled },
		class => '354 go on'],
	['rcpt=second' => 'starttls', { %before_mail, '4xx' => 'dqd',
			'5xx' => 'dbd' }, class => '354 go on'],
	['rcpt=second' => 'chunking', { %in_flight, '4xx' => 'dqd',
			'5xx' => 'dbd', map { $_ => 'vqv!' } @garbled },
		class => '354 go on'],
	[rcpt => 'starttls chunking', { '4xx' => 'qqq', '5xx' => 'bbb' }],
	[data => 'starttls', \%to_all, class => '250 2.0.0 ok'],
	# Whether the kernel had taken all of it by then is its own affair.
	[body => 'starttls chunking', { (map { $_ => 'qqq~' } qw(drop stall words
			binary line lines codes)), 421 => 'qqq', '4xx' => 'qqq',
			'5xx' => 'bbb' }, large => 8_000_000,
		says => qr/before the end|timed out|clos|ended|reset|pull function|repl|bare|421|451|554/],
	[dot => 'starttls', { %in_doubt, take => 'www!', extra => 'ddd' },
		class => '354 go on'],
	[bdat => 'chunking', { %in_doubt, take => 'www!', extra => '?',
			502 => 'ddd', 503 => 'ddd' }, class => '354 go on'],
	[bdat => 'chunking', { %in_doubt, take => 'www!', extra => 'ddd',
			502 => 'ddd', 503 => 'ddd' }, class => '354 go on',
		large => 200_000],
	# It follows each flight, as the proof that replies fit commands.
	[rset => 'chunking', { (map { $_ => 'www!' } @garbage, '4xx', '5xx'),
			drop => 'ddd', stall => 'ddd', 421 => 'ddd', extra => '?' },
		class => '354 go on', says => qr/reply|bare|RSET/],
	[quit => 'starttls chunking', { map { $_ => 'ddd' } @all },
		class => '354 go on', site => 'reuse=no'],
	# Between two messages over one connection.
	[rset => 'starttls', { map { $_ => 'ddd' } @all },
		class => '354 go on',
		twice => 1],
	[idle => 'starttls', { map { $_ => 'ddd' } qw(drop stall words binary
			line lines codes 421 4xx 5xx) }, twice => 1],
	# What comes right after the reply to RSET is one reply too many.
	[idle => 'chunking', { (map { $_ => 'ddd' } qw(drop stall 421)),
			map { $_ => '?' } qw(words binary line lines codes 4xx 5xx) },
		twice => 1],
);

my @cells;
for my $row (@rows) {
	my ($step, $modes, $fates, %o) = @$row;
	for my $mode (split / /, $modes) {
		push @cells, map { {
			%o, step => $step, mode => $mode, fault => $_,
			fate => $fates->{$_}, number => @cells + 0,
			name => "$mode, $step" . ($o{large} ? ' (large)' : '')
			    . ": $_",
		} } sort keys %$fates;
	}
}
$cells[$_]{number} = $_ for 0 .. $#cells;

# The settings of a cell's port; without its fault when it is well.
sub settings {
	my ($cell, $well) = @_;
	my ($step, $n) = @$cell{qw(step number)};
	my $reply = $cell->{fault} eq 'class' ? "raw $cell->{class}\\r\\n"
	    : $reply{ $cell->{fault} };
	$step .= "\@c$n.example" if $step =~ /^rcpt=/;
	return {
		tls => $cell->{mode} eq 'tls' ? 'implicit' : 'starttls',
		$cell->{mode} eq 'chunking' ? (chunking => 'yes') : (),
		$cell->{step} eq 'body' ? (rcvbuf => 8192) : (),
		%{ $cell->{settings} // {} },
		fault => { $well ? () : ($step => $reply),
			"rcpt=refused\@c$n.example" => '550 5.1.1 no such user' },
	};
}

my $scratch = scratch();
my $slow = sanitized() ? 3 : 1;
my $patience = '"' . 15 * $slow . 's"';
my $instance = Sallyport::Instance->new(scratch => $scratch, start => 0,
	options => { 'retry-first' => '"1h"', 'retry-most' => '"1h"',
		'relay-threads' => 40,
		map { $_ => $patience } 'connect-timeout',
		map { "relay-$_-timeout" } qw(greeting command data block end) });
my $smarthost = $instance->{smarthost};
my ($cert, $key) = $instance->{authority}->issue('cells',
	ip => ['127.0.0.1']);
my $faulty = Sallyport::Smarthost->new("$scratch/faulty", cert => $cert,
	key => $key, brief => 'yes', cells => scalar @cells,
	cell => [map { settings($_) } @cells]);
my @ports = $faulty->ports;

spew("$instance->{folder}/routes", join '', map {
	my $kind = $_->{mode} eq 'tls' ? 'smtps' : 'smtp';
	"c$_->{number}.example rcpt 127.0.0.1:$ports[$_->{number}] $kind\n"
} @cells);
$instance->option(routes => '"routes"');
spew("$instance->{folder}/isp.secret", "open sesame\n");
spew("$instance->{folder}/upstream", "isp PLAIN relay file:isp.secret\n");
chmod 0600, "$instance->{folder}/upstream", "$instance->{folder}/isp.secret";
$instance->option(upstream => '"upstream"');
$instance->sites(slurp("$instance->{folder}/sites") . join '', map {
	"127.0.0.1:$ports[$_->{number}] out encrypt $_->{site}\n"
} grep { $_->{site} } @cells);
$instance->start;

my $client;

my $line = 'x' x 78 . "\r\n";

# To these in the cell's domain.
sub submit {
	my ($cell, @to) = @_;
	$client //= $instance->authenticated;
	return $client->transaction(message(
			body => $line x (1 + ($cell->{large} // 0) / length $line)),
		to => [map { "$_\@c$cell->{number}.example" } @to]);
}

# What the log says last of each recipient: the whole line.
sub told {
	my %told;
	for ($instance->log_lines(qr/ (?:delivered|deferred|bounced|held) /)) {
		$told{$2} = [$1, $_]
		    if / (delivered|deferred|bounced|held) queue=\S+ rcpt=(\S+)/;
	}
	return \%told;
}

# Wait until it says something of these in all of the cells.
sub all_told {
	my ($cells, @names) = @_;
	ok((wait_until {
		my $told = told();
		0 == grep { my $n = $_->{number};
			grep { !$told->{"$_\@c$n.example"} } @names } @$cells;
	} 120), 'the log tells of all');
}

# How often each recipient of each cell got a message, by address.
sub taken {
	my %taken;
	for my $event ($faulty->events('message')) {
		$taken{$_}++ for @{ $event->{to} };
	}
	return \%taken;
}

my @names = qw(first second third);
my @resets = grep { $_->{twice} && $_->{step} eq 'rset' } @cells;
my @idles = grep { $_->{twice} && $_->{step} eq 'idle' } @cells;

subtest 'all are accepted' => sub {
	like(submit($_, 'refused'), qr/^250/, "$_->{name}, before") for @resets;
	like(submit($_, 'before'), qr/^250/, "$_->{name}, before") for @idles;
	all_told(\@resets, 'refused');
	all_told(\@idles, 'before');
	like(submit($_, @names), qr/^250/, $_->{name}) for @cells;
	$client->close;
	undef $client;
	all_told(\@cells, @names);
};

my $told = told();
my $before = taken();
my @unanswered = $instance->log_lines(qr/ unanswered /);
my %seen = map { $_->{cell} => 1 } grep { defined $_->{cell} }
    $faulty->events('fault');

$faulty->set(cell => [map { settings($_, 'well') } @cells]);
# A slow machine may be too late for one attempt or the other.
ok((wait_until {
	my @left = $instance->queue or return 1;
	$instance->tool('queue', 'flush');
	sleep 2;
	0;
} 180),
    'nothing is left when all are well') or diag(explain [$instance->queue]);
my $after = taken();

my %word = (d => 'delivered', q => 'deferred', w => 'deferred',
	v => 'deferred', b => 'bounced');
for my $cell (@cells) {
	subtest $cell->{name} => sub {
		my ($n, $fate, $fault) = @$cell{qw(number fate fault)};
		my $site = "127.0.0.1:$ports[$n]";
		my $doubt = grep { / site=\Q$site\E / } @unanswered;

		# Another connection may have been first where two are needed.
		ok($seen{$n}, 'the fault was met') if !$cell->{twice};
		for my $i (0 .. 2) {
			my $rcpt = "$names[$i]\@c$n.example";
			my ($word, $line) = @{ $told->{$rcpt} // ['nothing', ''] };
			my ($early, $times) = map { $_->{$rcpt} // 0 } $before,
			    $after;

			if ($fate eq '?') {
				like($times, qr/^[12]$/, "$names[$i]: once or twice");
				next;
			}
			my $one = substr $fate, $i, 1;
			is($word, $word{$one}, "$names[$i]: $word{$one}");
			like($early, { d => qr/^1$/, q => qr/^0$/, w => qr/^1$/,
				v => qr/^[01]$/, b => qr/^0$/ }->{$one},
			    "$names[$i]: not before it should");
			is($times, $one eq 'b' ? 0 : $one =~ /[wv]/ ? $early + 1 : 1,
			    "$names[$i]: arrives as often as it should");
			like($line, $cell->{says} // $says{$fault},
			    "$names[$i]: the log says why") if $one ne 'd' &&
			    $line =~ /status=[45]/;
		}
		is($doubt, $fate =~ /!/ ? 1 : 0, 'the window is told')
		    if $fate !~ /[?~]/;
	};
}
cmp_ok(scalar(grep { $_->{twice} && $seen{ $_->{number} } } @cells), '>', 0,
    'faults between two messages were met');

subtest 'the next message' => sub {
	like(submit($_, 'next'), qr/^250/, $_->{name}) for @cells;
	$client->close;
	ok((wait_until {
		my $taken = taken();
		@cells == grep { $taken->{"next\@c$_->{number}.example"} } @cells;
	} 60), 'is delivered by every one');
	my $taken = taken();
	is_deeply([grep { $taken->{"next\@c$_->{number}.example"} != 1 } @cells],
		[], 'once');
};

subtest 'the counts' => sub {
	my $status = $instance->status;
	my $relay = $status->{roles}{relay} // {};
	is($relay->{unanswered}, scalar($instance->log_lines(qr/ unanswered /)),
	    'status counts what the log tells');
};

$instance->stop_ok;
done_testing;
