# What all tests share: where the programs are, a scratch folder, running
# commands, waiting with a deadline, making messages.
package Sallyport::Test;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::IP;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(program build_folder sanitized scratch slurp spew run free_port
    wait_until message without_trace is_root in_path
    median);

my $top = abs_path(dirname(__FILE__) . '/../../..');

# The build to test: SALLYPORT_BUILD, relative to the top or absolute.
sub build_folder {
	my $build = $ENV{SALLYPORT_BUILD} // 'build';
	return $build =~ m{^/} ? $build : "$top/$build";
}

sub program {
	return build_folder() . "/$_[0]";
}

sub sanitized {
	return build_folder() =~ /asan/;
}

sub is_root {
	return $> == 0;
}

sub in_path {
	my ($name) = @_;
	return grep { -x "$_/$name" } split /:/, $ENV{PATH};
}

# A folder of this test's own.  Others may pass through it: confined roles
# have users of their own.
sub scratch {
	my $folder = tempdir('sallyport-XXXXXX', TMPDIR => 1,
		CLEANUP => !$ENV{SALLYPORT_KEEP});
	chmod 0755, $folder;
	diag("scratch folder: $folder") if $ENV{SALLYPORT_KEEP};
	return $folder;
}

sub slurp {
	my ($file) = @_;
	open my $f, '<:raw', $file or return '';
	local $/;
	return scalar <$f> // '';
}

sub spew {
	my ($file, $text) = @_;
	open my $f, '>:raw', $file or die "$file: $!";
	print $f $text or die "$file: $!";
	close $f or die "$file: $!";
}

# run({in => octets, env => {}, timeout => seconds}, COMMAND...) without a
# shell: ($exit_status, $stdout, $stderr).  A signal gives 128 and more.
sub run {
	my ($how, @command) = @_;
	my $folder = tempdir('sallyport-run-XXXXXX', TMPDIR => 1, CLEANUP => 1);
	spew("$folder/in", $how->{in} // '');
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		open STDIN, '<', "$folder/in";
		open STDOUT, '>', "$folder/out";
		open STDERR, '>', "$folder/err";
		$ENV{$_} = $how->{env}{$_} for keys %{ $how->{env} // {} };
		exec { $command[0] } @command or do {
			print STDERR "$command[0]: $!\n";
			POSIX::_exit(127);
		};
	}
	my $end = time + ($how->{timeout} // 60);
	my $done;
	while (($done = waitpid $pid, WNOHANG) == 0 && time < $end) {
		sleep 0.005;
	}
	my $status = $?;
	if (!$done) {
		kill KILL => -$pid;
		waitpid $pid, 0;
		$status = 9;
	}
	return ($status & 127 ? 128 + ($status & 127) : $status >> 8,
		slurp("$folder/out"), slurp("$folder/err"));
}

# A port nobody listens on.  Somebody might take it before it is used; the
# kernel goes round its whole range first.
sub free_port {
	my $s = IO::Socket::IP->new(Listen => 1, LocalHost => '127.0.0.1',
		LocalPort => 0) or die "port: $@";
	return $s->sockport;
}

# Call until it returns true; that, or nothing after so many seconds.
sub wait_until(&;$) {
	my ($true, $seconds) = @_;
	$seconds //= 20;
	$seconds *= 3 if sanitized();
	my $end = time + $seconds;
	while (1) {
		my $got = $true->();
		return $got if $got;
		return if time > $end;
		sleep 0.02;
	}
}

# A message in RFC 5322 form with all the fields we would add otherwise.
sub message {
	my (%o) = @_;
	my $subject = $o{subject} // 'test';
	my $body = $o{body} // "Hello.\r\n.a dot first\r\n..two\r\n\r\nend\r\n";
	return "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
	    . "From: <alice\@example.org>\r\nTo: <bob\@example.net>\r\n"
	    . "Message-ID: <" . ($o{id} // "$$." . time) . "\@example.org>\r\n"
	    . "Subject: $subject\r\n\r\n$body";
}

# The message as submitted: what we and others put on top taken off.
sub without_trace {
	my ($octets) = @_;
	$octets =~ s/\A(?:(?:Received|Return-Path):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+//;
	return $octets;
}

sub median {
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[@sorted / 2];
}

1;
