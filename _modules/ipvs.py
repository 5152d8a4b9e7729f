"""
The kernel's load balancer (IP Virtual Server) through `ipvsadm`.

Services and real servers are named `ADDRESS:PORT` (a firewall mark by its number), protocols
`tcp`, `udp`, `sctp`, `fwm`. Weight 0 drains a real server: its connections go on, no new ones
come. What is declared lies in the boot file, which `cluster-ipvs.service` restores at boot; what
runs may differ from it by weights, and only by weights.

Every function raises CommandExecutionError, naming command and stderr, when ipvsadm fails.
"""

import subprocess
from pathlib import Path

import salt.utils.atomicfile
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

BOOT_FILE = "/etc/ipvsadm.rules"
ROLES = ("master", "backup")


def __virtual__():
    if salt.utils.path.which("ipvsadm"):
        return "ipvs"
    return False, "ipvsadm is not installed"


def _run(*args, stdin=""):
    """Return what ipvsadm prints; anything on stderr is a failure, see apply()."""
    command = ["ipvsadm", *args]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err
    if done.returncode or done.stderr:
        told = f" <<< {stdin!r}" if stdin else ""
        raise CommandExecutionError(f"{' '.join(command)}{told}: {done.stderr.strip()}")
    return done.stdout


def _parsed(function, text):
    try:
        return __utils__[f"ipvs.{function}"](text)
    except ValueError as err:
        raise CommandExecutionError(str(err)) from err


def services():
    """
    Return the table: services with scheduler, options and real servers with method and weight.

    CLI Example::

        salt lb1 ipvs.services
    """
    return _parsed("parse_rules", _run("-Sn"))


def declared():
    """
    Return the table that the pillar declares: every web VM behind each port, and the sorry page.

    CLI Example::

        salt lb1 ipvs.declared
    """
    cluster = __pillar__["cluster"]
    own = __utils__["topology.internal"](cluster, __grains__["id"])
    webs = __utils__["topology.vms"](cluster, "web")
    return __utils__["ipvs.declared"](cluster, webs, own)


def apply(rules):
    """
    Run a list of ipvsadm rules in one process.

    `ipvsadm -R` goes on after a line that failed and exits with the last line's code, so what it
    says on stderr counts, not its exit code. Raises CommandExecutionError if any line failed; the
    other lines have been run.

    CLI Example::

        salt lb1 ipvs.apply '["-D -t 203.0.113.10:8080"]'
    """
    if rules:
        _run("-R", stdin="".join(f"{rule}\n" for rule in rules))


def _service(service, protocol, **more):
    if protocol not in __utils__["ipvs.protocols"]():
        raise SaltInvocationError(f"protocol must be tcp, udp, sctp or fwm, not {protocol!r}")
    _endpoint(service, mark=protocol == "fwm")
    return {"service": service, "protocol": protocol, **more}


def _endpoint(text, mark=False):
    address, _, port = str(text).rpartition(":")
    if not (port.isdigit() and (address or mark)):
        raise SaltInvocationError(f"{text!r} is not ADDRESS:PORT")


def add_service(service, scheduler="wlc", protocol="tcp"):
    """
    Add a virtual service without real servers.

    CLI Example::

        salt lb1 ipvs.add_service 203.0.113.10:80 scheduler=wlc
    """
    entry = _service(service, protocol, scheduler=scheduler, options={})
    apply([__utils__["ipvs.service_rule"]("-A", entry)])


def delete_service(service, protocol="tcp"):
    """
    Delete a virtual service with its real servers; its connections end.

    CLI Example::

        salt lb1 ipvs.delete_service 203.0.113.10:80
    """
    apply([__utils__["ipvs.service_rule"]("-D", _service(service, protocol))])


def add_server(service, server, weight=1, method="masquerade", protocol="tcp"):
    """
    Add a real server to a service; method is masquerade (NAT), route or tunnel.

    CLI Example::

        salt lb1 ipvs.add_server 203.0.113.10:80 192.168.10.11:80 weight=2
    """
    _edit("-a", service, server, protocol, weight=weight, method=method)


def delete_server(service, server, protocol="tcp"):
    """
    Delete a real server from a service; its connections end (drain first to spare them).

    CLI Example::

        salt lb1 ipvs.delete_server 203.0.113.10:80 192.168.10.11:80
    """
    _edit("-d", service, server, protocol)


