"""
Ask etcd over its JSON gateway (HTTPS, client certificate), and understand what it answers.

One call goes to the members one after the other until one answers or its time is over. All that
is sent this way may be sent twice: reads, compare-and-swap, and membership changes that are
looked up again first.
"""

import base64
import http.client
import json
import ssl
import time

from salt.exceptions import CommandExecutionError

CLIENT_PORT = 2379
PEER_PORT = 2380
# Seconds. Connecting to a VM that lost its power is noticed after CONNECT; too short errs towards
# asking the next member first, and every round doubles it. ATTEMPT covers the election of a new
# leader (1-2 s), during which a member keeps the question and then answers it.
CONNECT = 0.3
ATTEMPT = 2.5
PAUSE = 0.1
# gRPC codes that another member, or the same one later, may not give again.
PASSING = (4, 8, 14)  # deadline exceeded, resource exhausted, unavailable (no leader)


class Failed(Exception):
    """A member answered, but not with a result: not running properly, or no quorum."""


def call(members, tls, path, body, timeout):
    """
    Return etcd's answer (a dict) to ``body`` posted at ``path``, asking ``members`` (a list of
    ``{name, address}``) in their order, for ``timeout`` seconds at most.

    Raises CommandExecutionError naming what every member said.
    """
    ends = time.monotonic() + timeout
    said = {member["name"]: "not asked" for member in members}
    patience = CONNECT
    while True:
        for asked, member in enumerate(members):
            left = ends - time.monotonic()
            if left <= 0:
                break
            try:
                share = min(ATTEMPT, left / (len(members) - asked))
                limits = (min(patience, share), share)
                return _post(member, context(tls), path, body, limits)
            except (OSError, http.client.HTTPException, ValueError, Failed) as error:
                said[member["name"]] = str(error) or type(error).__name__
        if time.monotonic() + PAUSE >= ends:
            what = "; ".join(f"{name}: {text}" for name, text in said.items())
            raise CommandExecutionError(f"no arbiter answered within {timeout} s ({what})")
        patience *= 2
        time.sleep(PAUSE)


def members_seen_by(member, tls, timeout=2):
    """
    Ask one member's peer port which members it knows; it answers without quorum, too.

    Return their list, "down" if its VM answers but etcd does not run, None if it is silent.
    """
    try:
        connection = _connect(member, PEER_PORT, context(tls), timeout)
        with connection:
            return json.loads(_exchange(connection, "GET", "/members", None))
    except ConnectionRefusedError:
        return "down"
    except (OSError, http.client.HTTPException, ValueError, Failed):
        return None


def context(tls):
    """Return a TLS context for ``{ca, certificate, key}``: paths, read anew as they may rotate."""
    try:
        made = ssl.create_default_context(cafile=tls["ca"])
        made.load_cert_chain(tls["certificate"], tls["key"])
    except OSError as error:
        raise CommandExecutionError(f"no certificate to ask the arbiter with: {error}") from error
    return made


class _Connection(http.client.HTTPSConnection):
    """HTTPS with one limit for connecting and another for everything after."""

    def __init__(self, address, port, tls, limits):
        super().__init__(address, port, timeout=limits[0], context=tls)
        self._limits = limits

    def connect(self):
        try:
            http.client.HTTPConnection.connect(self)
        except TimeoutError as error:
            raise Failed("unreachable") from error
        self.sock.settimeout(self._limits[1])
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _connect(member, port, tls, limit, after=None):
    return _Connection(member["address"], port, tls, (limit, after or limit))


def _post(member, tls, path, body, limits):
    with _connect(member, CLIENT_PORT, tls, *limits) as connection:
        return json.loads(_exchange(connection, "POST", path, json.dumps(body)))


def _exchange(connection, method, path, body):
    """Return the answer's text; raise Failed for what may pass, CommandExecutionError otherwise."""
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    except TimeoutError as error:
        raise Failed("runs, but does not answer (no quorum?)") from error
    if response.status == 200:
        return text
    code, message = refusal(text)
    if code in PASSING or response.status >= 500:
        raise Failed(message)
    raise CommandExecutionError(f"the arbiter refused {path}: {message} (HTTP {response.status})")


def refusal(text):
    """Return ``(gRPC code or None, message)`` of an answer that is no result."""
    try:
        answer = json.loads(text)
        return answer["code"], answer["message"]
    except (ValueError, KeyError, TypeError):
        return None, text.strip()[:200]


def encode(text):
    """Return ``text`` as the gateway wants keys and values."""
    return base64.b64encode(text.encode()).decode()


def range_request(key):
    """Return the body that reads ``key`` (linearizable: never an outdated value)."""
    return {"key": encode(key)}


def put_if(key, value, revision):
    """Return the body that writes ``key`` if its revision still is ``revision`` (0: absent)."""
    compare = {"key": encode(key), "target": "MOD", "result": "EQUAL"}
    return {
        "compare": [{**compare, "mod_revision": str(revision)}],
        "success": [{"request_put": {"key": encode(key), "value": encode(value)}}],
        "failure": [{"request_range": range_request(key)}],
    }


def found(answer):
    """Return ``(value, revision)`` of an answer to `range_request`; (None, 0) if absent."""
    if "header" not in answer:
        raise CommandExecutionError(f"not an answer of etcd: {str(answer)[:200]}")
    pairs = answer.get("kvs", [])
    if not pairs:
        return None, 0
    value = base64.b64decode(pairs[0]["value"]).decode()
    return value, int(pairs[0]["mod_revision"])


def written(answer):
    """Return ``(True, None)`` if `put_if` wrote, else ``(False, the answer to a range)``."""
    if "header" not in answer:
        raise CommandExecutionError(f"not an answer of etcd: {str(answer)[:200]}")
    if answer.get("succeeded", False):  # the gateway leaves out what is false
        return True, None
    return False, {"header": answer["header"], **answer["responses"][0]["response_range"]}


def enrolment(peer_url, views):
    """
    Return how a member without data comes in, as ``(step, reason)``.

    views: name of each other member -> what `members_seen_by` said. Steps: "new" (all found the
    cluster together), "join" (the others have to add it), "rejoin" (they know an earlier
    incarnation, which voted and then lost its memory: remove it, add it), "wait".
    """
    lists = {name: view for name, view in views.items() if isinstance(view, list)}
    silent = sorted(name for name, view in views.items() if view is None)
    entries = {
        name: next((one for one in view if peer_url in one["peerURLs"]), None)
        for name, view in lists.items()
    }
    for name, entry in entries.items():
        if entry and entry.get("clientURLs"):
            return "rejoin", f"{name} knows an earlier member at {peer_url}"
    for name, entry in entries.items():
        if entry is None:
            return "join", f"{name} runs a cluster without {peer_url}"
        if not entry.get("name"):
            return "existing", f"{name} has {peer_url} added already"
    if entries:
        return "new", f"{next(iter(entries))} founds a cluster with {peer_url} in it"
    if silent:
        return "wait", f"awaiting {', '.join(silent)}: founding needs to see every member"
    return "new", "no other member has a cluster yet"
