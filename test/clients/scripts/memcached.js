// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0
// What an application does with memcached of npm: HOST PORT text PREFIX.
'use strict'
const { promisify } = require('util')
const Memcached = require('memcached')

const [host, port, , prefix] = process.argv.slice(2)
const client = new Memcached(`${host}:${port}`, { namespace: prefix, timeout: 10000, retries: 0 })
const call = (name, ...parameters) => promisify(client[name].bind(client))(...parameters)
const refused = (name, ...parameters) => call(name, ...parameters).then((result) => result === false, () => true)

function step (name, ...conditions) {
  conditions.forEach((holds, i) => {
    if (!holds) throw new Error(`${name}: condition ${i} does not hold`)
  })
  console.log(`step ${name}`)
}

async function run () {
  step('expiry is set', await call('set', 'short', 'v', 2), await call('set', 'touched', 'v', 2))
  step('touch', await call('touch', 'touched', 100), await refused('touch', 'none', 100))
  step('set and get', await call('set', 'k', 'value', 0), await call('get', 'k') === 'value',
    await call('get', 'none') === undefined)
  step('add', await refused('add', 'k', 'v', 0), await call('add', 'added', 'v', 0))
  step('replace', await call('replace', 'k', 'replaced', 0), await refused('replace', 'none', 'v', 0),
    await call('get', 'k') === 'replaced')
  step('append and prepend', await call('append', 'k', '>'), await call('prepend', 'k', '<'),
    await call('get', 'k') === '<replaced>')
  const { cas } = await call('gets', 'k')
  step('cas', await call('cas', 'k', 'swapped', cas, 0), await refused('cas', 'k', 'v', cas, 0),
    await call('get', 'k') === 'swapped')
  step('incr and decr', await call('set', 'n', 10, 0), await call('incr', 'n', 5) === 15,
    await call('decr', 'n', 20) === 0, await refused('incr', 'none', 1))
  step('delete', await call('del', 'k'), await refused('del', 'k'), await call('get', 'k') === undefined)
  const names = Array.from({ length: 100 }, (_, i) => `many${i}`)
  await Promise.all(names.map((name) => call('set', name, `value of ${name}`, 0)))
  const got = await call('getMulti', [...names, 'none'])
  step('many keys', Object.keys(got).length === 100, names.every((name) => got[name] === `value of ${name}`))
  // The type of a value stands in its flags.
  step('flags', await call('set', 'flags', { a: [1, 2] }, 0), (await call('get', 'flags')).a[1] === 2)
  const large = Buffer.alloc(512000, Buffer.from(Array.from({ length: 256 }, (_, i) => i)))
  step('large value', await call('set', 'large', large, 0), (await call('get', 'large')).equals(large))
  const bytes = Buffer.from('\r\nEND\r\n\0\xff', 'latin1')
  step('any bytes', await call('set', 'bytes', bytes, 0), (await call('get', 'bytes')).equals(bytes))
  step('version', (await call('version'))[0].version.startsWith('1.6.'))
  step('stats', (await call('stats'))[0].curr_items > 0)
  await new Promise((resolve) => setTimeout(resolve, 3200))
  step('expiry', await call('get', 'short') === undefined, await call('get', 'touched') === 'v')
}

run().then(() => client.end(), (err) => {
  console.error(err.message || err)
  process.exit(1)
})
