"""
Who and what the cluster is made of, read from ``pillar["cluster"]``.

Pure functions over plain data: no I/O, no dunder but ``__utils__``. Every other part asks here
instead of walking the pillar by itself, so that an override (a VM's own size, interface or
network) is understood in one place only. A value of ``null`` in an overlay removes an entry.
"""

import ipaddress
import re

import yaml

TREE = "/srv/cluster"
RESOURCE_ROLE = {"director": "balancer", "files": "file", "database": "database"}
RESOURCE_ADDRESSES = {
    "director": ("public", "gateway"),
    "files": ("files",),
    "database": ("database",),
}
# Beacons tick once a second by themselves: an interval would only cost a second more at the start.
BEACONS = {"file": ["drbd"], "database": ["replication"], "balancer": ["real_server"]}
# Events that ask a master to look; it decides from what it finds, not from the event. The files are
# Python, not Jinja: data passes as it is, and in a quarter of the time (1 ms of CPU, not 4).
REACTOR = {
    "heartbeat": ["salt/beacon/*/heartbeat/*", "cluster/heartbeat/*"],
    "drbd": ["salt/beacon/*/drbd/*"],
    "replication": ["salt/beacon/*/replication/*"],
    "real_server": ["salt/beacon/*/real_server/*"],
    "tend": ["cluster/tend"],
}
# Salt came by pip, without the logrotate of a package.
LOGS = {"log_rotate_max_bytes": 20_000_000, "log_rotate_backup_count": 2}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def bytes_of(size):
    """Return the bytes of a size like ``500M`` (binary units K, M, G, T; never without unit)."""
    match = re.fullmatch(r"([1-9][0-9]*)([KMGT])", size) if isinstance(size, str) else None
    if not match:
        raise ValueError(f"{size!r} is no size; write a whole number and K, M, G or T, like 500M")
    return int(match.group(1)) * _UNITS[match.group(2)]


def present(entries):
    """Return the entries of a pillar mapping that an overlay has not removed with ``null``."""
    return {name: entry for name, entry in (entries or {}).items() if entry is not None}


def settled(cluster):
    """Return the cluster without what an overlay removed with ``null``."""
    if not isinstance(cluster, dict):
        return cluster
    cluster = _without(cluster, ("servers", "networks", "sizes", "vms"))
    if isinstance(cluster.get("vms"), dict):
        cluster["vms"] = {
            name: _without(entry, ("addresses", "interfaces"))
            for name, entry in cluster["vms"].items()
        }
    if isinstance(cluster.get("networks"), dict):
        cluster["networks"] = {
            name: present(entry) if isinstance(entry, dict) else entry
            for name, entry in cluster["networks"].items()
        }
    cluster["moodle"] = _without(cluster.get("moodle"), ("source",))
    return {key: value for key, value in cluster.items() if value is not None}


def _without(entry, parts):
    if not isinstance(entry, dict):
        return entry
    return {
        key: present(value) if key in parts and isinstance(value, dict) else value
        for key, value in entry.items()
    }


def vms(cluster, role=None):
    """Return every VM (of ``role``) in pillar order, sizes in bytes, interfaces resolved."""
    return [
        _vm(cluster, name, entry)
        for name, entry in present(cluster["vms"]).items()
        if role in (None, entry["role"])
    ]


def vm(cluster, name):
    """Return one VM; raises ValueError naming it when the pillar has none of that name."""
    entry = (cluster.get("vms") or {}).get(name)
    if entry is None:
        raise ValueError(f"cluster.vms has no VM named {name!r}")
    return _vm(cluster, name, entry)


def _vm(cluster, name, entry):
    addresses = present(entry.get("addresses"))
    networks = list(addresses)
    if entry["role"] == "balancer" and "public" not in networks:
        networks.insert(0, "public")
    own = entry.get("interfaces") or {}
    return {
        "name": name,
        "role": entry["role"],
        "server": entry.get("server"),
        "addresses": addresses,
        "interfaces": {
            net: own.get(net) or cluster["networks"][net]["interface"] for net in networks
        },
        "size": _size({**cluster["sizes"][entry["role"]], **(entry.get("size") or {})}),
    }


def _size(size):
    return {
        "vcpus": size["vcpus"],
        "memory": bytes_of(size["memory"]),
        "disk": bytes_of(size["disk"]),
        "data_disk": bytes_of(size["data_disk"]) if size.get("data_disk") else None,
    }


def peer(cluster, name):
    """Return the other VM of a role that has exactly two, or None."""
    me = vm(cluster, name)
    others = [other for other in vms(cluster, me["role"]) if other["name"] != name]
    return others[0] if len(others) == 1 and me["role"] in RESOURCE_ROLE.values() else None


def founder(cluster, role):
    """Return the name of the VM that holds the role's resource at the very first bring-up."""
    return vms(cluster, role)[0]["name"]


def network_of(cluster, address):
    """Return the name of the network whose subnet holds ``address``; raises ValueError if none."""
    for name, network in present(cluster["networks"]).items():
        if ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"]):
            return name
    raise ValueError(f"{address} lies in none of cluster.networks")


def floating(cluster, name, resource):
    """Return the addresses that move with ``resource``, as VM ``name`` would configure them."""
    interfaces = vm(cluster, name)["interfaces"]
    found = []
    for key in RESOURCE_ADDRESSES[resource]:
        address = cluster["addresses"][key]
        network = network_of(cluster, address)
        prefix = ipaddress.ip_network(cluster["networks"][network]["subnet"]).prefixlen
        found.append({"address": address, "prefix": prefix, "interface": interfaces[network]})
    return found


