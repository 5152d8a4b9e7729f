"""
What no schema can express: pairs over servers, votes, times, ports, the site's own address.

``errors`` takes the cluster as ``schema.validate`` leaves it: every value that is there has the
right form, and anything may be missing. Each rule is a generator of (path, message); a message
says what is wrong and what would be right. Addresses: ``_utils/addressing.py``; secrets:
``_utils/secret.py``.
"""

import ipaddress
from urllib.parse import urlsplit

ROLES = {"balancer": 2, "web": 2, "file": 2, "database": 2}
EXACTLY = ("file", "database")
# What a VM of the role needs with an idle service; below it comes the OOM killer.
MEMORY_MB = {"balancer": 384, "web": 256, "file": 192, "database": 384, "witness": 160}
FILE_PORTS = {22: "ssh", 111: "rpcbind", 2049: "NFS"}
SITE_PORTS = {"http": 80, "https": 443}  # salt/web/files/moodle.conf
UDP_PORTS = {53: "DNS", 68: "DHCP", 111: "rpcbind", 123: "NTP", 323: "chrony", 8848: "IPVS sync"}
RESERVED_NAMES = ("localhost", "gateway", "files", "database")
RESERVED_USERS = ("root", "mysql", "mariadb", "replication", "debian_sys_maint")
RESERVED_SCHEMAS = ("mysql", "sys", "information_schema", "performance_schema")


def errors(cluster):
    """Return every error the cross-checks find, as ``[{"path", "message"}]``."""
    rules = (
        _names, _roles, _servers, _sizes, _heartbeat, _arbiter, _fencing, _ports, _database, _url,
        _source,
    )  # fmt: skip
    found = [error for rule in rules for error in rule(cluster)]
    return [{"path": path, "message": message} for path, message in found]


def _vms(cluster, *roles):
    """Return name -> entry of the VMs that have a role (one of ``roles``)."""
    return {
        name: vm
        for name, vm in (cluster.get("vms") or {}).items()
        if "role" in vm and (not roles or vm["role"] in roles)
    }


def _names(cluster):
    for kind in ("vms", "servers"):
        for name in cluster.get(kind) or {}:
            if kind == "vms" and name in RESERVED_NAMES:
                yield (
                    f"cluster.vms.{name}",
                    f"{name!r} is the name of a floating address or of the machine itself "
                    "in /etc/hosts; name the VM otherwise",
                )


def _roles(cluster):
    if "vms" not in cluster:
        return
    for role, least in ROLES.items():
        names = list(_vms(cluster, role))
        listed = f" ({', '.join(names)})" if names else ""
        if role in EXACTLY and len(names) != least:
            yield (
                "cluster.vms",
                f"the role {role} has {len(names)} VMs{listed}; "
                f"it needs exactly {least}, one on each of two servers",
            )
        elif len(names) < least:
            yield (
                "cluster.vms",
                f"the role {role} has {len(names)} VMs{listed}; "
                f"it needs at least {least}, on two servers",
            )
        servers = {vm.get("server") for vm in _vms(cluster, role).values()}
        if len(names) >= least and len(servers) == 1 and None not in servers:
            yield (
                f"cluster.vms.{names[-1]}.server",
                f"every {role} VM ({', '.join(names)}) is on {servers.pop()}, "
                "losing it would lose the role; put one on another server",
            )


def _servers(cluster):
    known = cluster.get("servers")
    for name, vm in _vms(cluster).items():
        path = f"cluster.vms.{name}.server"
        if "server" not in vm and vm["role"] != "witness":
            yield path, "is missing; name the server it runs on"
        elif known is not None and "server" in vm and vm["server"] not in known:
            yield path, f"there is no server {vm['server']!r}; known: {', '.join(known)}"


def _megabytes(size):
    return int(size[:-1]) * 1024 ** ("KMGT".index(size[-1]) + 1) // 2**20


def _sizes(cluster):
    sizes = cluster.get("sizes")
    if sizes is None:
        return
    checked = [(f"cluster.sizes.{role}", role, size) for role, size in sizes.items()]
    for name, vm in _vms(cluster).items():
        checked.append((f"cluster.vms.{name}.size", vm["role"], vm.get("size", {})))
    for path, role, size in checked:
        least = MEMORY_MB[role]
        if "memory" in size and _megabytes(size["memory"]) < least:
            yield (
                f"{path}.memory",
                f"{size['memory']} is too small for the role {role}; give it at least {least}M",
            )
    for role in sorted({vm["role"] for vm in _vms(cluster).values()} - set(sizes)):
        yield f"cluster.sizes.{role}", f"is missing; there are VMs of the role {role}"


