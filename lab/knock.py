"""
Asks for a small page ten times a second, by a connection of its own each time, and prints a line of
JSON for every answer: so it is seen to a tenth of a second when nobody is answered. Standard
library only: it runs inside the namespace of the public network. Run as: python knock.py URL
"""

import asyncio
import itertools
import json
import sys
import time
import urllib.parse

EVERY = 0.1  # s between two connections
PATIENCE = 10  # s for an answer


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
        print(json.dumps({"asked": asked, "time": time.monotonic()}), flush=True)


async def main(url):
    """Ask until the process is ended."""
    parts, begun, asking = urllib.parse.urlsplit(url), time.monotonic(), set()
    for number in itertools.count():
        await asyncio.sleep(max(0, begun + number * EVERY - time.monotonic()))
        task = asyncio.create_task(knock(parts.hostname, parts.port or 80, parts.path))
        asking.add(task)
        task.add_done_callback(asking.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
