# Copyright The Memkeep Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an application does with pymemcache: HOST PORT text PREFIX."""
import sys
import time

from pymemcache.client.base import Client

host, port, prefix = sys.argv[1], int(sys.argv[2]), sys.argv[4]
client = Client((host, port), timeout=10, key_prefix=prefix.encode(), default_noreply=False)


def step(name, *conditions):
    if not all(conditions):
        sys.exit(f"{name}: {conditions}")
    print("step", name, flush=True)


step("expiry is set", client.set("short", "v", expire=2), client.set("touched", "v", expire=2))
step("touch", client.touch("touched", 100), not client.touch("none", 100))
step("set and get", client.set("k", "value"), client.get("k") == b"value", client.get("none") is None)
step("add", not client.add("k", "v"), client.add("added", "v"))
step("replace", client.replace("k", "replaced"), not client.replace("none", "v"), client.get("k") == b"replaced")
step("append and prepend", client.append("k", ">"), client.prepend("k", "<"), client.get("k") == b"<replaced>")
value, cas = client.gets("k")
step("cas", client.cas("k", "swapped", cas), client.cas("k", "v", cas) is False, client.cas("none", "v", cas) is None)
step("incr and decr", client.set("n", "10"), client.incr("n", 5) == 15, client.decr("n", 20) == 0,
     client.incr("none", 1) is None)
step("delete", client.delete("k"), not client.delete("k"), client.get("k") is None)
many = {f"many{i}": b"value %d" % i for i in range(100)}
step("many keys", client.set_many(many) == [], client.get_many([*many, "none"]) == many)
seen = []
tagged = Client((host, port), key_prefix=prefix.encode(), default_noreply=False, serializer=lambda key, value: (value, 77),
                deserializer=lambda key, value, flags: seen.append(flags) or value)
step("flags", tagged.set("flags", b"v"), tagged.get("flags") == b"v", seen == [77])
large = bytes(range(256)) * 2000
step("large value", client.set("large", large), client.get("large") == large)
step("any bytes", client.set("bytes", b"\r\nEND\r\n\0\xff"), client.get("bytes") == b"\r\nEND\r\n\0\xff")
step("no reply", client.set("quiet", "v", noreply=True), client.get("quiet") == b"v")
step("version", client.version().startswith(b"1.6."))
step("stats", int(client.stats()[b"curr_items"]) > 0)
time.sleep(3.2)
step("expiry", client.get("short") is None, client.get("touched") == b"v")
