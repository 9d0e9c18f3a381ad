# A token in software, in a folder of its own: SoftHSM.
package Sallyport::SoftHSM;

use strict;
use warnings;
use Sallyport::Test;

my $module = '/usr/lib/softhsm/libsofthsm2.so';

sub available {
	return -e $module && in_path('softhsm2-util') && in_path('pkcs11-tool');
}

# Without init there is no token yet.  SOFTHSM2_CONF names it to all programs
# that are started from here on.
sub new {
	my ($class, $folder) = @_;
	my $self = bless { folder => $folder, tokens => "$folder/tokens",
		pin_file => "$folder/pin" }, $class;
	mkdir $_ or die "$_: $!" for $folder, $self->{tokens};
	spew("$folder/softhsm2.conf", "directories.tokendir = $self->{tokens}\n"
	    . "objectstore.backend = file\nlog.level = ERROR\n");
	$ENV{SOFTHSM2_CONF} = "$folder/softhsm2.conf";
	return $self;
}

sub module {
	return $module;
}

sub run_ok {
	my ($self, @command) = @_;
	my ($status, $out, $err) = run({}, @command);
	die "@command: $err" if $status;
	$self->open_to_signer;
	return $out;
}

# What others make is for whoever has the keys of a confined server.
sub open_to_signer {
	my ($self) = @_;
	my ($uid, $gid) = is_root() ? (getpwnam('sallyport-signer'))[2, 3] : ();
	return if !defined $uid;
	system('chown', '-R', "$uid:$gid", $self->{tokens}) == 0
	    or die "chown: $?";
}

# token(LABEL, PIN)
sub token {
	my ($self, $label, $pin) = @_;
	$self->{pins}{$label} = $pin;
	$self->run_ok('softhsm2-util', '--init-token', '--free', '--label', $label,
		'--so-pin', '87654321', '--pin', $pin);
	$self->pin($pin) if !-e $self->{pin_file};
}

# Writes the file that url() names.
sub pin {
	my ($self, $pin, $file) = @_;
	$file //= $self->{pin_file};
	spew($file, "$pin\n");
	chmod 0600, $file;
	return $file;
}

sub tool {
	my ($self, $label, @arguments) = @_;
	return $self->run_ok('pkcs11-tool', '--module', $module, '--token-label',
		$label, '--login', '--pin', $self->{pins}{$label}, @arguments);
}

# key(TOKEN, NAME, 'EC:prime256v1'): a new pair.
sub key {
	my ($self, $label, $name, $kind) = @_;
	my $id = sprintf '%02x', ++$self->{last_id};
	$self->tool($label, '--keypairgen', '--key-type', $kind, '--label', $name,
		'--id', $id);
	return $id;
}

# Has somebody given a wrong PIN since the last good one?
sub was_guessed {
	my ($self, $label) = @_;
	my ($status, $out) = run({}, 'pkcs11-tool', '--module', $module,
		'--list-token-slots');
	my ($flags) = $out =~ /token label\s*: \Q$label\E\n.*?token flags\s*: ([^\n]*)/s
	    or die "no token $label in: $out";
	return $flags =~ /low|other flags=0x1/i;
}

# url(TOKEN, NAME, FURTHER ATTRIBUTES of the query)
sub url {
	my ($self, $label, $name, %query) = @_;
	%query = ('pin-source' => $self->{pin_file}, 'module-path' => $module,
		%query);
	return "pkcs11:token=$label;object=$name?" . join '&',
	    map { "$_=$query{$_}" } grep { defined $query{$_} } sort keys %query;
}

# Plugged out, and in again.
sub away {
	my ($self) = @_;
	rename $self->{tokens}, "$self->{tokens}.away" or die "rename: $!";
	mkdir $self->{tokens} or die "mkdir: $!";
	$self->open_to_signer;
}

sub back {
	my ($self) = @_;
	rmdir $self->{tokens} or die "rmdir: $!";
	rename "$self->{tokens}.away", $self->{tokens} or die "rename: $!";
}

1;
