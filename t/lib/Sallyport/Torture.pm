# What became of every message that was submitted while roles were killed.
#
# A message counts as lost if it was acknowledged and, once all is quiet, some
# recipient of it has neither got it nor been reported to its sender, and no
# held message in the queue has it.  A recipient who got it twice is explained
# if the smarthost kept the first one without saying so (it drops connections
# on purpose), or if the relay was killed between the two.
package Sallyport::Torture;

use strict;
use warnings;
use Exporter qw(import);
use Sallyport::Test;

our @EXPORT = qw(torture_message torture_recipients torture_account
    torture_table);

# The recipient whom the smarthost refuses, and the sender whom it refuses
# reports to, so that messages are bounced and held as well.
our $gone = 'gone@example.net';
our $silent = 'silent@example.org';

# The mark of a message is in its Message-ID, and says all that matters here:
# who the recipients are and whether a report of success is wanted.
sub torture_recipients {
	my ($id) = @_;
	my ($count, $flags) = $id =~ /-r(\d+)([a-z]*)$/ or return;
	my @to = map { "rcpt$_\@example.net" } 1 .. $count;
	push @to, $gone if $flags =~ /g/;
	return @to;
}

# The next message of a sender; what it is like is drawn by rand.
sub torture_message {
	my ($name) = @_;
	my $kind = rand 100;
	my $count = $kind < 75 ? 1 : 2 + int rand 4;
	my $flags = ($kind >= 60 && $kind < 66 ? 'g' : '')
	    . (rand(100) < 6 ? 'd' : '') . (rand(100) < 2 ? 's' : '');
	my $id = "$name-r$count$flags";
	# One in fifteen is more than is kept in memory, and streams to a file.
	my $octets = rand(15) < 1 ? 300_000 + int rand 200_000
	    : 100 + int rand 8000;
	my $line = "$id " . 'x' x 50 . "\r\n";
	return { id => $id, to => [torture_recipients($id)],
		from => $flags =~ /s/ ? $silent : 'alice@example.org',
		mail => $flags =~ /d/ ? ' RET=HDRS ENVID=' . $id : '',
		rcpt => $flags =~ /d/ ? ' NOTIFY=SUCCESS,FAILURE' : '',
		message => message(id => $id,
			body => $line x (1 + $octets / length $line)) };
}

# What the smarthost kept: a list in order of { id, to => [], from, time,
# answered, whole, last => of its connection, and of reports action => { recipient => action } }.
sub kept {
	my ($smarthost) = @_;
	my (@kept, %last);
	for my $event ($smarthost->events('message')) {
		my $octets = slurp("$smarthost->{folder}/Maildir/new/$event->{file}");
		my %one = (%$event);
		my @ids = $octets =~ /^Message-ID: <([^\@>]+)\@example\.org>/mg;
		$one{id} = $ids[-1] // '';
		if ($event->{from} eq '') {
			$one{action}{$1} = $2 while $octets =~
			    /^Final-Recipient: rfc822; ?(\S+)\r\nAction: (\S+)\r\n/mg;
		} else {
			# Every line of the body bears the mark.
			my ($head, $body) = split /\r\n\r\n/, $octets, 2;
			$one{whole} = $body =~ /\A(?:\Q$one{id}\E x{50}\r\n)+\z/;
		}
		push @kept, $last{ $event->{connection} } = \%one;
	}
	$_->{last} = 1 for values %last;
	return @kept;
}

# The kill that ended the relay between two deliveries of one message.  The
# relay may have been dead when the smarthost was done with the first; then
# that was the last of its connection.
sub kill_between {
	my ($kills, $first, $second) = @_;
	my $from = $first->{time} - ($first->{last} ? 30 : 0);
	my @kills = grep { $_->{target} =~ /^(?:relay|master|all)$/
		&& $_->{gone} > $from && $_->{time} < $second->{time} } @$kills;
	my ($after) = grep { $_->{gone} > $first->{time} } @kills;
	return $after // $kills[-1];
}

