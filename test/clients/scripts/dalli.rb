# Copyright The Memkeep Authors.
# SPDX-License-Identifier: Apache-2.0
# What an application does with dalli: HOST PORT binary|meta PREFIX.
require 'dalli'

host, port, protocol, prefix = ARGV
options = { namespace: prefix, protocol: protocol.to_sym, socket_timeout: 10, value_max_bytes: 1024 * 1024 }
client = Dalli::Client.new("#{host}:#{port}", options)
$stdout.sync = true

def step(name, *conditions)
  raise "#{name}: #{conditions.inspect}" unless conditions.all?

  puts "step #{name}"
end

step('expiry is set', client.set('short', 'v', 2), client.set('touched', 'v', 2))
step('touch', client.touch('touched', 100), !client.touch('none', 100))
step('set and get', client.set('k', 'value'), client.get('k') == 'value', client.get('none').nil?)
step('add', !client.add('k', 'v'), client.add('added', 'v'))
# Where there is nothing to replace dalli says 0, which Ruby takes for true.
step('replace', client.replace('k', 'replaced'), client.replace('none', 'v').to_i.zero?, client.get('k') == 'replaced',
     client.get('none').nil?)
client.set('raw', 'value', 0, raw: true)
step('append and prepend', client.append('raw', '>'), client.prepend('raw', '<'),
     client.get('raw', raw: true) == '<value>')
value, cas = client.get_cas('k')
step('cas', value == 'replaced', client.set_cas('k', 'swapped', cas), !client.set_cas('k', 'v', cas),
     client.cas('k') { |v| "#{v} again" }, client.get('k') == 'swapped again')
step('incr and decr', client.incr('n', 1, 0, 10) == 10, client.incr('n', 5) == 15, client.decr('n', 20).zero?,
     client.incr('none', 1).nil?)
step('delete', client.delete('k'), !client.delete('k'), client.get('k').nil?)
many = (1..100).to_h { |i| ["many#{i}", "value #{i}"] }
client.multi { many.each { |k, v| client.set(k, v) } }
step('many keys', client.get_multi(*many.keys, 'none') == many)
step('gat', client.gat('touched', 100) == 'v', client.gat('none', 100).nil?)
# dalli keeps in the flags whether a value was marshalled or compressed.
step('flags', client.set('flags', { 'a' => [1, 2] }), client.get('flags') == { 'a' => [1, 2] })
large = (0..255).map(&:chr).join.b * 2000
step('large value', client.set('large', large, 0, compress: false), client.get('large') == large)
step('any bytes', client.set('bytes', "\r\nEND\r\n\0\xff".b), client.get('bytes').b == "\r\nEND\r\n\0\xff".b)
step('version', client.version.values.first.start_with?('1.6.'))
step('stats', client.stats.values.first['curr_items'].to_i.positive?)
sleep 3.2
step('expiry', client.get('short').nil?, client.get('touched') == 'v')
