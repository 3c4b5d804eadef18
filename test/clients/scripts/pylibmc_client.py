# Copyright The Memkeep Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an application does with pylibmc, that is libmemcached: HOST PORT text|binary PREFIX."""
import sys
import time

import pylibmc

host, port, protocol, prefix = sys.argv[1:5]
client = pylibmc.Client([f"{host}:{port}"], binary=protocol == "binary",
                        behaviors={"cas": True, "tcp_nodelay": True})


def key(name):
    return prefix + name


def step(name, *conditions):
    if not all(conditions):
        sys.exit(f"{name}: {conditions}")
    print("step", name, flush=True)


def fails(error, call, *arguments):
    try:
        call(*arguments)
    except error:
        return True
    return False


step("expiry is set", client.set(key("short"), "v", time=2), client.set(key("touched"), "v", time=2))
step("touch", client.touch(key("touched"), 100), not client.touch(key("none"), 100))
step("set and get", client.set(key("k"), "value"), client.get(key("k")) == "value", client.get(key("none")) is None)
step("add", not client.add(key("k"), "v"), client.add(key("added"), "v"))
# libmemcached tells the two protocols' answers apart: one says not stored, the other not found.
step("replace", client.replace(key("k"), "replaced"), client.get(key("k")) == "replaced",
     fails(pylibmc.NotFound, client.replace, key("none"), "v") if protocol == "binary" else
     not client.replace(key("none"), "v"))
step("append and prepend", client.append(key("k"), ">"), client.prepend(key("k"), "<"),
     client.get(key("k")) == "<replaced>")
value, cas = client.gets(key("k"))
step("cas", client.cas(key("k"), "swapped", cas), not client.cas(key("k"), "v", cas), client.get(key("k")) == "swapped")
step("incr and decr", client.set(key("n"), 10), client.incr(key("n"), 5) == 15, client.decr(key("n"), 20) == 0,
     fails(pylibmc.NotFound, client.incr, key("none"), 1))
step("delete", client.delete(key("k")), not client.delete(key("k")), client.get(key("k")) is None)
many = {f"{prefix}many{i}": f"value {i}" for i in range(100)}
step("many keys", client.set_multi(many) == [], client.get_multi([*many, key("none")]) == many,
     client.delete_multi(list(many)[:50]), len(client.get_multi(list(many))) == 50)
# pylibmc keeps the type of a value in its flags.
step("flags", client.set(key("flags"), 5), client.get(key("flags")) == 5, client.set(key("flags"), {"a": [1]}),
     client.get(key("flags")) == {"a": [1]})
large = bytes(range(256)) * 2000
step("large value", client.set(key("large"), large), client.get(key("large")) == large)
step("any bytes", client.set(key("bytes"), b"\r\nEND\r\n\0\xff"), client.get(key("bytes")) == b"\r\nEND\r\n\0\xff")
step("stats", int(client.get_stats()[0][1]["curr_items"]) > 0)
time.sleep(3.2)
step("expiry", client.get(key("short")) is None, client.get(key("touched")) == "v")
