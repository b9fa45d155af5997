"""Clients for packaging/fleet: count what is lost at an address.

    fleet_load.py ADDRESS [NEW [KEPT [DOWNLOADS [SECONDS]]]]      until standard input ends

Prints a line when the first are answered, and at the end what it has counted, as JSON.

NEW connections a second with one request each, and no second try. KEPT connections with ten requests a second
each: on one that was used before, a request that meets a reset or an end is repeated once on a new one, as
browsers do; that is counted apart. DOWNLOADS that take SECONDS each, one after the other.
"""

import asyncio
import collections
import json
import sys
import time

PATIENCE = 5  # seconds, for a response
KEPT_RATE = 10  # requests a second
RATE = 64 << 10  # bytes a second of a download


class Lost(Exception):
    """A response that is not the one."""


async def receive(reader):
    """The body of a response, and whether its connection ends after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
    lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    if not lines[0].startswith("http/1.1 200 "):
        raise Lost(lines[0])
    return body, fields.get("connection") == "close"


def words_of(error):
    number = getattr(error, "errno", None)
    if isinstance(error, Lost):
        return str(error)
    return type(error).__name__ + (" %d" % number if number else "")


FAILURES = (OSError, EOFError, Lost, asyncio.TimeoutError)


class Load:
    def __init__(self, host, new, kept, downloads, seconds):
        self.host = host
        self.new = new
        self.kept = kept
        self.downloads = downloads
        self.size = int(seconds * RATE)
        self.over = asyncio.Event()
        self.count = collections.Counter()
        self.why = collections.Counter()
        self.longest = 0.0
        self.moments = []
        self.begin = time.monotonic()

    def lost(self, kind, error, note=""):
        self.count[kind + "_lost"] += 1
        self.note_moment()
        self.why["%s: %s%s" % (kind, words_of(error), note)] += 1

    def note_moment(self):
        """When, in seconds since the begin, the first and the last were lost."""
        now = round(time.monotonic() - self.begin, 1)
        self.moments = (self.moments or [now])[:1] + [now]

    def answered(self, kind, begin):
        if not self.count["new"] and kind == "new":
            print("begun", flush=True)
        self.count[kind] += 1
        self.longest = max(self.longest, time.monotonic() - begin)

    async def alone(self, target, patience):
        """A request on a connection of its own."""
        writer = None

        async def exchange():
            nonlocal writer
            reader, writer = await asyncio.open_connection(self.host, 80)
            writer.write(b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
            return (await receive(reader))[0]

        try:
            return await asyncio.wait_for(exchange(), patience)
        finally:
            if writer:
                writer.close()

    async def one(self, kind):
        begin = time.monotonic()
        try:
            await self.alone(b"/", PATIENCE)
            self.answered(kind, begin)
        except FAILURES as error:
            self.lost(kind, error)

    async def send_new(self):
        tasks = set()
        number = 0
        while not self.over.is_set():
            number += 1
            task = asyncio.create_task(self.one("new"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(max(0, self.begin + number / self.new - time.monotonic()))
        if tasks:
            await asyncio.wait(tasks)

    async def keep(self, number):
        await asyncio.sleep(number / self.kept / KEPT_RATE)
        connection = None
        while not self.over.is_set():
            begin = time.monotonic()
            is_used = connection is not None
            try:
                if connection is None:
                    connection = await asyncio.wait_for(asyncio.open_connection(self.host, 80), PATIENCE)
                connection[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                _, closes = await asyncio.wait_for(receive(connection[0]), PATIENCE)
                self.answered("kept", begin)
            except FAILURES as error:
                closes = True
                if is_used and not isinstance(error, asyncio.TimeoutError):
                    self.count["kept_repeated"] += 1
                    self.note_moment()
                    self.why["kept, repeated: " + words_of(error)] += 1
                    await self.one("kept")
                else:
                    self.lost("kept", error)
            if closes and connection:
                connection[1].close()
                connection = None
            await asyncio.sleep(max(0, begin + 1 / KEPT_RATE - time.monotonic()))
        if connection:
            connection[1].close()

    async def download(self, number):
        await asyncio.sleep(number * 0.3)
        while not self.over.is_set():
            try:
                body = await self.alone(b"/slow/%d" % self.size, self.size / RATE + PATIENCE)
                if len(body) != self.size:
                    raise Lost("%d bytes" % len(body))
                self.count["downloads"] += 1
            except FAILURES as error:
                self.lost("downloads", error)
                await asyncio.sleep(0.5)

    async def run(self):
        # The end of standard input.
        asyncio.get_running_loop().add_reader(0, self.over.set)
        tasks = [self.send_new()] if self.new else []
        tasks += [self.keep(number) for number in range(self.kept)]
        tasks += [self.download(number) for number in range(self.downloads)]
        await asyncio.gather(*tasks)
        report = {kind: self.count[kind] for kind in ("new", "kept", "downloads")}
        report.update({kind + "_lost": self.count[kind + "_lost"] for kind in ("new", "kept", "downloads")})
        report["kept_repeated"] = self.count["kept_repeated"]
        report["longest_ms"] = round(self.longest * 1000)
        report["lost_at"] = self.moments
        report["seconds"] = round(time.monotonic() - self.begin, 1)
        report["why"] = self.why
        print(json.dumps(report))


async def main():
    numbers = [int(word) for word in sys.argv[2:]]
    defaults = [100, 20, 3, 3]
    await Load(sys.argv[1], *(numbers + defaults[len(numbers) :])).run()


asyncio.run(main())