def internal(cluster, name):
    """Return the VM's address on the internal network."""
    return vm(cluster, name)["addresses"]["internal"]


def traffic_address(cluster, name, kind):
    """Return the VM's address on the network that carries ``drbd`` or ``replication``."""
    return vm(cluster, name)["addresses"][cluster["traffic"][kind]]


def hosts(cluster):
    """Return the lines of /etc/hosts: each VM, its other networks as NAME-NETWORK, what floats."""
    lines = []
    for entry in vms(cluster):
        for net, address in entry["addresses"].items():
            name = entry["name"] if net == "internal" else f"{entry['name']}-{net}"
            lines.append({"address": address, "names": [name]})
    for name in ("gateway", "files", "database"):
        lines.append({"address": cluster["addresses"][name], "names": [name]})
    return lines


def networks_of(cluster, name):
    """
    Return the VM's networks; ``address`` is None where only a floating one lives (public).

    ``gateway`` is the default route to configure at boot: the floating gateway for everything
    behind the balancers (IPVS NAT needs the way back through the director), None for a balancer,
    whose default route comes and goes with the director.
    """
    me = vm(cluster, name)
    found = []
    for net, interface in me["interfaces"].items():
        subnet = ipaddress.ip_network(cluster["networks"][net]["subnet"])
        behind = net == "internal" and me["role"] != "balancer"
        found.append({
            "name": net,
            "interface": interface,
            "address": me["addresses"].get(net),
            "prefix": subnet.prefixlen,
            "subnet": str(subnet),
            "gateway": cluster["addresses"]["gateway"] if behind else None,
        })
    return found


def masters(cluster):
    """Return the internal addresses of the balancers: they are the Salt masters."""
    return [entry["addresses"]["internal"] for entry in vms(cluster, "balancer")]


def arbiter_members(cluster):
    """Return name and internal address of every member of the arbiter."""
    names = cluster["arbiter"].get("members") or []
    return [{"name": name, "address": internal(cluster, name)} for name in names]


def minion_config(cluster, name):
    """Return the content of minion.d/cluster.conf: every minion speaks to both masters at once."""
    me = vm(cluster, name)
    return {
        "id": me["name"],
        "master": masters(cluster),  # addresses: resolving a name blocks the only event loop
        "master_type": "str",  # "failover" lost events for ever when a master lost power
        "retry_dns": 0,
        **LOGS,
        "beacons_before_connect": True,  # or no beacon runs while the first master is away
        "multiprocessing": False,  # a fork per job costs more than the job
        "auth_safemode": True,
        "auth_timeout": 3,
        "auth_tries": 1,
        "acceptance_wait_time": 5,
        "zmq_monitor": False,  # True: a stall of about 3 s at each disconnect
        "master_alive_interval": 0,
        "tcp_keepalive_idle": 5,  # a rebooted master commands its minions again after 11 to 20 s
        "tcp_keepalive_intvl": 2,
        "tcp_keepalive_cnt": 3,
        "recon_default": 500,
        "recon_max": 2000,
        "recon_randomize": False,
        "return_retry_tries": 1,
        "return_retry_timer": 5,
        "return_retry_timer_max": 5,
        # A minion whose first pillar times out connects again but stays deaf for ever ("scheduled
        # to stop"): a busy master must be waited for, and one that has just started asked again,
        # for it may have lost the question. Ends when Salt's _connect_minion builds a new Minion
        # after destroy().
        "request_channel_timeout": 30,
        "request_channel_tries": 4,
        "mine_enabled": False,
        "enable_fqdns_grains": False,  # resolves every own address: seconds without a name server
        "enable_gpu_grains": False,
        "beacons": {beacon: [] for beacon in ["heartbeat", *BEACONS.get(me["role"], [])]},
    }


def master_config(cluster, name=None):
    """Return the content of master.d/cluster.conf, bound to the internal address of ``name``."""
    config = {"id": f"{name}_master", "interface": internal(cluster, name)} if name else {}
    return config | LOGS | {
        "worker_threads": 2,  # a third costs a balancer 30 to 70 MB
        "timeout": 2,
        # Between two rounds of "still at it?" to every minion; each costs a slow VM CPU time.
        "gather_job_timeout": 10,
        "reactor_refresh_interval": 86400,  # a cold reactor costs half a second
        "reactor": [
            {tag: [f"{TREE}/reactor/{name}.sls"]} for name, tags in REACTOR.items() for tag in tags
        ],
        "engines": [{"heartbeat": {}}],
        # Each reaction would be a job on the disk: there is one every five seconds, and a
        # failover must not wait for the disk of a balancer.
        "runnerclient_returns": False,
        "file_roots": {"base": [f"{TREE}/salt"]},
        "pillar_roots": {"base": [f"{TREE}/pillar"]},
        "pillar_safe_render_error": False,  # the operator reads what is wrong; secrets are not here
        "module_dirs": [TREE],
        "pillar_dirs": [f"{TREE}/_pillar"],
        "ext_pillar": [{"cluster": {"secrets": f"{TREE}/pillar/secrets.sls"}}],
    }


def dump(config):
    """Return a configuration as YAML text, the same wherever it is written from."""
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=False, allow_unicode=True)
