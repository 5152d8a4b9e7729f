"""
Global transaction identifiers of MySQL and MariaDB, as pure functions over their text.

MySQL names *sets*, ``UUID[:TAG]:1-5:9,UUID2:1``. MariaDB names the *last* transaction per domain
and server, ``0-1-17,0-2-12``: everything up to it is meant. ``mariadb`` in a name below takes the
second form; the server's own functions (GTID_SUBTRACT) exist in MySQL only, and only while the
server answers.
"""

import re

_MYSQL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MYSQL_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"([1-9][0-9]*)(?:-([1-9][0-9]*))?")


def mysql_intervals(text):
    """Return ``{"uuid" or "uuid:tag": [[first, last], ...]}``; raises ValueError with the text."""
    sets = {}
    for part in filter(None, re.sub(r"\s", "", text).lower().split(",")):
        uuid, *fields = part.split(":")
        if not _MYSQL_UUID.fullmatch(uuid) or not fields:
            raise ValueError(f"{part!r} is no MySQL GTID set")
        name = uuid
        for field in fields:
            if _MYSQL_TAG.fullmatch(field):
                name = f"{uuid}:{field}"
                continue
            match = _INTERVAL.fullmatch(field)
            if not match:
                raise ValueError(f"{field!r} in {part!r} is no interval of a MySQL GTID set")
            first, last = int(match[1]), int(match[2] or match[1])
            sets.setdefault(name, []).append([first, last])
    return {name: _merged(intervals) for name, intervals in sets.items()}


def _merged(intervals):
    merged = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        elif first <= last:
            merged.append([first, last])
    return merged


def mysql_subtract(ours, theirs):
    """Return as text what the set ``ours`` has and ``theirs`` has not, '' if nothing."""
    known = mysql_intervals(theirs)
    left = []
    for name, intervals in sorted(mysql_intervals(ours).items()):
        rest = [piece for one in intervals for piece in _without(one, known.get(name, []))]
        if rest:
            texts = [str(a) if a == b else f"{a}-{b}" for a, b in rest]
            left.append(":".join([name, *texts]))
    return ",".join(left)


def _without(interval, holes):
    first, last = interval
    for hole_first, hole_last in holes:
        if first < hole_first:
            yield [first, min(last, hole_first - 1)]
        first = max(first, hole_last + 1)
        if first > last:
            return
    yield [first, last]


def mariadb_positions(text):
    """Return ``{"domain-server": sequence}`` of a position or state; raises ValueError."""
    positions = {}
    for part in filter(None, re.sub(r"\s", "", text).split(",")):
        if not re.fullmatch(r"[0-9]+-[0-9]+-[0-9]+", part):
            raise ValueError(f"{part!r} is no MariaDB GTID")
        domain, server, sequence = part.split("-")
        key = f"{domain}-{server}"
        positions[key] = max(positions.get(key, 0), int(sequence))
    return positions


def mariadb_subtract(ours, theirs):
    """
    Return the last GTID of each domain and server that ``ours`` is ahead of ``theirs``, '' if none.

    Both are the server's whole state (@@gtid_binlog_state with @@gtid_slave_pos). Compared per
    *server* of origin, not per domain: after a failover the new primary's sequence numbers run on,
    and would hide what the old one wrote alone.
    """
    known = mariadb_positions(theirs)
    ahead = [
        f"{origin}-{sequence}"
        for origin, sequence in sorted(mariadb_positions(ours).items())
        if sequence > known.get(origin, 0)
    ]
    return ",".join(ahead)


def mariadb_behind(applied, received):
    """Return the GTIDs of ``received`` whose domain ``applied`` has not reached, '' if none."""
    reached = _domains(applied)
    return ",".join(
        f"{domain}:{sequence}"
        for domain, sequence in sorted(_domains(received).items())
        if sequence > reached.get(domain, 0)
    )


def mariadb_until(state, position):
    """
    Return the binary log's ``state`` of another server as it was at ``position``.

    The binary log is ahead of the tables by the commits that wait for their acknowledgement.
    """
    reached = _domains(position)
    capped = []
    for origin, sequence in mariadb_positions(state).items():
        limit = reached.get(origin.split("-")[0], 0)
        if limit:
            capped.append(f"{origin}-{min(sequence, limit)}")
    return ",".join(capped)


def mariadb_range(errant, theirs):
    """
    Return the options of mariadb-binlog for what ``errant`` names and a server at ``theirs`` lacks.
    """
    known = mariadb_positions(theirs)
    origins = list(mariadb_positions(errant))
    options = ["--do-server-ids=" + ",".join(sorted({one.split("-")[1] for one in origins}))]
    domains = [one.split("-")[0] for one in origins]
    starts = [f"{one}-{known[one]}" for one in origins if one in known]
    # A start needs one position per domain; without, more is read, and nothing is missed.
    if len(starts) == len(origins) == len(set(domains)):
        options.append("--start-position=" + ",".join(starts))
    return options


def _domains(text):
    domains = {}
    for origin, sequence in mariadb_positions(text).items():
        domain = origin.split("-")[0]
        domains[domain] = max(domains.get(domain, 0), sequence)
    return domains


def mysql_behind(applied, received):
    """Return what of the set ``received`` is not in ``applied``, '' if all of it is."""
    return mysql_subtract(received, applied)


def mysql_missing(wanted, executed, received):
    """Return what of the set ``wanted`` is neither executed nor received, '' if nothing."""
    return mysql_subtract(wanted, f"{executed},{received}")


def mariadb_missing(wanted, executed, received):
    """Return the GTIDs of ``wanted`` whose domain is neither executed nor received so far."""
    return mariadb_behind(f"{executed},{received}", wanted)
