#!/usr/bin/perl
# sallyport policy check, list and explain on tables alone: what compiles, what
# is said of the rest, and which rows decide.  The words of rows, here and in
# sallyport-sites(5), are the same.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use lib dirname(abs_path(__FILE__)) . '/lib';
use JSON::PP;
use Sallyport::Test qw(build_folder run scratch slurp spew);
use Test::More;

my $folder = scratch();
my $program = build_folder() . '/sallyport';
my @tool = ($program, '-c', "$folder/none.conf", 'policy');

sub policy {
	my ($text, $command, @arguments) = @_;
	spew("$folder/sites", $text);
	return run({}, @tool, $command, @arguments);
}

sub explained {
	my ($text, @arguments) = @_;
	my ($status, $out, $err) = policy($text, 'explain', @arguments,
		'--table', "$folder/sites", '--json');
	is($status, 0, "explain @arguments") or diag($err);
	return eval { decode_json($out) } // {};
}

my $dated = 'until=2199-12-31 reason=x';

# What names and rows nobody can meet: file, line, what was expected.
for (['x.example out encrypt frob', qr/unknown option.*expected ca, /],
	['x.example in encrypt dane', qr/expected out or both or rcpt$/m],
	['192.0.2.1 out encrypt dane', qr/can never be met, expected a site/],
	['x.example rcpt encrypt ratchet', qr/expected out or both$/m],
	['* out encrypt tls-optional=yes reason=x', qr/expected until=/],
	["* out encrypt tls-optional=yes until=2199-12-31",
		qr/expected reason=/],
	['* out lock dane', qr/binds nothing, expected match=/],
	["a.example both lock\n* in encrypt\n\na.example out lock",
		qr/second row for a\.example in direction out, .* line 1/],
	["\n10.0.0.0/8 in encrypt\n10.0.0.0/9 in encrypt\n"
	    . '10.128.0.0/9 in encrypt',
		qr/sites:2: the row can never decide/],
	['a.example out verify ca=none.pem', qr/expected a readable PEM file/],
	['* out lock pin=sha256:00', qr/expected sha256: and 32 octets/]) {
	my ($text, $says) = @$_;
	my ($status, $out, $err) = policy("$text\n", 'check', "$folder/sites");
	is($status, 1, "does not compile: " . (split /\n/, $text)[-1]);
	like($err, qr/^\Q$folder\E\/sites:\d+: /m, 'names file and line');
	like($err, $says, 'and what was expected');
}

my $text = <<"EOF_SITES";
mx.example out encrypt dane ratchet tls-optional=yes $dated
bank.example rcpt lock dane
mail.partner.example in lock
partner.example from verify
* both encrypt
EOF_SITES

my $out = explained($text, 'out', 'mx.example:25', '--from', 'a@b.example');
is($out->{record}, 'direction=out site=mx.example row=sites:1 asked=encrypt',
	'the record as the log begins it');
ok($out->{dane} && $out->{ratchet}, 'what is further demanded');
my %point = map { $_->{point} => $_->{value} } @{ $out->{demand} };
ok(exists $point{$_}, "point $_")
    for 'DANE', 'ratchet', 'TLS-Required: No', 'sender';
like($out->{rows}[0]{row}, qr/ dane ratchet tls-optional=yes until=/,
	'the row in one form');

my $in = explained($text, 'in', '192.0.2.1', '--ehlo', 'mail.partner.example',
	'--from', 'x@partner.example');
is($in->{record}, 'direction=in site=partner.example '
    . 'row=sites:5,sites:3,sites:4 asked=lock', 'the rows that add up');
ok(!$in->{dane}, 'no DANE for clients');

my ($status, $text_out) = policy($text, 'explain', 'out', 'x.example',
	'--ehlo', 'y');
is($status, 2, '--ehlo is for in');
($status, $text_out) = policy($text, 'explain', 'out', 'mx.example', '--table',
	"$folder/sites");
like($text_out, qr/a decision's record begins\n  direction=out site=mx/,
	'as text');

# Every option has its entry in the manual page, and no other has one.
my ($all) = (policy("* out encrypt frob\n", 'check', "$folder/sites"))[2] =~
    /unknown option "frob", expected (.*)$/m;
my @known = sort split /, | or /, $all;
my $page = slurp(dirname(abs_path(__FILE__)) . '/../man/sallyport-sites.5');
my ($section) = $page =~ /^\.Ss Options\n(.*?)^\.Ss /ms;
my @described = sort $section =~ /^\.It Cm (\S+)/mg;
is_deeply(\@described, \@known, 'options of the compiler and of the page');

done_testing();
