// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0
// What an application does with memjs: HOST PORT binary PREFIX.
'use strict'
const memjs = require('memjs')

const [host, port, , prefix] = process.argv.slice(2)
const client = memjs.Client.create(`${host}:${port}`, {
  timeout: 10, conntimeout: 10, keepAlive: true, logger: { log () {} }
})
const key = (name) => prefix + name

function step (name, ...conditions) {
  conditions.forEach((holds, i) => {
    if (!holds) throw new Error(`${name}: condition ${i} does not hold`)
  })
  console.log(`step ${name}`)
}

const text = async (name) => {
  const { value } = await client.get(key(name))
  return value === null ? null : value.toString('latin1')
}

async function run () {
  step('expiry is set', await client.set(key('short'), 'v', { expires: 2 }),
    await client.set(key('touched'), 'v', { expires: 2 }))
  step('touch', await client.touch(key('touched'), 100), !await client.touch(key('none'), 100))
  step('set and get', await client.set(key('k'), 'value', {}), await text('k') === 'value', await text('none') === null)
  step('add', !await client.add(key('k'), 'v', {}), await client.add(key('added'), 'v', {}))
  step('replace', await client.replace(key('k'), 'replaced', {}), !await client.replace(key('none'), 'v', {}),
    await text('k') === 'replaced')
  // memjs has a prepend, but sends the opcode of append for it.
  step('append', await client.append(key('k'), '>'), await client.append(key('none'), '>').catch(() => 'refused') === 'refused',
    await text('k') === 'replaced>')
  const first = await client.increment(key('n'), 5, { initial: 10 })
  const second = await client.increment(key('n'), 5, { initial: 10 })
  const third = await client.decrement(key('n'), 20, { initial: 10 })
  step('incr and decr', first.value === 10, second.value === 15, third.value === 0)
  step('delete', await client.delete(key('k')), !await client.delete(key('k')), await text('k') === null)
  const names = Array.from({ length: 100 }, (_, i) => `many${i}`)
  await Promise.all(names.map((name) => client.set(key(name), `value of ${name}`, {})))
  const got = await Promise.all(names.map(text))
  step('many keys', got.every((value, i) => value === `value of ${names[i]}`))
  const large = Buffer.alloc(512000, Buffer.from(Array.from({ length: 256 }, (_, i) => i)))
  await client.set(key('large'), large, {})
  step('large value', (await client.get(key('large'))).value.equals(large))
  const bytes = Buffer.from('\r\nEND\r\n\0\xff', 'latin1')
  await client.set(key('bytes'), bytes, {})
  step('any bytes', (await client.get(key('bytes'))).value.equals(bytes))
  const stats = await new Promise((resolve, reject) => {
    client.stats((err, server, all) => err ? reject(err) : resolve(all))
  })
  step('stats', Number(stats.curr_items) > 0)
  await new Promise((resolve) => setTimeout(resolve, 3200))
  step('expiry', await text('short') === null, await text('touched') === 'v')
}

run().then(() => client.quit(), (err) => {
  console.error(err.message)
  process.exit(1)
})
