#!/usr/bin/perl
# A complete instance for everybody to see: demo.pl demo | run
#
# Sets up Sallyport with "sallyport init" in a scratch folder, beside a
# smarthost that demands a client certificate; demo submits a message by
# STARTTLS and one by implicit TLS, shows what was decided, and stops; run
# stays up after that.  Ends non-zero if anything of it did not happen.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use lib dirname(abs_path(__FILE__)) . '/lib';
use Sallyport::Instance;
use Sallyport::Smarthost;
use Sallyport::Test;

my $stay = ($ARGV[0] // 'demo') eq 'run';
my $password = 'demo-' . join '', map { ('a' .. 'z', 2 .. 9)[rand 34] } 1 .. 12;
my ($instance, $smarthost);
my $started = 0; # how long the log was when all was up

$| = 1;
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit 130 };

sub step {
	print "==> @_\n";
}

# Run a command as the reader would; its output if it succeeded.
sub command {
	my ($how, @words) = @_;
	print '    $ ', join(' ', map { s{^\Q@{[build_folder()]}\E/}{}r } @words),
	    "\n";
	my ($status, $out, $err) = run($how, @words);
	print map { "    $_\n" } split /\n/, $out . $err;
	die "$words[0] ended with status $status\n" if $status;
	return $out;
}

sub submit {
	my ($scheme, $port, $subject) = @_;
	my $folder = $instance->{scratch};
	spew("$folder/$subject.eml", message(subject => $subject,
		body => "Sent with curl by $subject.\r\n"));
	# Name and password by standard input: arguments are public.
	command({ in => "user = \"alice:$password\"\n" }, 'curl', '-sS', '-K', '-',
		'--ssl-reqd', '--cacert', "$instance->{folder}/tls/ca.pem",
		'--url', "$scheme://localhost:$port",
		'--mail-from', 'alice@example.org',
		'--mail-rcpt', 'bob@example.net',
		'--upload-file', "$folder/$subject.eml");
}

sub set_up {
	my $folder = scratch();
	step('An authority for the smarthost, and its certificate');
	command({}, program('sallyport'), 'cert', 'ca', "$folder/isp",
		'--name', 'Demo ISP');
	command({}, program('sallyport'), 'cert', 'issue',
		'smarthost.example', '127.0.0.1', '--role', 'server',
		'--ca', "$folder/isp", '--out', "$folder/isp/smarthost");
	step('A smarthost that demands a client certificate of our authority');
	$smarthost = Sallyport::Smarthost->new("$folder/smarthost",
		cert => "$folder/isp/smarthost.pem",
		key => "$folder/isp/smarthost.key",
		'client-ca' => "$folder/instance/tls/ca.pem");
	step('Sallyport itself: init, a user, start');
	my %port = map { $_ => free_port() } qw(submission submissions);
	command({}, program('sallyport'), 'init', "$folder/instance",
		'--hostname', 'localhost', '--realm', 'example.org',
		'--smarthost', '127.0.0.1:' . $smarthost->port,
		'--smarthost-tls', 'starttls',
		'--smarthost-ca', "$folder/isp/ca.pem",
		map { ("--$_", "127.0.0.1:$port{$_}") } sort keys %port);
	$instance = Sallyport::Instance->existing(scratch => $folder,
		ports => \%port);
	command({ in => "$password\n" }, program('sallyport'),
		'-c', $instance->{conf}, 'user', 'add', 'alice',
		'--password-stdin');
	print '    $ ', "sallyportd -c $instance->{conf} -F\n";
	$instance->start;
	$started = -s $instance->{log};
}

sub show_decisions {
	step('What was decided, from the log');
	my $kinds = qr/^\S+ \S+ \S+ (?:tls|auth|policy|accepted|delivered) /;
	my @lines;
	# A message is kept there a moment before the log says so here.
	wait_until {
		@lines = grep { /$kinds/ } split /\n/,
		    substr slurp($instance->{log}), $started;
		(grep { / delivered / } @lines) >= 2;
	} or die "the log does not say that both were delivered\n";
	print map { "    $_\n" } @lines;
	for my $word (qw(tls auth policy accepted delivered)) {
		die "the log has no line of kind \"$word\"\n"
		    unless grep { / $word / } @lines;
	}
}

sub tell_settings {
	my $folder = $instance->{folder};
	print <<"END";
==> Sallyport is up.  Settings for a mail client:
    server              localhost
    port                $instance->{ports}{submissions} with SSL/TLS, or $instance->{ports}{submission} with STARTTLS
    user name           alice
    password            $password
    authority to trust  $folder/tls/ca.pem
    What you send is kept in $instance->{scratch}/smarthost/Maildir/new
    The log is $instance->{log}
    Ctrl-C ends it and removes all of it.
END
	sleep 1 until $instance->ended;
	die "sallyportd ended\n";
}

eval {
	set_up();
	step('One message by STARTTLS, one by implicit TLS');
	submit('smtp', $instance->{ports}{submission}, 'starttls');
	submit('smtps', $instance->{ports}{submissions}, 'implicit-tls');
	step("Waiting for both in the smarthost's Maildir");
	wait_until { $smarthost->count >= 2 }
	    or die "they did not arrive within 20 seconds\n";
	for my $subject (qw(starttls implicit-tls)) {
		my $sent = slurp("$instance->{scratch}/$subject.eml");
		die "the message by $subject is not what was sent\n"
		    unless grep { without_trace($_) eq $sent }
		    $smarthost->messages;
		print "    $subject: arrived, octet for octet\n";
	}
	show_decisions();
	tell_settings() if $stay;
	step('Stopping');
	$instance->stop or die "sallyportd did not stop\n";
	1;
} or do {
	my $why = $@;
	if ($instance) {
		step('The log');
		print map { "    $_\n" } split /\n/, slurp($instance->{log});
	}
	print "FAILED: $why";
	exit 1;
};
print "demo: all of it worked\n";

END {
	local $?;
	undef $instance;
	undef $smarthost;
}
