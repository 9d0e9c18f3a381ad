# Delivery status notifications, judged by what another's parser makes of them.
package Sallyport::Report;

use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(dirname);
use JSON::PP;
use Sallyport::Test;
use Test::More;

our @EXPORT = qw(report_ok);

# RFC 5322, section 3.3.
my $date = qr/^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000$/;
# RFC 3464, section 2.3.3, with the classes of RFC 3463 that go with each.
my %classes = (failed => qr/^[45]\./, delayed => qr/^4\./, relayed => qr/^2\./);

# What is wrong with the fields about one recipient (RFC 3464, section 2.3).
sub wrong_group {
	my ($group) = @_;
	my @wrong;
	my $action = $group->{Action} // '';
	my $type = ($group->{'Diagnostic-Code'} // '') =~ /^([\w-]+); \S/
	    ? $1 : '';
	push @wrong, 'Final-Recipient'
	    if ($group->{'Final-Recipient'} // '') !~ /^(?:rfc822|utf-8); \S+$/;
	push @wrong, 'Action' if !$classes{$action};
	push @wrong, 'Status' if ($group->{Status} // '')
	    !~ /^[245]\.\d{1,3}\.\d{1,3}$/
	    || $group->{Status} !~ ($classes{$action} // qr/^/);
	push @wrong, 'Diagnostic-Code' if $type eq '';
	push @wrong, 'Remote-MTA' if exists $group->{'Remote-MTA'}
	    && ($type ne 'smtp' || $group->{'Remote-MTA'} !~ /^dns; \S+$/);
	push @wrong, 'Last-Attempt-Date'
	    if ($group->{'Last-Attempt-Date'} // '') !~ $date;
	push @wrong, 'Will-Retry-Until' if exists $group->{'Will-Retry-Until'}
	    && ($action ne 'delayed' || $group->{'Will-Retry-Until'} !~ $date);
	return map { "$_: " . ($group->{$_} // 'none') } @wrong;
}

# What is wrong with the whole.
sub wrong {
	my ($report) = @_;
	my ($message, @groups) = @{ $report->{status} };
	my $fields = $report->{fields};
	my @types = map { $_->{type} } @{ $report->{parts} };
	my @wrong = @{ $report->{defects} };
	push @wrong, 'type' if $report->{type} ne 'multipart/report'
	    || ($report->{report} // '') ne 'delivery-status';
	push @wrong, "parts: @types" if "@types" !~ m{^text/plain
	    \ message/(?:global-)?delivery-status
	    (?:\ (?:text/rfc822-headers|message/rfc822
		|message/global-headers|message/global))?$}x;
	push @wrong, grep { !defined $fields->{$_} } qw(From To Subject
	    Message-ID MIME-Version);
	push @wrong, 'Date' if ($fields->{Date} // '') !~ $date;
	push @wrong, 'Auto-Submitted'
	    if ($fields->{'Auto-Submitted'} // '') ne 'auto-replied';
	push @wrong, 'Reporting-MTA'
	    if ($message->{'Reporting-MTA'} // '') !~ /^dns; \S+$/;
	push @wrong, 'Arrival-Date' if ($message->{'Arrival-Date'} // '') !~ $date;
	push @wrong, 'nobody' if !@groups;
	return @wrong, map { wrong_group($_) } @groups;
}

# The notification as parsed, and nothing in it that RFC 3464, RFC 6522 or RFC
# 6533 forbid.
sub report_ok {
	my ($octets, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) = run({ in => $octets },
	    '/usr/bin/python3', dirname(__FILE__) . '/../report');
	my $report = $status == 0 ? decode_json($out) : undef;
	my @wrong = $report ? wrong($report) : "not read: $err";
	is_deeply(\@wrong, [], $name // 'a notification as the RFCs have it')
	    or diag($octets);
	return $report // { status => [{}], parts => [], fields => {} };
}

1;