def _heartbeat(cluster):
    beat = cluster.get("heartbeat", {})
    keepalive, warntime = beat.get("keepalive"), beat.get("warntime")
    deadtime, initdead = beat.get("deadtime"), beat.get("initdead")
    path = "cluster.heartbeat"
    if keepalive and deadtime and deadtime <= 2 * keepalive:
        yield (
            f"{path}.deadtime",
            f"{deadtime} is not above twice keepalive ({keepalive}), "
            f"one lost packet would look like a death; give more than {2 * keepalive}",
        )
    if warntime and keepalive and warntime <= keepalive:
        yield (
            f"{path}.warntime",
            f"{warntime} is not above keepalive ({keepalive}), "
            "every heartbeat would be late; give a value between keepalive and deadtime",
        )
    if warntime and deadtime and warntime >= deadtime:
        yield (
            f"{path}.warntime",
            f"{warntime} is not below deadtime ({deadtime}), "
            "no warning would precede a loss; give a value between keepalive and deadtime",
        )
    if initdead and deadtime and initdead < 2 * deadtime:
        yield (
            f"{path}.initdead",
            f"{initdead} is less than twice deadtime ({deadtime}), "
            f"a booting network would look like a death; give at least {2 * deadtime}",
        )
    for index, link in enumerate(beat.get("links", [])):
        if link and "networks" in cluster and link not in cluster["networks"]:
            known = ", ".join(cluster["networks"])
            yield f"{path}.links.{index}", f"there is no network {link!r}; known: {known}"


def _arbiter(cluster):
    driver = cluster.get("arbiter", {}).get("driver")
    members = [name for name in cluster.get("arbiter", {}).get("members", []) if name]
    path = "cluster.arbiter.members"
    if driver in ("fencing", "operator"):
        if members:
            yield path, f"the driver {driver} has no members; write members: []"
        return
    if driver != "etcd" or "vms" not in cluster:
        return
    vms = _vms(cluster)
    for index, name in enumerate(members):
        if name not in cluster["vms"]:
            known = ", ".join(_vms(cluster, "balancer", "witness"))
            yield f"{path}.{index}", f"there is no VM {name!r}; members can be: {known}"
        elif name in vms and vms[name]["role"] not in ("balancer", "witness"):
            yield (
                f"{path}.{index}",
                f"{name} is a {vms[name]['role']} VM; a member is a balancer or a witness",
            )
    if len(members) < 3 or len(members) % 2 == 0:
        yield (
            path,
            f"etcd has {len(members)} members; it needs an odd number, at least 3, "
            "as the two balancers and a witness",
        )
        return
    yield from _majority(path, members, vms)


def _fencing(cluster):
    path, config = "cluster.fencing", cluster.get("fencing")
    if cluster.get("arbiter", {}).get("driver") != "fencing":
        if config is not None:
            yield path, "is of use with arbiter.driver fencing only; take it away, or change that"
        return
    if config is None:
        yield path, "is missing; the driver fencing needs to know the power switches"
        return
    yield from _switches(path, cluster, config)
    for name in sorted({vm.get("server") for vm in _vms(cluster).values()} - {None}):
        if not config.get("servers", {}).get(name):
            yield (
                f"{path}.servers.{name}",
                "is missing; a server that dies takes the switches of its VMs with it, and "
                "nothing could take over",
            )


def _switches(path, cluster, config):
    devices, used = config.get("devices", {}), set()
    for kind in ("vms", "servers"):
        known = cluster.get(kind) or {}
        for name, methods in config.get(kind, {}).items():
            if name not in known:
                yield f"{path}.{kind}.{name}", f"is not in cluster.{kind}: {', '.join(known)}"
            for index, method in enumerate(methods):
                used.add(method.get("device"))
                if method.get("device") not in devices:
                    yield (
                        f"{path}.{kind}.{name}.{index}.device",
                        f"there is no device {method.get('device')!r}; "
                        f"known: {', '.join(devices) or 'none'}",
                    )
    for name in sorted(set(devices) - used):
        yield f"{path}.devices.{name}", "is used by no VM and no server; take it away"


