// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0
// What an application does with memcached-elasticache, which finds the caches of a cluster by itself:
// HOST PORT text PREFIX. It ends once the cluster has become another one.
'use strict'
const { promisify } = require('util')
const Memcached = require('memcached-elasticache')

const [host, port, , prefix] = process.argv.slice(2)
const client = new Memcached(`${host}:${port}`, { autoDiscoverInterval: 300, namespace: prefix })
const call = (name, ...parameters) => promisify(client[name].bind(client))(...parameters)

const fail = (err) => {
  console.error(err.message || err)
  process.exit(1)
}

let lists = 0
client.on('autoDiscoverFailure', fail)
client.on('autoDiscover', async (nodes) => {
  lists++
  for (let i = 0; i < 20; i++) {
    await call('set', `k${i}`, `value ${i}`, 0).catch(fail)
    if (await call('get', `k${i}`).catch(fail) !== `value ${i}`) fail(`k${i} is another`)
  }
  console.log(`step uses ${nodes.join(' ')}`)
  if (lists === 2) client.end()
})
