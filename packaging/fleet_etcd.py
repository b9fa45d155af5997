"""etcd with TLS behind stunnel, by packaging/examples/stunnel-etcd.conf, for packaging/fleet."""

import signal
import time

from fleet_rig import EXAMPLES, Host, run, until

MEMBERS = ("192.0.2.31", "192.0.2.32", "192.0.2.33")
REGISTRY = {"etcd": ["127.0.0.1:12379", "127.0.0.1:22379", "127.0.0.1:32379"]}
SPARE = "192.0.2.23:8001"


def make_certificates(folder):
    """An authority, and a certificate of it for each member and for the client."""

    def openssl(*words):
        run("openssl", *words, cwd=folder)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-subj", "/CN=etcd", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    for name in MEMBERS + ("client",):
        openssl("req", *new_key, "-subj", "/CN=" + name, "-keyout", name + ".key", "-out", name + ".csr")
        names = "" if name == "client" else "subjectAltName=IP:%s\n" % name
        (folder / (name + ".ext")).write_text(names + "extendedKeyUsage=serverAuth,clientAuth\n")
        words = ("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(*words, "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")


def start_member(host, number):
    urls = ",".join("n%d=http://%s:2380" % (n, address) for n, address in enumerate(MEMBERS, 1))
    own = MEMBERS[number]
    for name in ("ca.pem", own + ".pem", own + ".key"):
        host.put("/etc/etcd/" + name, host.folder / name)
    host.start(
        *("etcd", "--name", "n%d" % (number + 1), "--data-dir", "/run/etcd", "--initial-cluster", urls),
        *("--listen-client-urls", "https://%s:2379" % own, "--advertise-client-urls", "https://%s:2379" % own),
        *("--listen-peer-urls", "http://%s:2380" % own, "--initial-advertise-peer-urls", "http://%s:2380" % own),
        *("--trusted-ca-file", "/etc/etcd/ca.pem", "--client-cert-auth"),
        *("--cert-file", "/etc/etcd/%s.pem" % own, "--key-file", "/etc/etcd/%s.key" % own),
    )


def start_stunnel(host):
    host.put("/etc/httplb/etcd-ca.pem", host.folder / "ca.pem")
    host.put("/etc/httplb/etcd-client.pem", host.folder / "client.pem")
    host.put("/etc/httplb/etcd-client.key", host.folder / "client.key")
    host.run("chmod", "600", "/etc/httplb/etcd-client.key")
    host.put("/etc/stunnel/etcd.conf", EXAMPLES / "stunnel-etcd.conf")
    host.start("stunnel4", "/etc/stunnel/etcd.conf")


def state(balancer):
    return balancer.look("registry")["state"]


def knows(balancer, address):
    return address in states(balancer)


def states(balancer):
    pools = balancer.look("pools")["pools"]
    return {backend["backend"]: backend["state"] for pool in pools for backend in pool["backends"]}


def register(balancer, address):
    target = "http://x/v1/pools/default/backends/" + address
    balancer.run("curl", "-sf", "-m", "5", "--unix-socket", "/run/httplb/admin.sock", "-X", "PUT", target)


def run_scenes(rig, config):
    make_certificates(rig.folder)
    hosts = [rig.add(Host, "etcd%d" % n, address + "/24") for n, address in enumerate(MEMBERS, 1)]
    for number, host in enumerate(hosts):
        start_member(host, number)
    first, second = rig.balancers
    for balancer in rig.balancers:
        start_stunnel(balancer)
        # The third backend comes by the registry.
        own = {"backend_servers": config["backend_servers"][:2], "registry": {**REGISTRY, "instance": balancer.name}}
        balancer.configure({**config, **own})
    until("all watch", 30, lambda: all(state(balancer) == "watching" for balancer in rig.balancers))

    begin = time.monotonic()
    register(first, SPARE)
    until("the other instance knows it", 5, lambda: knows(second, SPARE))
    print("    registered at lb1, by TLS: lb2 knows it after %.2f s" % (time.monotonic() - begin))

    def member_dies():
        """The one that lb1 asks."""
        endpoint = first.look("registry")["endpoint"]

        def watches_another():
            seen = first.look("registry")
            return seen["state"] == "watching" and seen["endpoint"] != endpoint

        hosts[REGISTRY["etcd"].index(endpoint)].signal("etcd", signal.SIGKILL)
        seconds = until("lb1 asks another", 20, watches_another)
        print("    the member is killed: another is watched after %.1f s" % seconds)

    rig.scene("a member of etcd killed", member_dies)
    second.ctl("drain", SPARE)
    until("a drain holds at both", 10, lambda: states(first)[SPARE] == states(second)[SPARE] == "drain")
    second.ctl("ready", SPARE)

    def stunnel_dies():
        rig.expect("no stunnel", first.signal("stunnel4", signal.SIGKILL) > 0)
        until("lb1 has lost it", 20, lambda: state(first) == "lost")

    rig.scene("stunnel killed", stunnel_dies)
    start_stunnel(first)
    until("lb1 watches", 20, lambda: state(first) == "watching")

    def all_die():
        for host in hosts:
            host.signal("etcd", signal.SIGKILL)
        until("both have lost it", 20, lambda: all(state(balancer) == "lost" for balancer in rig.balancers))
        first.reload()
        rig.expect("the backend went with the registry", knows(first, SPARE) and knows(second, SPARE))

    rig.scene("all of etcd killed, a reload", all_die)
    if rig.options.seconds:
        come_back_empty(rig, hosts)


def come_back_empty(rig, hosts):
    """Another engine that knows nothing, at the same addresses: what it lacks is doubted for a minute."""
    for number, host in enumerate(hosts):
        host.run("rm", "-r", "/run/etcd")
        start_member(host, number)

    def is_believed():
        until("both watch", 30, lambda: all(state(balancer) == "watching" for balancer in rig.balancers))
        begin = time.monotonic()
        rig.expect("the backend went at once", all(knows(balancer, SPARE) for balancer in rig.balancers))
        until("it is gone", 90, lambda: not any(knows(balancer, SPARE) for balancer in rig.balancers))
        seconds = time.monotonic() - begin
        rig.expect("it was doubted for %.0f s" % seconds, 50 < seconds < 75)
        print("    what an empty engine lacks is gone after %.0f s" % seconds)

    rig.scene("all of etcd comes back, and is empty", is_believed)
