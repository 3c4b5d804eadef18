# Copyright The Memkeep Authors.
# SPDX-License-Identifier: Apache-2.0
# What an application does with Cache::Memcached::Fast: HOST PORT text PREFIX.
use strict;
use warnings;
use Cache::Memcached::Fast;

my ($host, $port, $protocol, $prefix) = @ARGV;
my $client = Cache::Memcached::Fast->new(
    {servers => ["$host:$port"], namespace => $prefix, connect_timeout => 10, io_timeout => 10});
$| = 1;

sub step {
    my ($name, @conditions) = @_;
    for my $i (0 .. $#conditions) {
        die "$name: condition $i does not hold\n" unless $conditions[$i];
    }
    print "step $name\n";
}

sub is { my ($got, $want) = @_; return defined $got && $got eq $want }

step("expiry is set", $client->set("short", "v", 2), $client->set("touched", "v", 2));
step("touch", $client->touch("touched", 100), !$client->touch("none", 100));
step("set and get", $client->set("k", "value"), is($client->get("k"), "value"), !defined $client->get("none"));
step("add", !$client->add("k", "v"), $client->add("added", "v"));
step("replace", $client->replace("k", "replaced"), !$client->replace("none", "v"), is($client->get("k"), "replaced"));
step("append and prepend", $client->append("k", ">"), $client->prepend("k", "<"), is($client->get("k"), "<replaced>"));
my $cas = $client->gets("k")->[0];
step("cas", $client->cas("k", $cas, "swapped"), !$client->cas("k", $cas, "v"), is($client->get("k"), "swapped"));
step("incr and decr", $client->set("n", 10), is($client->incr("n", 5), 15), is($client->decr("n", 20) + 0, 0),
    !$client->incr("none", 1));
step("delete", $client->delete("k"), !$client->delete("k"), !defined $client->get("k"));
my %many = map { ("many$_" => "value $_") } 1 .. 100;
my $stored = $client->set_multi(map { [$_ => $many{$_}] } keys %many);
my $got = $client->get_multi(keys %many, "none");
my $gone = $client->delete_multi(keys %many);
step("many keys", 100 == grep({ $_ } values %$stored), keys %$got == 100,
    !grep({ $got->{$_} ne $many{$_} } keys %many), 100 == grep({ $_ } values %$gone));
step("gat", is(($client->gat(100, "touched"))[0], "v")) if $client->can("gat");
# A reference is stored with a flag that tells so.
step("flags", $client->set("flags", {a => [1, 2]}), $client->get("flags")->{a}[1] == 2);
my $large = join("", map { chr } 0 .. 255) x 2000;
step("large value", $client->set("large", $large), is($client->get("large"), $large));
step("any bytes", $client->set("bytes", "\r\nEND\r\n\0\xff"), is($client->get("bytes"), "\r\nEND\r\n\0\xff"));
$client->set("quiet", "v");    # in void context it asks for no reply
$client->nowait_push;
step("no reply", is($client->get("quiet"), "v"));
step("version", (values %{$client->server_versions})[0] =~ /^1\.6\./);
select(undef, undef, undef, 3.2);
step("expiry", !defined $client->get("short"), is($client->get("touched"), "v"));
