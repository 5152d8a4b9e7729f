"""
An HTTP proxy for a browser on the host: it listens on 127.0.0.1, its connections begin outside the
cluster, in the lab's public network.

The listening socket is made on the host and handed over as a file descriptor to this process, which
is started inside the other network namespace. Run as: python proxy.py DESCRIPTOR [NAME=ADDRESS ...]
where NAME is a site's host name, which no name server out there knows.
"""

import select
import socket
import sys
import threading
import urllib.parse

PATIENCE = 60
LARGEST_HEAD = 65536


def request(head):
    """
    Return (host, port, head to send on) of a proxy request; a tunnel has nothing to send on.

    Raises ValueError for what is no proxy request.
    """
    first, _, rest = head.partition(b"\r\n")
    method, target, version = first.decode("latin-1").split(" ")
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        return host.strip("[]"), int(port), b""
    parts = urllib.parse.urlsplit(target)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{target!r} is no http:// address")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    kept = [line for line in rest.split(b"\r\n")
            if not line.lower().startswith((b"proxy-", b"connection:"))]
    # One request a connection: the next one may be for another host.
    kept.insert(0, b"Connection: close")
    return parts.hostname, parts.port or 80, b"\r\n".join(
        [f"{method} {path} {version}".encode("latin-1"), *kept])


def read_head(client):
    """Return (head without its empty line, what came behind it)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece or len(data) > LARGEST_HEAD:
            raise ValueError("no request")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def serve(client, names):
    """Answer one connection of the browser."""
    with client:
        client.settimeout(PATIENCE)
        try:
            head, body = read_head(client)
            host, port, onward = request(head)
        except (ValueError, OSError):
            _say(client, "400 Bad Request")
            return
        try:
            server = socket.create_connection((names.get(host, host), port), timeout=10)
        except OSError as error:
            _say(client, "502 Bad Gateway", f"{host}:{port}: {error}\n")
            return
        with server:
            if onward:
                server.sendall(onward + b"\r\n\r\n" + body)
            else:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            relay(client, server)


def relay(one, other):
    """Carry bytes both ways until the server is done or both are silent for long."""
    pairs = {one: other, other: one}
    while pairs:
        ready, _, _ = select.select(list(pairs), [], [], PATIENCE)
        if not ready:
            return
        for source in ready:
            try:
                data = source.recv(65536)
                if data:
                    pairs[source].sendall(data)
                    continue
            except OSError:
                return
            if source is other:
                return
            pairs.pop(source)


def _say(client, status, text=""):
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    try:
        client.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
    except OSError:
        pass


def main(descriptor, *pairs):
    """Accept until killed."""
    names = dict(pair.split("=", 1) for pair in pairs)
    listener = socket.socket(fileno=int(descriptor))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, names), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
