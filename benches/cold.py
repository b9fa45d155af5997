#!/usr/bin/env python3
"""What others feel while stored responses are read that are not in memory.

    benches/cold.py [--mib 2048] [--binary target/release/httplb] [--folder DIR] [--keep] [--filled]

Needs wrk, and nginx as the origin. Stores so many responses of 1 MiB, takes them out of memory
(posix_fadvise), and has 16 clients read all of them, while 8 others ask for a small one that is at hand.
The figures are the latencies of the latter, alone and meanwhile.
"""

import argparse
import os
import re

from cached import Cached, add_options, demand

READ = """
local i, n = 0, COUNT
request = function()
  i = i % n + 1
  return wrk.format("GET", "/large/" .. i)
end
"""


ORIGIN = """
    location /large/ { alias FOLDER/www/; try_files large =404; rewrite ^ /file/large last; }
    location /file/ { alias FOLDER/www/; }
    location / { return 200 "hello"; }
"""


class Bench(Cached):
    def __init__(self, options):
        super().__init__(options, ORIGIN)
        os.makedirs(f"{self.folder}/www", exist_ok=True)
        with open(f"{self.folder}/www/large", "wb") as file:
            file.write(os.urandom(1 << 20))
        self.start()

    def read_all(self):
        return READ.replace("COUNT", str(self.options.mib))

    def chill(self):
        """Takes the stored responses, and no other files, out of memory."""
        os.sync()
        for folder, _, names in os.walk(f"{self.folder}/cache"):
            for name in names:
                file = os.open(f"{folder}/{name}", os.O_RDONLY)
                if os.fstat(file).st_size > 100_000:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)

    def figures(self, text):
        found = {at: re.search(rf"{at}\s+([\d.]+\w+)", text).group(1) for at in ("50%", "99%")}
        found["max"] = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text).group(1)
        found["a second"] = re.search(r"Requests/sec:\s+(\S+)", text).group(1)
        return found

    def run(self):
        if not self.options.filled:
            self.wrk(self.read_all(), 10 + self.options.mib // 50, 4).communicate()
            print(f"stored: {sum(len(files) for _, _, files in os.walk(self.folder + '/cache')) - 1} files")
        self.wrk("", 1, 8, "/small").communicate()
        print("alone     ", self.figures(self.wrk("", 5, 8, "/small").communicate()[0]))
        self.chill()
        reading = self.wrk(self.read_all(), self.options.seconds, 16)
        beside = self.wrk("", self.options.seconds, 8, "/small")
        text = beside.communicate()[0]
        print("meanwhile ", self.figures(text))
        print("large ones", self.figures(reading.communicate()[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--seconds", type=int, default=6)
    add_options(parser)
    options = parser.parse_args()
    demand("wrk", "nginx")
    bench = Bench(options)
    try:
        bench.run()
        bench.stop()
    finally:
        bench.end()


if __name__ == "__main__":
    main()
