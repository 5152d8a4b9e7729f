"""
Asks for a small page ten times a second, by a connection of its own each time, and prints a line of
JSON for every answer: so it is seen to a tenth of a second when nobody is answered. `Knocks` runs
it inside the namespace of the public network, as: python -m lab.knock URL
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse

from lab.deadline import wait_until
from lab.errors import LabError

PAGE = "/style.css"  # of the stand-in site
EVERY = 0.1  # s between two connections
PATIENCE = 10  # s for an answer
LONGEST = 7200  # s, as the students of an ordeal


class Knocks:
    """The answers that lab/knock.py gets while the body runs."""

    def __init__(self, lab):
        self.entries = []
        argv, environment = lab.outsider("lab.knock", lab.url.rstrip("/") + PAGE)
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._reader.start()
        return self

    def check(self):
        """Raise LabError unless there are answers, and somebody who still asks for them."""
        wait_until(lambda: self.entries, f"an answer to {self._child.args[-1]}", 30)
        if self._child.poll() is not None:
            raise LabError(f"{self._child.args} ended with {self._child.returncode}")

    def __exit__(self, *problem):
        self._child.kill()
        self._child.wait()
        self._reader.join()

    def _read(self):
        for line in self._child.stdout:
            self.entries.append({"event": "acknowledged", "kind": "page", **json.loads(line)})


async def knock(host, port, path):
    """Ask once; print when it was answered, if it was, in full (CLOCK_MONOTONIC)."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return
    if is_whole(answer):
        try:
            print(json.dumps({"time": time.monotonic()}), flush=True)
        except BrokenPipeError:
            sys.exit(1)  # nobody listens any more


def is_whole(answer):
    """Return whether these bytes are a page, from its first to its last."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return head.split(b" ", 2)[1:2] == [b"200"] and bool(length) and len(body) == int(length[1])


async def main(url):
    """Ask until the process is ended or left alone, LONGEST seconds at most."""
    parts, begun, asking = urllib.parse.urlsplit(url), time.monotonic(), set()
    parent = os.getppid()
    for number in range(round(LONGEST / EVERY)):
        if os.getppid() != parent:
            return
        await asyncio.sleep(max(0, begun + number * EVERY - time.monotonic()))
        task = asyncio.create_task(knock(parts.hostname, parts.port or 80, parts.path))
        asking.add(task)
        task.add_done_callback(asking.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
