"""
Many requests over few kept connections, timed. Standard library only: it runs inside the namespace
of the public network. Run as: python load.py URL SECONDS CONNECTIONS [HOST]; prints one line of
JSON. HOST is the site's name where the URL names one web VM.
"""

import http.client
import json
import sys
import threading
import time
import urllib.parse

PATIENCE = 10


def play(url, seconds, headers, counts, lock):
    """Ask again and again over one connection until the time is over."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=PATIENCE)
    served = failed = 0
    latest = time.monotonic() + seconds
    while time.monotonic() < latest:
        try:
            connection.request("GET", parts.path or "/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            served += answer.status == 200
            failed += answer.status != 200
        except (OSError, http.client.HTTPException):
            failed += 1
            connection.close()
    with lock:
        counts["served"] += served
        counts["failed"] += failed


def measure(url, seconds, connections, host=None):
    """Return {served, failed, per_second} of `connections` at once."""
    counts, lock = {"served": 0, "failed": 0}, threading.Lock()
    headers = {"Host": host} if host else {}
    threads = [threading.Thread(target=play, args=(url, seconds, headers, counts, lock))
               for _ in range(connections)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {**counts, "per_second": round(counts["served"] / (time.monotonic() - begun), 1)}


if __name__ == "__main__":
    site, duration, width, *name = sys.argv[1:]
    print(json.dumps(measure(site, float(duration), int(width), *name)))
