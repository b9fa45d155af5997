"""What the benches of the cache share: a folder, a service of one worker with a cache there, and nginx as its origin."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def add_options(parser):
    parser.add_argument("--binary", default="target/release/httplb")
    parser.add_argument("--folder")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--filled", action="store_true", help="the folder is one that was kept")


def demand(*programs):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [name for name in programs if not shutil.which(name)]:
        sys.exit(f"missing: {' '.join(missing)}")


class Cached:
    """`locations` is what nginx answers, in its words, `more` goes to the configuration; FOLDER is the folder."""

    def __init__(self, options, locations, more=None):
        self.options = options
        self.folder = options.folder or tempfile.mkdtemp(prefix="httplb-bench-")
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o755)
        self.port, self.origin = free_port(), free_port()
        if options.filled:  # The port is a part of what is stored.
            with open(f"{self.folder}/servers.conf") as file:
                self.port = int(json.load(file)["listen"][0].rsplit(":", 1)[1])
        config = {
            "listen": [f"127.0.0.1:{self.port}"],
            "workers": 1,
            "backend_servers": [{"ip": "127.0.0.1", "port": self.origin}],
            "cache": {"dir": f"{self.folder}/cache", "max_size": "16GiB"},
            **(more or {}),
        }
        with open(f"{self.folder}/servers.conf", "w") as file:
            file.write(json.dumps(config).replace("FOLDER", self.folder))
        with open(f"{self.folder}/nginx.conf", "w") as file:
            file.write(
                f"""worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/error.log; daemon off;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; default_type text/plain;
    add_header Cache-Control "public, max-age=86400";
    server {{ listen 127.0.0.1:{self.origin};
    {locations.replace("FOLDER", self.folder)} }} }}
"""
            )
        self.nginx = subprocess.Popen(["nginx", "-p", self.folder, "-c", f"{self.folder}/nginx.conf"])
        self.server = None

    def start(self):
        """Starts the service, and returns once it is ready."""
        self.server = subprocess.Popen(
            [self.options.binary, "-c", f"{self.folder}/servers.conf"], stderr=subprocess.PIPE, text=True
        )
        for line in self.server.stderr:
            if line.strip() == "httplb: ready":
                # What it says later is not to hold it up.
                return threading.Thread(target=self.server.stderr.read, daemon=True).start()
        sys.exit(f"{self.options.binary} did not start: run it with -t -c {self.folder}/servers.conf")

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)

    def end(self):
        """Ends all, however far it has come."""
        if self.server:
            self.server.kill()
        self.nginx.terminate()
        self.nginx.wait()
        if not self.options.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def wrk(self, script, seconds, connections, path=""):
        """Begins to ask, by a script in Lua if there is one."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        if script:
            with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".lua", delete=False) as file:
                file.write(script)
            command += ["-s", file.name]
        return subprocess.Popen([*command, f"http://127.0.0.1:{self.port}{path}"], stdout=subprocess.PIPE, text=True)