def _majority(path, members, vms):
    needed = len(members) // 2 + 1
    servers = {name: vms.get(name, {}).get("server") for name in members}
    for server in sorted({server for server in servers.values() if server}):
        dead = [name for name in members if servers[name] == server]
        left = len(members) - len(dead)
        if left < needed:
            yield (
                path,
                f"losing {server} would take {' and '.join(dead)}, {left} of {len(members)} "
                f"members would be left and {needed} are needed; "
                "put a witness outside both servers",
            )


def _ports(cluster):
    for index, port in enumerate(cluster.get("balancer", {}).get("ports", [])):
        if port and port not in SITE_PORTS.values():
            yield (
                f"cluster.balancer.ports.{index}",
                f"{port} is not served by the web VMs; give 80 for http, 443 for https",
            )
    port = cluster.get("files", {}).get("port")
    if port in FILE_PORTS:
        yield (
            "cluster.files.port",
            f"{port} is {FILE_PORTS[port]}'s on the file VMs; give another, like 7788",
        )
    port = cluster.get("heartbeat", {}).get("port")
    if port in UDP_PORTS:
        yield "cluster.heartbeat.port", f"{port} is {UDP_PORTS[port]}'s; give another, like 694"


def _database(cluster):
    database = cluster.get("database", {})
    if database.get("user") in RESERVED_USERS:
        yield "cluster.database.user", f"{database['user']!r} has other uses; give Moodle its own"
    if database.get("name") in RESERVED_SCHEMAS:
        yield "cluster.database.name", f"{database['name']!r} is the server's own; give another"


def _url(cluster):
    url = cluster.get("moodle", {}).get("url")
    if not url:
        return
    path, public = "cluster.moodle.url", cluster.get("addresses", {}).get("public")
    try:
        host, port = urlsplit(url).hostname or "", urlsplit(url).port
    except ValueError as error:
        yield path, f"{url!r} is no URL ({error}); write one like http://{public}"
        return
    if _is_ip(host):
        if public and host != public:
            yield path, f"{host} is not cluster.addresses.public; write {public} or a name for it"
    elif not all(label and label.strip("-") == label for label in host.split(".")):
        yield path, f"{host!r} is no host name; write a name for {public}"
    scheme, ports = urlsplit(url).scheme, cluster.get("balancer", {}).get("ports", [])
    own = SITE_PORTS[scheme]
    if port not in (None, own):
        yield path, f"the web VMs serve {scheme} on port {own}, not {port}; write no port"
    elif ports and own not in ports:
        listed = ", ".join(str(one) for one in ports)
        yield path, f"port {own} is not served; cluster.balancer.ports are {listed}"
    elif scheme == "http" and SITE_PORTS["https"] in ports:
        yield path, "is http, so nothing answers on port 443 of cluster.balancer.ports; write https"


def _is_ip(host):
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _source(cluster):
    source = cluster.get("moodle", {}).get("source")
    if source is None:
        return
    path, forms = "cluster.moodle.source", ("directory", "archive", "git")
    given = [form for form in forms if form in source]
    if len(given) != 1:
        listed = " and ".join(given) or "nothing"
        yield path, f"has {listed}; give exactly one of {', '.join(forms)} (null removes one)"
        return
    location = source[given[0]] or ""
    if given[0] != "directory" and _has_credentials(location):
        yield (
            f"{path}.{given[0]}",
            "holds a user name or password, which every log and process list would show; "
            "write the URL without, and give the masters access otherwise",
        )
    url = source.get("archive", "").startswith("http")
    if url and "checksum" not in source:
        yield f"{path}.checksum", "is missing; an archive from a URL needs one, sha256=..."
    if "checksum" in source and "archive" not in source:
        yield f"{path}.checksum", "belongs to an archive; take it away"
    if "git" in source and "revision" not in source:
        yield f"{path}.revision", "is missing; git needs a tag or commit"
    if "revision" in source and "git" not in source:
        yield f"{path}.revision", "belongs to git; take it away"


def _has_credentials(url):
    """ssh needs a user name, and no password comes with it; elsewhere it may be a token."""
    scheme, found, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(found and at) and (scheme != "ssh" or ":" in user)
