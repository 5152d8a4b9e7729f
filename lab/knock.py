"""
Asks for a small page ten times a second, by a connection of its own each time, and prints a line of
JSON for every answer: so it is seen to a tenth of a second when nobody is answered. `Knocks` runs
it inside the namespace of the public network, as: python knock.py URL
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
import urllib.parse

PAGE = "/style.css"  # of the stand-in site
EVERY = 0.1  # s between two connections
PATIENCE = 10  # s for an answer
LONGEST = 4 * 3600  # s


class Knocks:
    """The answers that lab/knock.py gets while the body runs."""

    def __init__(self, lab):
        self.entries = []
        argv = ["nsenter", f"--net=/run/netns/{lab.network.outside_name}", sys.executable,
                __file__, lab.url.rstrip("/") + PAGE]
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._reader.start()
        return self

    def __exit__(self, *problem):
        self._child.kill()
        self._child.wait()
        self._reader.join()

    def _read(self):
        for line in self._child.stdout:
            self.entries.append({"event": "acknowledged", "kind": "page", **json.loads(line)})


async def knock(host, port, path):
    """Ask once; print when it was asked and answered, if it was (CLOCK_MONOTONIC)."""
    asked = time.monotonic()
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
    if answer.split(b" ", 2)[1:2] == [b"200"]:
        try:
            print(json.dumps({"asked": asked, "time": time.monotonic()}), flush=True)
        except BrokenPipeError:
            sys.exit(1)  # nobody listens any more


async def main(url):
    """Ask until the process is ended, LONGEST seconds at most."""
    parts, begun, asking = urllib.parse.urlsplit(url), time.monotonic(), set()
    for number in range(round(LONGEST / EVERY)):
        await asyncio.sleep(max(0, begun + number * EVERY - time.monotonic()))
        task = asyncio.create_task(knock(parts.hostname, parts.port or 80, parts.path))
        asking.add(task)
        task.add_done_callback(asking.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
