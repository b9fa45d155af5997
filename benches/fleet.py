#!/usr/bin/env python3
"""What a fleet that shares one registry costs: etcd, some httplb, and many that only watch.

    benches/fleet.py [--backends 10000] [--changes 100] [--watchers 1,10,50,100] [--seconds 5] [--binary target/release/httplb]

One etcd (Debian's etcd-server) holds so many backends in pools of up to 1000, of which so many change each
second. Each watcher stands for an instance: it holds the watch that httplb-registry holds, by etcd's JSON
gateway, and notes when it has heard of each change. Beside them one real httplb knows the first pool, of 100
backends that change in turn with the others. For each number of watchers a row is printed: the time from the
write to the last watcher that knows (p50, p99), bytes a second for an instance, CPU of etcd for each change and
watcher, and CPU of httplb's processes in a second. The last line says what that comes to for 1000 instances:
computed from the rows, not measured.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

PREFIX = "/httplb/"
TICK = os.sysconf("SC_CLK_TCK")


def b64(text):
    return base64.b64encode(text.encode()).decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu(pids):
    """Seconds of CPU that these processes have had."""
    total = 0
    for pid in pids:
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def family(pid):
    """A process and its children."""
    found = [pid]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry))
    return found


class Etcd:
    def __init__(self, folder):
        self.port, peer = free_port(), free_port()
        url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", f"{folder}/etcd", "--listen-client-urls", url, "--advertise-client-urls", url,
             "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.call("kv/range", {"key": b64("x")})
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("etcd does not answer")

    def call(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/{path}", json.dumps(body).encode())
        return json.load(urllib.request.urlopen(request, timeout=10))


def key_of(number):
    """Pool 0 has 100 backends, the others 1000 each."""
    pool = 0 if number < 100 else 1 + (number - 100) // 1000
    address = f"127.{100 + number // 60000}.{number // 250 % 240}.{number % 250 + 1}:9"
    return f"{PREFIX}v1/pools/p{pool}/backends/{address}"


def fill(etcd, count):
    for start in range(0, count, 100):
        puts = [{"requestPut": {"key": b64(key_of(n)), "value": b64('{"weight":1}')}} for n in range(start, min(start + 100, count))]
        etcd.call("kv/txn", {"success": puts})


class Watcher:
    """The watch of one instance."""

    def __init__(self, port, prefix, heard):
        self.port, self.prefix, self.heard, self.bytes = port, prefix, heard, 0

    async def run(self, ready):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        end = self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1)
        body = json.dumps({"create_request": {"key": b64(self.prefix), "range_end": b64(end)}})
        writer.write(f"POST /v3/watch HTTP/1.1\r\nHost: etcd\r\nGrpc-Metadata-hasleader: true\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.readuntil(b"\r\n\r\n")
        while True:
            size = int((await reader.readline()).strip() or b"0", 16)
            if not size:
                continue
            chunk = await reader.readexactly(size)
            self.bytes += size
            now = time.monotonic()
            result = json.loads(chunk)["result"]
            if result.get("created"):
                ready.release()
            for event in result.get("events", []):
                self.heard(int(event["kv"]["mod_revision"]), now)


async def writer(port, count, changes, seconds, written):
    """Changes a backend so often a second, in turn over all of them, over one connection."""
    reader, out = await asyncio.open_connection("127.0.0.1", port)
    begun, number, step = time.monotonic(), 0, 7919
    while (now := time.monotonic()) - begun < seconds:
        body = json.dumps({"key": b64(key_of(number * step % count)), "value": b64('{"weight":%d}' % (number % 200 + 1))})
        out.write(f"POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        written[int(answer["header"]["revision"])] = now
        number += 1
        await asyncio.sleep(max(0, begun + number / changes - time.monotonic()))


async def round_of(etcd, options, watchers, lb):
    heard, written, ready = {}, {}, asyncio.Semaphore(0)

    def hear(revision, now):
        first, count, last = heard.get(revision, (now, 0, now))
        heard[revision] = (first, count + 1, max(last, now))

    all_watchers = [Watcher(etcd.port, f"{PREFIX}v1/", hear) for _ in range(watchers)]
    tasks = [asyncio.create_task(watcher.run(ready)) for watcher in all_watchers]
    for _ in all_watchers:
        await asyncio.wait_for(ready.acquire(), 60)
    before = cpu([etcd.process.pid]), cpu(family(lb.pid)), sum(w.bytes for w in all_watchers)
    begun = time.monotonic()
    await writer(etcd.port, options.backends, options.changes, options.seconds, written)
    lasted = time.monotonic() - begun
    deadline = time.monotonic() + 30
    complete = lambda: all(heard.get(r, (0, 0, 0))[1] == watchers for r in written)
    while not complete() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    after = cpu([etcd.process.pid]), cpu(family(lb.pid)), sum(w.bytes for w in all_watchers)
    for task in tasks:
        task.cancel()
    known = sorted((heard[r][2] - at) * 1000 for r, at in written.items() if heard.get(r, (0, 0, 0))[1] == watchers)
    return {
        "watchers": watchers, "changes": len(written) / lasted, "missing": len(written) - len(known),
        "p50": statistics.median(known), "p99": known[len(known) * 99 // 100],
        "bytes": (after[2] - before[2]) / watchers / lasted,
        "etcd_us": (after[0] - before[0]) * 1e6 / len(written) / watchers, "etcd": (after[0] - before[0]) / lasted,
        "lb": (after[1] - before[1]) / lasted,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", type=int, default=10000)
    parser.add_argument("--changes", type=float, default=100)
    parser.add_argument("--watchers", default="1,10,50,100")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--binary", default="target/release/httplb")
    options = parser.parse_args()
    if not shutil.which("etcd"):
        raise SystemExit("etcd is missing: apt-get install etcd-server")
    folder = tempfile.mkdtemp()
    etcd = Etcd(folder)
    lb = None
    try:
        fill(etcd, options.backends)
        config = {
            "listen": [f"127.0.0.1:{free_port()}"], "workers": 1, "admin": {"socket": f"{folder}/admin"},
            "registry": {"etcd": [f"127.0.0.1:{etcd.port}"], "prefix": PREFIX, "instance": "bench"},
        }
        with open(f"{folder}/conf", "w") as file:
            json.dump(config, file)
        lb = subprocess.Popen([options.binary, "-c", f"{folder}/conf"], stderr=open(f"{folder}/journal", "w"))
        time.sleep(3)
        print(f"{options.backends} backends, {options.changes:g} changes a second; httplb:", flush=True)
        print("  " + open(f"{folder}/journal").read().strip().replace("\n", "\n  ")[-1500:], flush=True)
        print("watchers  changes/s  p50 ms  p99 ms  not heard  bytes/s  etcd CPU  etcd µs  httplb CPU")
        rows = []
        for watchers in map(int, options.watchers.split(",")):
            row = asyncio.run(round_of(etcd, options, watchers, lb))
            rows.append(row)
            print("{watchers:8}  {changes:9.0f}  {p50:6.1f}  {p99:6.1f}  {missing:9}  {bytes:7.0f}  {etcd:8.2f}  {etcd_us:7.1f}  {lb:10.3f}".format(**row), flush=True)
        last = rows[-1]
        cores = last["etcd_us"] * options.changes * 1000 / 1e6
        print(f"1000 instances at one etcd, computed: {cores:.1f} cores of etcd, {last['bytes'] * 1000 / 1e6:.0f} MB/s out of it")
        print(open(f"{folder}/journal").read()[-800:])
    finally:
        for process in [lb, etcd.process]:
            if process:
                process.send_signal(signal.SIGTERM)
                process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