def _edit(command, service, server, protocol, weight=0, method="masquerade"):
    _endpoint(server)
    if method not in __utils__["ipvs.methods"]():
        raise SaltInvocationError(f"method must be masquerade, route or tunnel, not {method!r}")
    if not isinstance(weight, int) or not 0 <= weight <= 65535:
        raise SaltInvocationError(f"weight must be a number from 0 to 65535, not {weight!r}")
    entry = {"server": server, "method": method, "weight": weight, "options": {}}
    apply([__utils__["ipvs.server_rule"](command, _service(service, protocol), entry)])


def set_weight(service, server, weight, protocol="tcp"):
    """
    Set a real server's weight at run time (0 to 65535); the boot file keeps the declared one.

    poold leaves any weight of a web VM alone but the step from and to 0.

    CLI Example::

        salt lb1 ipvs.set_weight 203.0.113.10:80 192.168.10.11:80 3
    """
    now = _find(services(), service, server, protocol)
    if now is None:
        raise SaltInvocationError(f"{server} is no real server of {protocol} {service}")
    _edit("-e", service, server, protocol, weight=weight, method=now["method"])


def _find(table, service, server, protocol):
    for entry in table:
        if (entry["protocol"], entry["service"]) == (protocol, service):
            return next((s for s in entry["servers"] if s["server"] == server), None)
    return None


def drain(service, server, protocol="tcp"):
    """
    Let a real server finish what it has and give it nothing new; undo it with undrain.

    For services of your own. poold decides on the web VMs and would undo it: see pool.drain.

    CLI Example::

        salt lb1 ipvs.drain 203.0.113.10:80 192.168.10.11:80
    """
    set_weight(service, server, 0, protocol)


def undrain(service, server, protocol="tcp"):
    """
    Give a drained real server its declared weight back (1 if the boot file does not know it).

    CLI Example::

        salt lb1 ipvs.undrain 203.0.113.10:80 192.168.10.11:80
    """
    known = _find(saved() or [], service, server, protocol)
    set_weight(service, server, known["weight"] if known else 1, protocol)


def statistics(rate=False):
    """
    Return connections, packets and bytes by service and real server: totals, or a second.

    CLI Example::

        salt lb1 ipvs.statistics rate=True
    """
    return _parsed("parse_counters", _run("-Ln", "--rate" if rate else "--stats", "--exact"))


def connections():
    """
    Return the connection entries: state, source, service, server, expires (seconds).

    CLI Example::

        salt lb1 ipvs.connections
    """
    return _parsed("parse_connections", _run("-Lcn"))


def daemons():
    """
    Return the running connection-sync daemons: {master|backup: {interface, sync_id}}.

    CLI Example::

        salt lb1 ipvs.daemons
    """
    return _parsed("parse_daemons", _run("-L", "--daemon"))


def start_daemon(role, interface, sync_id):
    """
    Start a connection-sync daemon: role master sends, backup receives; sync_id 1 to 255.

    CLI Example::

        salt lb1 ipvs.start_daemon backup eth1 51
    """
    _role(role)
    _run("--start-daemon", role, "--mcast-interface", interface, "--syncid", str(sync_id))


def stop_daemon(role):
    """
    Stop a connection-sync daemon (master or backup).

    CLI Example::

        salt lb1 ipvs.stop_daemon backup
    """
    _role(role)
    _run("--stop-daemon", role)


def _role(role):
    if role not in ROLES:
        raise SaltInvocationError(f"role must be master or backup, not {role!r}")


def saved(path=None):
    """
    Return the table of the boot file (or another), None if there is no such file.

    CLI Example::

        salt lb1 ipvs.saved
    """
    try:
        text = Path(path or BOOT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return _parsed("parse_rules", "\n".join(lines))


def save(table, path=None):
    """
    Write a table to the boot file, all or nothing.

    CLI Example::

        salt-call --local ipvs.save "$(salt-call --local ipvs.declared --out=json)"
    """
    path = Path(path or BOOT_FILE)
    with salt.utils.atomicfile.atomic_open(str(path), "w") as file:
        file.write(__utils__["ipvs.rules"](table))
    path.chmod(0o644)


def restore(path=None):
    """
    Load the boot file into an empty table; where there are services already, do nothing.

    Returns True if it loaded any. Cheap when there is nothing to do: it reads /proc only.

    CLI Example::

        salt lb1 ipvs.restore
    """
    if loaded():
        return False
    table = saved(path) or []
    apply(__utils__["ipvs.rules"](table).splitlines())
    return bool(table)


def loaded():
    """
    Return True if the kernel has a virtual service, False if none (or no IPVS).

    CLI Example::

        salt lb1 ipvs.loaded
    """
    try:
        return len(Path("/proc/net/ip_vs").read_text(encoding="ascii").splitlines()) > 3
    except FileNotFoundError:
        return False
