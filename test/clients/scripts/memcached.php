<?php
// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0
// What an application does with php-memcached, that is libmemcached: HOST PORT text|binary PREFIX.

[, $host, $port, $protocol, $prefix] = $argv;
$client = new Memcached();
$client->setOption(Memcached::OPT_BINARY_PROTOCOL, $protocol === 'binary');
$client->setOption(Memcached::OPT_PREFIX_KEY, $prefix);
$client->setOption(Memcached::OPT_COMPRESSION, false);
$client->setOption(Memcached::OPT_TCP_NODELAY, true);
$client->addServer($host, (int) $port);

function step(string $name, bool ...$conditions): void
{
    foreach ($conditions as $i => $holds) {
        if (!$holds) {
            global $client;
            fwrite(STDERR, "$name: condition $i does not hold: " . $client->getResultMessage() . "\n");
            exit(1);
        }
    }
    echo "step $name\n";
}

step('expiry is set', $client->set('short', 'v', 2), $client->set('touched', 'v', 2));
step('touch', $client->touch('touched', 100), !$client->touch('none', 100));
step('set and get', $client->set('k', 'value'), $client->get('k') === 'value', $client->get('none') === false,
    $client->getResultCode() === Memcached::RES_NOTFOUND);
step('add', !$client->add('k', 'v'), $client->add('added', 'v'));
step('replace', $client->replace('k', 'replaced'), !$client->replace('none', 'v'), $client->get('k') === 'replaced');
step('append and prepend', $client->append('k', '>'), $client->prepend('k', '<'), $client->get('k') === '<replaced>');
$cas = $client->get('k', null, Memcached::GET_EXTENDED)['cas'];
step('cas', $client->cas($cas, 'k', 'swapped'), !$client->cas($cas, 'k', 'v'), $client->get('k') === 'swapped');
step('incr and decr', $client->set('n', 10), $client->increment('n', 5) === 15, $client->decrement('n', 20) === 0,
    $client->increment('none', 1) === false);
if ($protocol === 'binary') {
    step('incr with a first value', $client->increment('first', 5, 7) === 7, $client->increment('first', 5, 7) === 12);
}
step('delete', $client->delete('k'), !$client->delete('k'), $client->get('k') === false);
$many = [];
for ($i = 1; $i <= 100; $i++) {
    $many["many$i"] = "value $i";
}
step('many keys', $client->setMulti($many), $client->getMulti([...array_keys($many), 'none']) == $many,
    count($client->deleteMulti(array_keys($many))) === 100);
// The type of a value stands in its flags, and so do those that an application sets itself.
step('flags', $client->set('flags', ['a' => [1, 2.5, true]]), $client->get('flags') === ['a' => [1, 2.5, true]],
    $client->setOption(Memcached::OPT_USER_FLAGS, 77), $client->set('flags', 'v'),
    $client->get('flags', null, Memcached::GET_EXTENDED)['flags'] === 77,
    $client->setOption(Memcached::OPT_USER_FLAGS, -1));
$large = str_repeat(implode('', array_map('chr', range(0, 255))), 2000);
step('large value', $client->set('large', $large), $client->get('large') === $large);
step('any bytes', $client->set('bytes', "\r\nEND\r\n\0\xff"), $client->get('bytes') === "\r\nEND\r\n\0\xff");
step('no reply', $client->setOption(Memcached::OPT_NOREPLY, true), $client->set('quiet', 'v'),
    $client->setOption(Memcached::OPT_NOREPLY, false), $client->get('quiet') === 'v');
step('version', str_starts_with(current($client->getVersion()), '1.6.'));
step('stats', current($client->getStats())['curr_items'] > 0);
usleep(3_200_000);
step('expiry', $client->get('short') === false, $client->get('touched') === 'v');