# torture_account(smarthost =>, submitter =>, queue => [as Instance::queue
# gives it], reports => { report's queue id => that of the message it is about },
# kills => [{ target, time, gone => when its processes were }]): what became of everything.
sub torture_account {
	my (%o) = @_;
	my %said = map { $_ => { $o{submitter}->said($_) } }
	    qw(sent acked refused unanswered);
	my (%got, %reported, %relayed, @damaged);
	for my $one (kept($o{smarthost})) {
		push @{ $got{"$one->{id} $_"} }, $one
		    for $one->{from} eq '' ? () : @{ $one->{to} };
		push @damaged, $one->{id} if $one->{from} ne '' && !$one->{whole};
		for my $to (keys %{ $one->{action} // {} }) {
			my $what = $one->{action}{$to} eq 'failed'
			    ? \%reported : \%relayed;
			$what->{"$one->{id} $to"}++;
		}
	}
	my %held = map { $_->{queue} => $_ }
	    grep { $_->{state} eq 'held' } @{ $o{queue} };
	# A report that nobody takes is held for what it is about.
	my %unheard = map { $o{reports}{$_} => 1 }
	    grep { $held{$_} } keys %{ $o{reports} };
	my %n = map { $_ => scalar keys %{ $said{$_} } } keys %said;
	# Killed itself before it could say: nobody was told anything.
	$n{unanswered} = $n{sent} - $n{acked} - $n{refused};
	my %a = (counts => \%n, lost => [], unexplained => [],
		damaged => \@damaged, untold => [], twice => {}, age => {});
	$n{$_} = 0 for qw(arrived bounced held reported unanswered-arrived);
	for my $id (sort keys %{ $said{acked} }) {
		my $held = $held{ $said{acked}{$id} };
		my %where;
		for my $to (torture_recipients($id)) {
			my $how = $got{"$id $to"} ? 'arrived'
			    : $reported{"$id $to"} ? 'bounced'
			    : $held && grep({ $_ eq $to } @{ $held->{recipients} })
			    || $unheard{ $said{acked}{$id} } && $to eq $gone
			    ? 'held' : 'lost';
			push @{ $a{lost} }, "$id $to" if $how eq 'lost';
			$where{$how}++;
			# The silent one takes no reports.
			next if $id !~ /-r\d+g?d$/ || $how ne 'arrived';
			$relayed{"$id $to"} ? $n{reported}++
			    : push @{ $a{untold} }, "$id $to";
		}
		$n{$_}++ for grep { $_ ne 'lost' } keys %where;
	}
	for my $id (grep { !$said{acked}{$_} } keys %{ $said{sent} }) {
		$n{'unanswered-arrived'}++
		    if grep { $got{"$id $_"} } torture_recipients($id);
	}
	for my $key (sort keys %got) {
		my @times = sort { $a->{time} <=> $b->{time} } @{ $got{$key} };
		for my $i (1 .. $#times) {
			my $kill = kill_between($o{kills},
				@times[$i - 1, $i]);
			my $why = !$times[$i - 1]{answered} ? 'smarthost'
			    : $kill ? $kill->{target} : undef;
			if (!defined $why) {
				push @{ $a{unexplained} }, $key;
				next;
			}
			$a{twice}{$why}++;
			next if $why eq 'smarthost';
			my $age = $kill->{time} - $times[$i - 1]{time};
			$a{age}{$why} = $age if $age > ($a{age}{$why} // 0);
		}
	}
	$a{kills}{ $_->{target} }++ for @{ $o{kills} };
	return \%a;
}

# The account as lines for people.
sub torture_table {
	my ($a) = @_;
	my $n = $a->{counts};
	my @lines = (sprintf('%-28s %8s', 'messages', ''),
		map { sprintf '  %-26s %8d', @$_ }
		['submitted', $n->{sent}], ['acknowledged', $n->{acked}],
		['  arrived', $n->{arrived}], ['  bounced', $n->{bounced}],
		['  held', $n->{held}],
		['  lost (recipients)', scalar @{ $a->{lost} }],
		['  success reported', $n->{reported}],
		['refused', $n->{refused}],
		['no answer', $n->{unanswered}],
		['  of both, arrived', $n->{'unanswered-arrived'}],
		['damaged', scalar @{ $a->{damaged} }]);
	push @lines, sprintf '%-28s %8s %11s %14s', 'killed', 'times',
	    'duplicates', 'ms before kill';
	push @lines, map { sprintf '  %-26s %8d %11d %14s', $_, $a->{kills}{$_},
		$a->{twice}{$_} // 0, defined $a->{age}{$_}
		? sprintf '%.0f', $a->{age}{$_} * 1000 : '-' }
	    sort keys %{ $a->{kills} };
	push @lines, sprintf '  %-26s %8s %11d', 'smarthost cut its answer', '',
	    $a->{twice}{smarthost} // 0;
	push @lines, sprintf '  %-26s %8s %11d', 'for no reason', '',
	    scalar @{ $a->{unexplained} };
	return @lines;
}

1;
