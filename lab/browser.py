"""A browser of the outside client: a connection, cookies, and what a record of it is."""

import hashlib
import http.client
import time
import urllib.parse

FORM = "application/x-www-form-urlencoded"
# An answer that takes longer counts as failed: a student would have reloaded the page.
PATIENCE = 15
# Apache closes an idle connection after 5 s (KeepAliveTimeout); a browser opens a new one as well.
IDLE = 3


class Refused(Exception):
    """The site answered, but not with an acknowledgement."""


class Browser:
    """A connection kept alive, and the cookies."""

    def __init__(self, url, patience=PATIENCE):
        parts = urllib.parse.urlsplit(url)
        self._make = lambda: http.client.HTTPConnection(parts.netloc, timeout=patience)
        self._base = parts.path.rstrip("/")
        self._connection, self._cookies, self._used = None, {}, 0

    def fetch(self, method, path, body=None, kind=FORM, accept="text/html"):
        """Return (status, headers, content); raises OSError or HTTPException."""
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = kind
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{n}={value}" for n, value in self._cookies.items())
        if time.monotonic() - self._used > IDLE:
            self.close()
        self._connection = self._connection or self._make()
        try:
            self._connection.request(method, self._base + path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        self._used = time.monotonic()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.split(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, answer.headers, content

    def close(self):
        """Forget the connection, not the session."""
        if self._connection:
            self._connection.close()
        self._connection = None


def digest(content):
    """Return the SHA-256 of ``content`` in hex."""
    return hashlib.sha256(content).hexdigest()


def record(kind, client, number, sha256):
    """Return the identity and content of one record."""
    return {"kind": kind, "client": client, "number": number, "sha256": sha256}


def multipart(fields, name, content, field="file"):
    """Return the body and content type of a form with ``fields`` and one file."""
    boundary = "x" + digest(content)[:40]
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
