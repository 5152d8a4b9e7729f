"""
What `ipvsadm` prints and reads, as plain data, and the difference between two IPVS tables.

Pure functions. A table is a list of services, each `{protocol, service, scheduler, options,
servers}`, each server `{server, method, weight, options}`. `service` and `server` are
`ADDRESS:PORT` (a firewall mark: its number); `options` holds whatever else ipvsadm knows, by its
own switch, so that nothing an operator set is silently dropped.
"""

PROTOCOLS = {"-t": "tcp", "-u": "udp", "--sctp-service": "sctp", "-f": "fwm"}
METHODS = {"-m": "masquerade", "-g": "route", "-i": "tunnel"}
# Port of a service -> where poold serves the sorry page for it, on the balancer itself.
SORRY = {80: 8088, 443: 8443}
_SWITCH_OF = {name: switch for switch, name in (PROTOCOLS | METHODS).items()}
_COUNTERS = ("connections", "packets_in", "packets_out", "bytes_in", "bytes_out")


def declared(cluster, webs, own):
    """
    Return the table of a balancer: one service a port, every web VM and the sorry page behind each.

    webs: the web VMs; own: this balancer's internal address. A web VM's weight is its number of
    vCPUs, so that VMs of different size share fairly; the sorry page's is 0 while anybody serves.
    """
    table = []
    for port in cluster["balancer"]["ports"]:
        servers = [_real(vm["addresses"]["internal"], port, vm["size"]["vcpus"]) for vm in webs]
        if port in SORRY:
            servers.append(_real(own, SORRY[port], 0))
        service = f"{cluster['addresses']['public']}:{port}"
        table.append({
            "protocol": "tcp",
            "service": service,
            "scheduler": cluster["balancer"]["scheduler"],
            "options": {},
            "servers": servers,
        })  # fmt: skip
    return table


def _real(address, port, weight):
    server = f"{address}:{port}"
    return {"server": server, "method": "masquerade", "weight": weight, "options": {}}


def sorry(table, own):
    """Return {port of a service: ADDRESS:PORT of its sorry page} of a declared table."""
    return {
        service["service"].rpartition(":")[2]: server["server"]
        for service in table
        for server in service["servers"]
        if server["server"].rpartition(":")[0] == own
    }


def parse_rules(text):
    """Return the table of `ipvsadm -Sn`; raises ValueError naming a line not understood."""
    table = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        command, switches = _switches(line)
        protocol, service = _identity(switches, line)
        if command == "-A":
            entry = {"protocol": protocol, "service": service, "scheduler": switches.pop("-s", "")}
            table[protocol, service] = entry | {"options": switches, "servers": []}
        elif command == "-a" and (protocol, service) in table:
            table[protocol, service]["servers"].append(_server(switches, line))
        else:
            raise ValueError(f"ipvsadm rule not understood: {line!r}")
    return list(table.values())


def _switches(line):
    """Split a rule into its command and `{switch: value}`; a switch without value holds None."""
    words = line.split()
    switches, last = {}, None
    for word in words[1:]:
        if word.startswith("-"):
            last = word
            switches[last] = None
        elif last is None or switches[last] is not None:
            raise ValueError(f"ipvsadm rule not understood: {line!r}")
        else:
            switches[last] = word
    return words[0], switches


def _identity(switches, line):
    for switch, protocol in PROTOCOLS.items():
        if switch in switches:
            return protocol, switches.pop(switch)
    raise ValueError(f"ipvsadm rule names no service: {line!r}")


def _server(switches, line):
    methods = [name for switch, name in METHODS.items() if switches.pop(switch, "") is None]
    try:
        server, weight = switches.pop("-r"), int(switches.pop("-w"))
        (method,) = methods
    except (KeyError, ValueError) as err:
        raise ValueError(f"ipvsadm rule not understood: {line!r}") from err
    return {"server": server, "method": method, "weight": weight, "options": switches}


def service_rule(command, service):
    """Return the line that adds (`-A`), edits (`-E`) or deletes (`-D`) a service."""
    words = [command, _SWITCH_OF[service["protocol"]], service["service"]]
    if command != "-D":
        words += ["-s", service["scheduler"], *_words(service["options"])]
    return " ".join(words)


def server_rule(command, service, server):
    """Return the line that adds (`-a`), edits (`-e`) or deletes (`-d`) a real server."""
    words = [command, _SWITCH_OF[service["protocol"]], service["service"], "-r", server["server"]]
    if command != "-d":
        words += [_SWITCH_OF[server["method"]], "-w", str(server["weight"])]
        words += _words(server["options"])
    return " ".join(words)


