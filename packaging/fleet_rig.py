"""Hosts for packaging/fleet: each with a network, a name, and an /etc, /run and /var of its own.

All of it is in namespaces that end with the process that made them, and leaves nothing behind.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE / "examples"
PATH = "/run/rig/bin:/usr/sbin:/usr/bin:/sbin:/bin"

BEGIN_HOST = """
set -e
hostname "$0"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/rig/bin /run/httplb /run/bird /run/keepalived
for folder in etc var usr; do
    mkdir /run/rig/$folder /run/rig/$folder-work
    mount -t overlay -o lowerdir=/$folder,upperdir=/run/rig/$folder,workdir=/run/rig/$folder-work overlay /$folder
done
mkdir -p /var/lib/httplb /etc/httplb
ip link set lo up
echo ready
exec sleep infinity
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError("%s: %s%s" % (" ".join(map(str, command)), done.stdout, done.stderr))
    return done.stdout


def until(what, seconds, condition):
    """Waits for the condition, and returns after how many seconds it came true."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise RuntimeError("not within %g s: %s" % (seconds, what))
        time.sleep(0.02)
    return time.monotonic() - begin


class Host:
    def __init__(self, folder, name):
        self.name = name
        self.folder = folder
        self.logs = 0
        self.first = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-c", BEGIN_HOST, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.first.stdout.readline() != "ready\n":
            raise RuntimeError("the host %s cannot be made" % name)
        (folder / (name + ".pid")).write_text(str(self.first.pid))
        self.enter = ["nsenter", "--target", str(self.first.pid), "--net", "--mount", "--uts"]
        self.enter += ["env", "PATH=" + PATH, "STATE_DIRECTORY=/var/lib/httplb"]

    def run(self, *command, **options):
        """Its output; an error if it fails."""
        return run(*self.enter, *command, **options)

    def shell(self, text):
        return self.run("sh", "-c", text)

    def succeeds(self, *command):
        return subprocess.run([*self.enter, *command], capture_output=True).returncode == 0

    def start(self, *command, **options):
        """A process that goes on; its output is kept for who looks for a reason."""
        self.logs += 1
        name = "%s.%d.%s.log" % (self.name, self.logs, os.path.basename(str(command[0])))
        with open(self.folder / name, "wb") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            return subprocess.Popen([*self.enter, *map(str, command)], start_new_session=True, **options)

    def put(self, place, content):
        """A file of this host: a text, or what another file has."""
        if isinstance(content, pathlib.Path):
            content = content.read_bytes()
        else:
            content = content.encode()
        write = 'mkdir -p "${0%/*}" && cat >"$0.new" && mv "$0.new" "$0"'
        subprocess.run([*self.enter, "sh", "-c", write, place], input=content, check=True)

    def processes(self, name):
        """Those of this host whose names begin so."""
        own = os.readlink("/proc/%d/ns/net" % self.first.pid)
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                is_named = (process / "comm").read_text().startswith(name)
                if is_named and os.readlink(process / "ns/net") == own:
                    if (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        found.append(int(process.name))
            except OSError:
                pass
        return found

    def signal(self, name, what):
        """To all processes of that name; how many there were."""
        found = self.processes(name)
        for process in found:
            os.kill(process, what)
        return len(found)


class Balancer(Host):
    """A host with httplb."""

    def set_up(self, program, config):
        self.put("/run/rig/bin/httplb", program)
        self.run("chmod", "755", "/run/rig/bin/httplb")
        self.put("/etc/httplb/servers.conf", json.dumps(config))
        # What systemctl restart does.
        self.put("/run/rig/bin/restart", RESTART)
        self.run("chmod", "755", "/run/rig/bin/restart")
        self.begin()

    def begin(self):
        self.start("httplb", "/etc/httplb/servers.conf")
        until("%s is well" % self.name, 20, self.is_well)

    def is_well(self):
        return self.succeeds("curl", "-sf", "-m", "1", "-o", "/dev/null", "http://127.0.0.1:9001/healthz")

    def configure(self, config):
        self.put("/etc/httplb/servers.conf", json.dumps(config))
        self.reload()

    def reload(self):
        self.ctl("reload")

    def ctl(self, *words):
        return self.run("httplb", "ctl", "--socket", "/run/httplb/admin.sock", *words)

    def look(self, what):
        return json.loads(self.ctl(what, "--json"))

    def master(self):
        return next(pid for pid in self.processes("httplb") if self.is_master(pid))

    @staticmethod
    def is_master(pid):
        return pathlib.Path("/proc/%d/comm" % pid).read_text() == "httplb\n"

    def upgrade(self, program):
        """The file replaced, and HUP, as the package does it."""
        master = self.master()
        old = set(self.processes("httplb-w"))
        self.put("/run/rig/bin/httplb.new", program)
        self.shell("chmod 755 /run/rig/bin/httplb.new && mv /run/rig/bin/httplb.new /run/rig/bin/httplb")
        os.kill(master, signal.SIGHUP)
        until("%s is upgraded" % self.name, 20, lambda: set(self.processes("httplb-w")) - old)
        if "deleted" in os.readlink("/proc/%d/exe" % master):
            raise RuntimeError("the master runs the old program still")

    def stop(self):
        """TERM, to its end."""
        os.kill(self.master(), signal.SIGTERM)
        until("%s has stopped" % self.name, 40, lambda: not self.processes("httplb"))

    def kill(self):
        self.signal("httplb", signal.SIGKILL)


RESTART = """#!/bin/sh
master=$(httplb ctl --socket /run/httplb/admin.sock status --json | sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
kill -TERM "$master"
while kill -0 "$master" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$master/status"; do sleep 0.1; done
setsid httplb /etc/httplb/servers.conf >>/run/rig/httplb.log 2>&1 </dev/null &
until curl -sf -m 1 -o /dev/null http://127.0.0.1:9001/healthz; do sleep 0.1; done
"""

NGINX = """
daemon off; worker_processes 1; pid /run/nginx.pid; error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_timeout 75;
    server {
        listen 8001;
        default_type text/plain;
        add_header X-Request-ID $http_x_request_id;
        location / { return 200 "%(name)s\n"; }
        location /slow { limit_rate 64k; root /run/www; }
    }
}
"""


class Backend(Host):
    """A host with nginx, as a stand-in for an application."""

    def set_up(self, sizes):
        self.put("/etc/nginx/nginx.conf", NGINX % {"name": self.name})
        for size in sizes:
            self.shell("mkdir -p /run/www/slow && head -c %d /dev/zero >/run/www/slow/%d" % (size, size))
        self.put("/run/rig/bin/restart", RESTART_NGINX)
        self.shell("chmod 755 /run/rig/bin/restart; chmod -R a+rX /run/www; mkdir -p /var/lib/nginx /var/log/nginx")
        self.start("nginx", "-c", "/etc/nginx/nginx.conf")


RESTART_NGINX = """#!/bin/sh
nginx -c /etc/nginx/nginx.conf -s quit
while pgrep -F /run/nginx.pid >/dev/null 2>&1; do sleep 0.1; done
setsid nginx -c /etc/nginx/nginx.conf >/dev/null 2>&1 </dev/null &
until curl -sf -m 1 -o /dev/null http://127.0.0.1:8001/; do sleep 0.1; done
"""


class Load:
    """Clients that run until they are told to end."""

    def __init__(self, client, address, *numbers):
        self.process = client.start(
            sys.executable, HERE / "fleet_load.py", address, *numbers, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self.process.stdout.readline() != b"begun\n":
            raise RuntimeError("the clients do not begin")

    def end(self):
        output, _ = self.process.communicate(b"", timeout=60)
        return json.loads(output)


class Network:
    """A switch, and hosts at it. The switch is in the namespace of this process."""

    def __init__(self, folder):
        self.folder = folder
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "link", "set", "br0", "up")

    def attach(self, host, address, interface="eth0"):
        port = "p-" + host.name
        run("ip", "link", "add", interface, "netns", host.first.pid, "type", "veth", "peer", "name", port)
        run("ip", "link", "set", port, "master", "br0", "up")
        host.run("ip", "link", "set", interface, "up")
        host.run("ip", "address", "add", address, "dev", interface)
        return host

    def plug(self, host, state):
        """The cable of this host: "up" or "down"."""
        run("ip", "link", "set", "p-" + host.name, state)
