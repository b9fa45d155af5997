#!/usr/bin/env python3
"""What a hit costs: httplb's cache beside nginx's proxy_cache and varnish, one worker each.

    benches/cache.py [--seconds 3] [--rounds 3] [--sizes 1024,1048576] [--binary target/release/httplb]

Needs wrk; nginx and varnishd (Debian's nginx-light and varnish) are left out where they are not installed.
Each server is started anew, filled, and asked in turn with the others (A B C A B C ...), on core 0; wrk and the
origin have core 1. The figure is CPU time of all processes of the server for each hit, from
/proc/PID/task/*/schedstat: it hardly depends on how fast wrk is. Run it on a machine with nothing else to do,
compare within one run only, and take differences under a tenth for noise.
"""

import argparse
import http.server
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BODY = bytes(range(256)) * 4096  # 1 MiB


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers /SIZE with so many bytes, fresh for an hour, and counts."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self):
        Origin.asked += 1
        size = int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(BODY[:size])

    def log_message(self, *arguments):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def httplb(folder, port, origin, binary):
    config = {
        "listen": [f"127.0.0.1:{port}"],
        "workers": 1,
        "backend_servers": [{"ip": "127.0.0.1", "port": origin}],
        "cache": {"dir": f"{folder}/cache", "max_size": "256MiB"},
    }
    with open(f"{folder}/servers.conf", "w") as file:
        json.dump(config, file)
    return [binary, "-c", f"{folder}/servers.conf"]


def nginx(folder, port, origin, _):
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(
            f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=1000;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=all:16m max_size=256m;
    proxy_temp_path {folder}/temp;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache all; proxy_http_version 1.1; }}
    }}
}}
"""
        )
    return ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]


def varnish(folder, port, origin, _):
    with open(f"{folder}/default.vcl", "w") as file:
        file.write(f'vcl 4.0; backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}\n')
    return [
        "varnishd", "-F", "-n", f"{folder}/work", "-a", f"127.0.0.1:{port}", "-f", f"{folder}/default.vcl",
        "-s", "malloc,256m", "-p", "thread_pools=1", "-p", "thread_pool_min=100",
    ]  # fmt: skip


SERVERS = {"httplb": (httplb, None), "nginx": (nginx, "nginx"), "varnish": (varnish, "varnishd")}


def family(pid):
    """A process and all below it."""
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    pending.extend(int(child) for child in file.read().split())
        except FileNotFoundError:
            continue
    return found


def cpu_seconds(pid):
    total = 0
    for one in family(pid):
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
        except FileNotFoundError:
            continue
    return total / 1e9


def fill(url):
    """Asks until it is answered, and twice more, so that it is stored."""
    answered, end = 0, time.monotonic() + 10
    while answered < 3:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                response.read()
            answered += 1
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def measure(name, size, origin, options):
    """CPU time for each hit in microseconds, and hits a second."""
    folder = tempfile.mkdtemp(prefix=f"httplb-bench-{name}-")
    os.chmod(folder, 0o777)
    port = free_port()
    command = SERVERS[name][0](folder, port, origin, options.binary)
    with open(f"{folder}/said", "w") as said:
        server = subprocess.Popen(["taskset", "-c", "0", *command], stdout=said, stderr=said)
    try:
        url = f"http://127.0.0.1:{port}/{size}"
        fill(url)
        before, asked = cpu_seconds(server.pid), Origin.asked
        clients = 64 if size < 100_000 else 16
        wrk = ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{options.seconds}s", url]
        text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        used = cpu_seconds(server.pid) - before
        if Origin.asked != asked:
            sys.exit(f"{name}: {Origin.asked - asked} requests went to the origin: these are no hits")
        if re.search(r"Non-2xx|Socket errors", text):
            sys.exit(f"{name}: not all was answered\n{text}")
        hits = int(re.search(r"(\d+) requests in", text).group(1))
        return used / hits * 1e6, hits / options.seconds
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="1024,1048576")
    parser.add_argument("--binary", default="target/release/httplb")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    names = [name for name, (_, program) in SERVERS.items() if program is None or shutil.which(program)]
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    os.sched_setaffinity(0, {1 % os.cpu_count()})
    for size in map(int, options.sizes.split(",")):
        found = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                found[name].append(measure(name, size, origin.server_address[1], options))
        median = {name: [statistics.median(column) for column in zip(*found[name])] for name in names}
        print(f"\nhits of {size} bytes")
        print(f"{'':10}{'CPU us/hit':>12}{'hits/s':>10}{'to nginx':>10}{'to varnish':>12}")
        for name in names:
            cpu, rate = median[name]
            ratios = [f"{cpu / median[o][0]:.2f}" if o in median else "-" for o in ("nginx", "varnish")]
            print(f"{name:10}{cpu:>12.2f}{rate:>10.0f}{ratios[0]:>10}{ratios[1]:>12}")


if __name__ == "__main__":
    main()
