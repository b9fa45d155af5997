#!/usr/bin/env python3
"""A cache with a million small entries: the start, hits meanwhile, purges, memory.

    benches/million.py [--entries 1000000] [--binary target/release/httplb] [--folder DIR] [--keep]

Needs wrk, nginx as the origin, and strace; a disk with a file and 4 KiB for each entry. As root the page cache is
emptied before the start that is measured. Numbers depend on the disk and on what else the machine does.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

from cached import Cached, add_options, demand

PREFIXES = 16
HOT = """
local i = 0
request = function() i = (i + 1) % 64; return wrk.format("GET", "/hot/" .. i) end
"""
FILL = """
local i, n = START, END
request = function()
  i = i + 1
  if i >= n then wrk.thread:stop() end
  return wrk.format("GET", "/p" .. i % 16 .. "/" .. i)
end
"""


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("x", timeout=600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)


class Bench(Cached):
    def __init__(self, options):
        body = "x" * 128
        super().__init__(options, f'location / {{ return 200 "{body}"; }}', {"admin": {"socket": "FOLDER/admin.sock"}})
        self.admin = f"{self.folder}/admin.sock"

    def ask(self, method, path, body=None):
        connection = Unix(self.admin)
        connection.request(method, path, body)
        reply = connection.getresponse().read()
        connection.close()
        return reply

    def bytes(self):
        found = re.search(rb"^httplb_cache_bytes (\d+)", self.ask("GET", "/metrics"), re.M)
        return int(found.group(1))

    def child(self, name):
        """The process number of a child."""
        with open(f"/proc/{self.server.pid}/task/{self.server.pid}/children") as file:
            for pid in map(int, file.read().split()):
                with open(f"/proc/{pid}/comm") as comm:
                    if comm.read().strip() == name:
                        return pid

    def asked(self, script, seconds, connections=64):
        """What wrk tells."""
        return self.wrk(script, seconds, connections).communicate()[0]

    def fill(self):
        begun, at = time.monotonic(), -1
        while at < self.bytes() // 4096:
            at = self.bytes() // 4096
            script = FILL.replace("START", str(max(at, 0))).replace("END", str(self.options.entries))
            self.asked(script, 20)
        took = time.monotonic() - begun
        print(f"filled: {self.bytes() // 4096} entries in {took:.0f} s")

    def hits(self, connection, seconds):
        """Hits and requests for entries by chance, one after the other."""
        hits, asked, end = 0, 0, time.monotonic() + seconds
        times = []
        while time.monotonic() < end:
            number = random.randrange(1, self.options.entries)
            begun = time.monotonic()
            connection.request("GET", f"/p{number % PREFIXES}/{number}")
            response = connection.getresponse()
            response.read()
            times.append(time.monotonic() - begun)
            hits += "hit" in response.getheader("Cache-Status", "")
            asked += 1
        times.sort()
        return hits, asked, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3

    def measure_start(self, is_cold):
        if is_cold:
            subprocess.run("sync; echo 3 > /proc/sys/vm/drop_caches", shell=True, check=False)
        begun = time.monotonic()
        self.start()
        ready = time.monotonic() - begun
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/p1/1")
        connection.getresponse().read()
        first = time.monotonic() - begun
        hits, asked, median, late = self.hits(connection, 1 - min(0.9, first))
        print(
            f"start, {'nothing' if is_cold else 'all'} in memory: ready after {ready * 1e3:.0f} ms, first answer after "
            f"{first * 1e3:.0f} ms; in the first second {hits} hits of {asked} asked for by chance, "
            f"p50 {median:.2f} ms, p99 {late:.1f} ms"
        )
        before = -1
        while before != (before := self.bytes()):
            time.sleep(0.5)
        print(f"  looked through after {time.monotonic() - begun - 0.5:.1f} s: {before // 4096} entries")

    def purge(self, what):
        begun = time.monotonic()
        reply = self.ask("POST", "/v1/cache/purge", json.dumps(what))
        return json.loads(reply), (time.monotonic() - begun) * 1e3

    def purge_traced(self, what):
        """System calls of the control process for one purge, by strace."""
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", f"{self.folder}/trace", "-p", str(self.child("httplb-control"))],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)
        self.purge(what)
        time.sleep(0.2)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        calls = open(f"{self.folder}/trace").read().splitlines()
        files = [line for line in calls if re.search(r"openat|unlinkat|getdents|fstat|statx|pread", line)]
        return len(files)

    def measure_url(self):
        text = []
        for number in range(1, 9):
            url = {"url": f"http://127.0.0.1:{self.port}/p{number}/{number}"}
            reply, took = self.purge(url)
            text.append(f"{took:.1f}")
            assert reply == {"purged": 1}, reply
        calls = self.purge_traced({"url": f"http://127.0.0.1:{self.port}/p9/9"})
        print(f"purge of a URL: ms {' '.join(text)}; {calls} calls to files (some of them of other work)")

    def measure_prefix(self):
        latency = lambda text: (re.search(r"99%\s+(\S+)", text).group(1), re.search(r"Requests/sec:\s+(\S+)", text).group(1))
        self.asked(HOT, 1)
        alone = self.asked(HOT, 5, 8)
        result = []
        prefix = {"prefix": f"http://127.0.0.1:{self.port}/p3/"}
        thread = threading.Thread(target=lambda: result.append(self.purge(prefix)))
        thread.start()
        beside = self.asked(HOT, 5, 8)
        thread.join()
        reply, took = result[0]
        print(
            f"purge of a prefix: {reply['purged']} in {took / 1e3:.1f} s; hits: p99 and number a second without "
            f"{latency(alone)}, meanwhile {latency(beside)}"
        )

    def memory(self):
        bound = subprocess.run(
            [self.options.binary, "-t", "-c", f"{self.folder}/servers.conf"], capture_output=True, text=True
        )
        shared = 0
        with open(f"/proc/{self.child('httplb-control')}/smaps") as file:
            is_shared = False
            for line in file:
                if re.match(r"[0-9a-f]+-", line):
                    is_shared = " rw-s " in line
                elif is_shared and line.startswith("Rss:"):
                    shared += int(line.split()[1])
        pss = {}
        for name in ("httplb-control", "httplb-w0"):
            with open(f"/proc/{self.child(name)}/smaps_rollup") as file:
                pss[name] = int(re.search(r"Pss:\s+(\d+)", file.read()).group(1)) / 1024
        print(f"memory: {[line for line in (bound.stderr + bound.stdout).splitlines() if 'memory' in line]}")
        print(f"  shared and in use {shared / 1024:.1f} MiB; PSS in MiB {pss}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    add_options(parser)
    options = parser.parse_args()
    demand("wrk", "nginx", "strace")
    bench = Bench(options)
    try:
        bench.start()
        if not options.filled:
            bench.fill()
        bench.stop()
        for is_cold in (False, os.geteuid() == 0):
            bench.measure_start(is_cold)
            bench.memory()
            bench.stop()
        bench.start()
        time.sleep(15)
        bench.measure_url()
        bench.measure_prefix()
        bench.stop()
    finally:
        bench.end()


if __name__ == "__main__":
    main()
