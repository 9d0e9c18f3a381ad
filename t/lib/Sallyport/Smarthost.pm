# Starts t/lib/smarthost and reads what it kept.
package Sallyport::Smarthost;

use strict;
use warnings;
use File::Basename qw(dirname);
use JSON::PP;
use MIME::Base64;
use POSIX ();
use Sallyport::Test;
use Test::More;

# new(FOLDER, setting => value, ..., fault => { step => reply }).
sub new {
	my ($class, $folder, %settings) = @_;
	mkdir $folder or die "$folder: $!";
	my $self = bless { folder => $folder,
		settings => { tls => 'starttls', %settings } }, $class;
	$self->write;
	$self->start;
	return $self;
}

sub start {
	my ($self) = @_;
	unlink "$self->{folder}/port";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$self->{folder}/errors";
		open STDERR, '>&', \*STDOUT;
		exec $^X, dirname(__FILE__) . '/../smarthost', $self->{folder}
		    or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	wait_until { -s "$self->{folder}/port" } or die 'smarthost: no port';
	chomp(my $port = slurp("$self->{folder}/port"));
	$self->{settings}{port} = $port; # the same again if restarted
	$self->write;
}

sub stop {
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill TERM => $pid;
	waitpid $pid, 0;
}

# With other settings and nothing kept; open connections are cut.
sub restart {
	my ($self, %settings) = @_;
	$self->stop;
	$self->set(%settings);
	$self->forget;
	$self->start;
}

sub DESTROY {
	my ($self) = @_;
	local $?;
	$self->stop if ($self->{owner} //= $$) == $$;
}

sub write {
	my ($self) = @_;
	$self->{owner} //= $$;
	my %s = %{ $self->{settings} };
	my $fault = delete $s{fault} // {};
	my $cell = delete $s{cell} // [];
	my $text = join '', (map { "$_ $s{$_}\n" }
		grep { defined $s{$_} } sort keys %s),
	    (map { "fault $_ $fault->{$_}\n" } sort keys %$fault),
	    map { cell_lines($_, %{ $cell->[$_] }) } 0 .. $#$cell;
	spew("$self->{folder}/settings.new", $text);
	rename "$self->{folder}/settings.new", "$self->{folder}/settings"
	    or die "settings: $!";
}

# One of the "cells": the same settings, for one of the further ports.
sub cell_lines {
	my ($number, %s) = @_;
	my $fault = delete $s{fault} // {};
	return map { "cell $number $_\n" }
	    (map { "$_ $s{$_}" } grep { defined $s{$_} } sort keys %s),
	    map { "fault $_ $fault->{$_}" } sort keys %$fault;
}

# The ports of the cells, by number.
sub ports {
	my ($self) = @_;
	return split /\n/, slurp("$self->{folder}/ports");
}

# Change settings; undef takes one back.  In force from the next connection,
# faults from the next step.
sub set {
	my ($self, %settings) = @_;
	$self->{settings}{$_} = $settings{$_} for keys %settings;
	$self->write;
}

sub fault {
	my ($self, %fault) = @_;
	$self->set(fault => \%fault);
}

sub port {
	return $_[0]{settings}{port};
}

# All messages kept, as octets.
sub messages {
	my ($self) = @_;
	return map { slurp($_) } sort glob "$self->{folder}/Maildir/new/*";
}

sub count {
	my ($self) = @_;
	opendir my $d, "$self->{folder}/Maildir/new" or return 0;
	return scalar grep { !/^\./ } readdir $d;
}

# The transcript's events, or those of one kind.
sub events {
	my ($self, $kind) = @_;
	my @events = map { decode_json($_) }
	    grep { /\}$/ && (!defined $kind || /"event":"\Q$kind\E"/) }
	    split /\n/, slurp("$self->{folder}/transcript");
	return defined $kind ? grep { $_->{event} eq $kind } @events : @events;
}

# Everything received in one layer, "clear" or "tls", as one string.
sub received {
	my ($self, $layer) = @_;
	return join '', map { decode_base64($_->{octets}) }
	    grep { $_->{layer} eq $layer } $self->events('received');
}

sub forget {
	my ($self) = @_;
	unlink glob "$self->{folder}/Maildir/new/*";
	truncate "$self->{folder}/transcript", 0;
}

1;
