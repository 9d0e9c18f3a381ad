# Processes that submit messages without a pause, whatever happens to the
# server, and write down what they were told.
package Sallyport::Submitter;

use strict;
use warnings;
use IO::Handle;
use POSIX ();
use Sallyport::Test;
use Time::HiRes qw(sleep time);

# new(instance =>, folder => for the files, count => processes, pause => seconds
# between messages, make => sub: ($process, $serial) to { id =>, message =>, and what
# Sallyport::Client::transaction takes }, said => sub called with each line).
# They run until stop().
sub new {
	my ($class, %o) = @_;
	my $self = bless { count => 4, owner => $$, %o }, $class;
	spew("$self->{folder}/go", '');
	spew("$self->{folder}/said.$_", '') for 1 .. $self->{count};
	$self->{pids} = [map { $self->submit($_) } 1 .. $self->{count}];
	return $self;
}

# A process: one connection as long as it lasts.
sub submit {
	my ($self, $n) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	$SIG{__WARN__} = sub { };
	# Closing TLS writes to a connection whose server was killed.
	$SIG{PIPE} = 'IGNORE';
	open my $said, '>>', "$self->{folder}/said.$n";
	$said->autoflush(1);
	my ($c, $serial) = (undef, 0);
	while (-e "$self->{folder}/go") {
		$c //= $self->connect($serial);
		if (!$c) {
			sleep 0.05;
			next;
		}
		sleep $self->{pause} if $self->{pause};
		my $one = $self->{make}->($n, ++$serial);
		print $said "sent $one->{id}\n";
		my $reply = eval { $c->transaction($one->{message}, %$one) } // '';
		# The server's id of it, where it took it.
		my ($queue) = $reply =~ /^250 .*?\b([0-9A-Z]{19})\b/;
		my $line = ($reply =~ /^250 / ? 'acked'
		    : $reply =~ /^[245]/ ? 'refused' : 'unanswered')
		    . " $one->{id} " . ($queue // '-') . "\n";
		print $said $line;
		$self->{said}->($line) if $self->{said};
		if ($reply !~ /^[2345]/ || $reply =~ /^421/
			|| $reply !~ /^250/ && $c->command('RSET') !~ /^250/) {
			undef $c;
		}
	}
	POSIX::_exit(0);
}

sub connect {
	my ($self, $serial) = @_;
	my $c = eval { $self->{instance}->client(timeout => 10,
		$serial % 2 ? (implicit => 1) : ()) } or return;
	my $reply = eval { $c->plain('alice',
		$Sallyport::Instance::password{alice}) } // '';
	return $reply =~ /^235/ ? $c : undef;
}

# Let them finish what they are at; the number that did not end well.
sub stop {
	my ($self) = @_;
	unlink "$self->{folder}/go";
	my $pids = delete $self->{pids} // [];
	return scalar grep { waitpid $_, 0; $? != 0 } @$pids;
}

# { id => the server's id, or '-' } of those with that verdict: sent, acked,
# refused, unanswered.
sub said {
	my ($self, $verdict) = @_;
	my %said;
	for (1 .. $self->{count}) {
		my $text = slurp("$self->{folder}/said.$_");
		$said{$1} = $2 while $text =~ /^$verdict (\S+)(?: (\S+))?\n/mg;
	}
	return %said;
}

# How many were acknowledged so far; cheap, reads only what is new.
sub acked {
	my ($self) = @_;
	for my $n (1 .. $self->{count}) {
		open my $f, '<', "$self->{folder}/said.$n" or next;
		seek $f, $self->{read}[$n] // 0, 0;
		while (defined(my $line = <$f>)) {
			last if $line !~ /\n\z/;
			$self->{read}[$n] += length $line;
			$self->{acked} += $line =~ /^acked /;
		}
	}
	return $self->{acked} // 0;
}

sub DESTROY {
	my ($self) = @_;
	local $?;
	$self->stop if $self->{owner} == $$;
}

1;