def _words(options):
    return [word for pair in options.items() for word in pair if word is not None]


def rules(table):
    """Return the table as text that `ipvsadm -R` reads (no comments: it stops at the first)."""
    lines = []
    for service in table:
        lines.append(service_rule("-A", service))
        lines += [server_rule("-a", service, server) for server in service["servers"]]
    return "".join(f"{line}\n" for line in lines)


def plan(declared, current, last):
    """
    Return `{lines, changes}`: what makes the `current` table the `declared` one.

    `last` is the table declared last time (the boot file). A weight at run time belongs to whoever
    drained or weighed the server, so it is set only where the declared weight differs from the
    last declared one, and never where it is 0: a drained or failed server stays out.
    """
    now, before, wanted = _index(current), _index(last), _index(declared)
    lines, changes = [], {}
    for key in sorted(now.keys() - wanted.keys()):
        lines.append(service_rule("-D", now[key]))
        changes["/".join(key)] = {"old": rules([now[key]]), "new": None}
    for key, service in wanted.items():
        if key in now:
            more, settled = _settle(service, now[key], before.get(key))
        else:
            more, settled = rules([service]).splitlines(), service
        if more:
            old = rules([now[key]]) if key in now else None
            changes["/".join(key)] = {"old": old, "new": rules([settled])}
        lines += more
    return {"lines": lines, "changes": changes}


def _index(table):
    return {(service["protocol"], service["service"]): service for service in table}


def _settle(service, now, last):
    """Return the lines for one service that exists, and the service as it will be."""
    lines = []
    if any(service[key] != now[key] for key in ("scheduler", "options")):
        lines.append(service_rule("-E", service))
    servers = {server["server"]: server for server in now["servers"]}
    weights = {server["server"]: server["weight"] for server in (last or {}).get("servers", [])}
    settled = []
    for server in service["servers"]:
        running = servers.pop(server["server"], None)
        if running:
            server = server | {"weight": _weight(server, running, weights)}
        if server != running:
            lines.append(server_rule("-e" if running else "-a", service, server))
        settled.append(server)
    lines += [server_rule("-d", service, server) for server in servers.values()]
    return lines, service | {"servers": settled}


def _weight(server, running, last):
    declared, now = server["weight"], running["weight"]
    redeclared = declared != last.get(server["server"], declared)
    return declared if redeclared and now != 0 else now


def parse_counters(text):
    """Return services and servers with counters: `-Ln --exact` with `--stats` or `--rate`."""
    found = []
    for line in text.splitlines()[3:]:
        words = line.split()
        target = found[-1]["servers"] if words[0] == "->" else found
        try:
            counters = dict(zip(_COUNTERS, map(int, words[2:]), strict=True))
        except ValueError as err:
            raise ValueError(f"ipvsadm counters not understood: {line!r}") from err
        if words[0] == "->":
            target.append({"server": words[1], **counters})
        else:
            head = {"protocol": words[0].lower(), "service": words[1]}
            target.append({**head, **counters, "servers": []})
    return found


def parse_connections(text):
    """Return the connection entries of `ipvsadm -Lcn`; `expires` in seconds."""
    found = []
    for line in text.splitlines()[2:]:
        try:
            protocol, expires, state, source, virtual, destination = line.split()[:6]
            minutes, seconds = map(int, expires.split(":"))
        except ValueError as err:
            raise ValueError(f"ipvsadm connection not understood: {line!r}") from err
        found.append(
            {
                "protocol": protocol.lower(),
                "expires": minutes * 60 + seconds,
                "state": state,
                "source": source,
                "service": virtual,
                "server": destination,
            }
        )
    return found


def parse_daemons(text):
    """Return the sync daemons of `ipvsadm -L --daemon`: `{master|backup: {interface, sync_id}}`."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        role, _, settings = line.partition(" sync daemon ")
        pairs = dict(pair.split("=", 1) for pair in settings.strip("()").split(", ") if "=" in pair)
        if role not in ("master", "backup") or not {"mcast", "syncid"} <= pairs.keys():
            raise ValueError(f"ipvsadm daemon line not understood: {line!r}")
        found[role] = {"interface": pairs["mcast"], "sync_id": int(pairs["syncid"])}
    return found


def protocols():
    """Return the protocols a service may have."""
    return list(PROTOCOLS.values())


def methods():
    """Return the ways a real server may be reached."""
    return list(METHODS.values())
