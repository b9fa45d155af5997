#!/usr/bin/env python3
"""Both ends of the traffic in packaging/container, with the little that python3-minimal has.

    container.py backends           three servers on 127.0.0.1:8001 to 8003, until killed
    container.py load STOP          clients of port 9000, every byte checked, until the file STOP exists
    container.py hold PORT STOP     listens there, answers nobody
"""

import os
import socket
import sys
import threading
import time

LONGEST_LOAD = 100  # seconds, whatever becomes of STOP


def pattern(size, seed):
    """Bytes that no other request's answer has."""
    unit = b"%d/%d " % (size, seed)
    return (unit * (size // len(unit) + 1))[:size]


class Stream:
    """A connection that is read message by message."""

    def __init__(self, connection):
        self.connection = connection
        self.held = b""

    def fill(self):
        piece = self.connection.recv(1 << 16)
        self.held += piece
        return len(piece) > 0

    def message(self):
        """The next head, in lower case lines, and body. None at an end between two messages."""
        while b"\r\n\r\n" not in self.held:
            if not self.fill():
                if self.held:
                    raise EOFError("closed amid a head")
                return None
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(fields.get("content-length", 0))
        while len(self.held) < length:
            if not self.fill():
                raise EOFError("closed amid a body: %d of %d bytes" % (len(self.held), length))
        body, self.held = self.held[:length], self.held[length:]
        return lines[0], fields, body


def serve(connection, port):
    """GET /SIZE/SEED: its pattern. GET /slow/SIZE/SEED: the same over two seconds. POST: the body."""
    stream = Stream(connection)
    while True:
        message = stream.message()
        if message is None:
            connection.close()
            return
        line, _, body = message
        method, target, _ = line.split(" ")
        pieces = 1
        if method == "GET" and target != "/":
            *slow, size, seed = target.strip("/").split("/")
            body = pattern(int(size), int(seed))
            pieces = 20 if slow else 1
        head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Backend: %d\r\n\r\n" % (len(body), port)
        connection.sendall(head.encode())
        step = len(body) // pieces + 1
        for start in range(0, len(body), step):
            connection.sendall(body[start : start + step])
            if pieces > 1:
                time.sleep(2 / pieces)


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def quietly(step, *arguments):
    try:
        step(*arguments)
    except (OSError, EOFError):
        pass


def backend(port):
    listener = listen(port)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=quietly, args=(serve, connection, port), daemon=True).start()


class Load:
    """Clients of all kinds, what they saw, and until when they go on."""

    def __init__(self, stop):
        self.stop = stop
        self.end = time.monotonic() + LONGEST_LOAD
        self.lock = threading.Lock()
        self.answered = 0
        self.lost = []

    def goes_on(self):
        return time.monotonic() < self.end and not os.path.exists(self.stop)

    def count(self, lost=None):
        with self.lock:
            if lost is None:
                self.answered += 1
            else:
                self.lost.append(lost)

    def exchange(self, stream, target, upload, keep):
        """One request, a POST if there is something to upload. True if the connection stays."""
        size, seed = map(int, target.split("/")[-2:])
        expected = pattern(size, seed) if upload is None else pattern(upload, seed)
        head = "GET %s HTTP/1.1\r\nHost: a\r\n" % target
        body = b""
        if upload is not None:
            body = expected
            head = "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % (target, upload)
        close = "" if keep else "Connection: close\r\n"
        stream.connection.sendall((head + close + "\r\n").encode() + body)
        answer = stream.message()
        if answer is None:
            raise EOFError("closed without an answer")
        line, fields, received = answer
        if line != "HTTP/1.1 200 OK":
            raise ValueError(line)
        if received != expected:
            raise ValueError("wrong bytes: %d in place of %d" % (len(received), len(expected)))
        return keep and fields.get("connection") != "close"

    def client(self, kind):
        """Sends requests of this kind one after the other, over one connection if it may."""
        size, upload, keep, slow = kind
        stream = None
        seed = 0
        while self.goes_on():
            seed += 1
            target = "%s/%d/%d" % ("/slow" if slow else "", size, seed)
            fresh = stream is None
            try:
                if fresh:
                    stream = Stream(socket.create_connection(("127.0.0.1", 9000), timeout=10))
                again = self.exchange(stream, target, upload, keep)
                self.count()
            except (OSError, EOFError, ValueError) as error:
                place = "on a new connection" if fresh else "on a kept connection"
                self.count("%s: %s %s" % (target, error or type(error).__name__, place))
                again = False
            if not again and stream is not None:
                stream.connection.close()
                stream = None
            time.sleep(0.01)


def load(stop):
    kept, short = True, False
    kinds = [  # size of a GET's answer, of a POST's body, kept alive, slow
        (100, None, kept, False),
        (100, None, kept, False),
        (100, None, short, False),
        (200_000, None, kept, False),
        (0, 1000, kept, False),
        (0, 1000, short, False),
        (0, 100_000, kept, False),
        (100_000, None, kept, True),
        (100_000, None, short, True),
    ]
    run = Load(stop)
    threads = [threading.Thread(target=run.client, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("%d requests answered, %d lost" % (run.answered, len(run.lost)))
    for lost in run.lost[:10]:
        print("  " + lost)
    sys.exit(1 if run.lost or not run.answered else 0)


def main():
    what = sys.argv[1]
    if what == "backends":
        for port in (8001, 8002):
            threading.Thread(target=backend, args=(port,), daemon=True).start()
        backend(8003)
    elif what == "load":
        load(sys.argv[2])
    elif what == "hold":
        held = listen(int(sys.argv[2]))
        while not os.path.exists(sys.argv[3]):
            time.sleep(0.05)
        held.close()


main()
