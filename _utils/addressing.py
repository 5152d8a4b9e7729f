"""
What no schema can express about addresses: which is outside, which is twice, which is missing.

As ``_utils/check.py``: ``errors`` takes the cluster as ``schema.validate`` leaves it, each rule is
a generator of (path, message).
"""

import ipaddress


def errors(cluster):
    """Return every error the rules find, as ``[{"path", "message"}]``."""
    rules = (_networks, _vm_addresses, _floating, _addresses_once, _interfaces, _traffic)
    found = [error for rule in rules for error in rule(cluster)]
    return [{"path": path, "message": message} for path, message in found]


def _vms(cluster):
    """Return name -> entry of the VMs that have a role."""
    vms = cluster.get("vms") or {}
    return {name: vm for name, vm in vms.items() if "role" in vm}


def _subnets(cluster):
    return {
        name: ipaddress.ip_network(network["subnet"])
        for name, network in (cluster.get("networks") or {}).items()
        if "subnet" in network
    }


def _network_of(cluster, key):
    """Return the name of the network the floating address ``key`` lies in, or None."""
    address = cluster.get("addresses", {}).get(key)
    inside = [n for n, net in _subnets(cluster).items() if address and _inside(address, net)]
    return inside[0] if inside else None


def _inside(address, subnet):
    return ipaddress.ip_address(address) in subnet


def _host_problem(address, subnet, path):
    """Return why ``address`` cannot be a host's in the network at ``path``, or None."""
    if not _inside(address, subnet):
        return f"{address} is outside {path}.subnet {subnet}; give an address inside it"
    if subnet.prefixlen < 31 and ipaddress.ip_address(address) == subnet.network_address:
        return f"{address} is the network itself of {path}.subnet; give a host's address"
    if subnet.prefixlen < 31 and ipaddress.ip_address(address) == subnet.broadcast_address:
        return f"{address} is the broadcast address of {path}.subnet; give a host's address"
    return None


def _networks(cluster):
    subnets = list(_subnets(cluster).items())
    for index, (name, subnet) in enumerate(subnets):
        for other, taken in subnets[:index]:
            if subnet.overlaps(taken):
                yield (
                    f"cluster.networks.{name}.subnet",
                    f"{subnet} overlaps cluster.networks.{other}.subnet {taken}; "
                    "networks must be disjoint",
                )
    gateway = cluster.get("networks", {}).get("public", {}).get("gateway")
    public = dict(subnets).get("public")
    if gateway and public:
        message = _host_problem(gateway, public, "cluster.networks.public")
        if message:
            yield "cluster.networks.public.gateway", message


def _vm_addresses(cluster):
    subnets = _subnets(cluster)
    networks = cluster.get("networks", {})
    for name, vm in _vms(cluster).items():
        for network, address in vm.get("addresses", {}).items():
            path = f"cluster.vms.{name}.addresses.{network}"
            if network not in networks:
                yield path, f"there is no network {network!r}; known: {', '.join(networks)}"
            elif network == "public" and vm["role"] != "balancer":
                yield path, "only balancers are on the public network; take it away"
            elif address and network in subnets:
                message = _host_problem(address, subnets[network], f"cluster.networks.{network}")
                if message:
                    yield path, message
        for network, reason in _needed(cluster, vm["role"]).items():
            if network in networks and network not in vm.get("addresses", {}):
                yield (
                    f"cluster.vms.{name}.addresses.{network}",
                    f"is missing; {reason}: give it an address in cluster.networks.{network}",
                )


def _needed(cluster, role):
    """Return network -> why a VM of ``role`` needs an address of its own in it."""
    traffic = cluster.get("traffic", {})
    needed = {}
    if role in ("file", "web"):
        needed[_network_of(cluster, "files")] = f"a {role} VM meets the address of files there"
    if role in ("database", "web"):
        needed[_network_of(cluster, "database")] = (
            f"a {role} VM meets the address of database there"
        )
    if role == "file":
        needed[traffic.get("drbd")] = "cluster.traffic.drbd runs there"
    if role == "database":
        needed[traffic.get("replication")] = "cluster.traffic.replication runs there"
    needed["internal"] = "every VM speaks to the Salt masters there"
    needed.pop("public", None)  # said at the floating address or the traffic that names it
    return needed


def _floating(cluster):
    subnets = _subnets(cluster)
    for key, address in cluster.get("addresses", {}).items():
        home = {"public": "public", "gateway": "internal"}.get(key)
        path = f"cluster.addresses.{key}"
        if home:
            message = home in subnets and _host_problem(
                address, subnets[home], f"cluster.networks.{home}"
            )
            if message:
                yield path, message
            continue
        network = _network_of(cluster, key)
        if network == "public":
            yield path, f"{address} is in the public network; give one behind the balancers"
        elif network:
            message = _host_problem(address, subnets[network], f"cluster.networks.{network}")
            if message:
                yield path, message
        elif len(subnets) == len(cluster.get("networks", {})):
            listed = ", ".join(f"{n} {s}" for n, s in subnets.items() if n != "public")
            yield path, f"{address} is in none of cluster.networks; give an address in {listed}"


def _addresses_once(cluster):
    seen = {}
    gateway = cluster.get("networks", {}).get("public", {}).get("gateway")
    uses = [("cluster.networks.public.gateway", gateway)]
    for name, vm in _vms(cluster).items():
        for network, address in vm.get("addresses", {}).items():
            uses.append((f"cluster.vms.{name}.addresses.{network}", address))
    for key, address in cluster.get("addresses", {}).items():
        uses.append((f"cluster.addresses.{key}", address))
    for path, address in uses:
        if address in seen:
            hint = "give each its own"
            if path.startswith("cluster.addresses.") and seen[address].startswith("cluster.vms."):
                hint = "a floating address belongs to no VM, give it one of its own"
            yield path, f"{address} is already {seen[address]}; {hint}"
        elif address:
            seen[address] = path


def _interfaces(cluster):
    networks = cluster.get("networks", {})
    for name, vm in _vms(cluster).items():
        own = vm.get("interfaces", {})
        mine = [*(["public"] if vm["role"] == "balancer" else []), *vm.get("addresses", {})]
        for network in own:
            if network not in mine:
                yield (
                    f"cluster.vms.{name}.interfaces.{network}",
                    "the VM has no address in a network of that name; "
                    "take it away or give it the address",
                )
        seen = {}
        for network in dict.fromkeys(mine):
            interface = own.get(network) or networks.get(network, {}).get("interface")
            if interface and interface in seen:
                yield (
                    f"cluster.vms.{name}.interfaces.{network}",
                    f"{interface} is already its interface in network {seen[interface]!r}; "
                    "give each network an interface of its own",
                )
            seen[interface] = network


def _traffic(cluster):
    networks = cluster.get("networks")
    for kind, network in cluster.get("traffic", {}).items():
        if networks is not None and network not in networks:
            known = ", ".join(name for name in networks if name != "public")
            yield f"cluster.traffic.{kind}", f"there is no network {network!r}; known: {known}"
        elif network == "public":
            yield f"cluster.traffic.{kind}", "the public network carries users only; name another"
