"""One wrong pillar a line, and the whole of what the operator reads about it."""

import copy

import pytest

from tests import pillars
from tests.loading import load

guard = load("_pillar/cluster.py")
HOST = "lowercase letters, digits and hyphens, starting with a letter, at most 63"
SIZE = "a size, a whole number and one of K, M, G, T, like 500M"
GONE = object()

WRONG = {
    # Form: the schema.
    "unknown key": (
        {"heartbeat.keepalif": 1},
        "cluster.heartbeat.keepalif: unknown key; did you mean keepalive",
    ),
    "unknown key, nothing near": (
        {"arbiter.zzz": 1},
        "cluster.arbiter.zzz: unknown key; known here: driver, members",
    ),
    "key of a server": (
        {"servers.server1": {"rack": 4}},
        "cluster.servers.server1.rack: unknown key; nothing is set here, write {}",
    ),
    "missing key": (
        {"balancer.scheduler": GONE},
        "cluster.balancer.scheduler: is missing; "
        "How ipvsadm spreads connections over the web VMs",
    ),
    "missing part": ({"time": GONE}, "cluster.time: is missing; Clocks within a second of each "
                     "other; logs and certificates need it"),
    "wrong type": (
        {"balancer.ports": 80},
        "cluster.balancer.ports: 80 is not a list",
    ),
    "text for a mapping": (
        {"moodle.admin": "admin"},
        "cluster.moodle.admin: 'admin' is not keys and values",
    ),
    "text for a number": (
        {"heartbeat.keepalive": "250ms"},
        "cluster.heartbeat.keepalive: '250ms' is not a number of seconds, without a unit",
    ),
    "a word that YAML reads as true": (
        {"name": True},
        "cluster.name: true is not a host name: " + HOST,
    ),
    "size without unit": (
        {"sizes.web.memory": 2048},
        f"cluster.sizes.web.memory: 2048 is not {SIZE}; perhaps 2048M",
    ),
    "size in MB": (
        {"sizes.web.memory": "500MB"},
        f"cluster.sizes.web.memory: '500MB' is not {SIZE}; perhaps 500M",
    ),
    "size with a blank": (
        {"sizes.file.data_disk": "4 GB"},
        f"cluster.sizes.file.data_disk: '4 GB' is not {SIZE}; perhaps 4G",
    ),
    "size in small letters": (
        {"vms.web1.size": {"memory": "4gib"}},
        f"cluster.vms.web1.size.memory: '4gib' is not {SIZE}; perhaps 4G",
    ),
    "size with a fraction": (
        {"sizes.web.disk": "1.5G"},
        f"cluster.sizes.web.disk: '1.5G' is not {SIZE}",
    ),
    "name with an underscore": (
        {"vms.web_3": {"server": "server1", "role": "web",
                       "addresses": {"internal": "192.168.10.31"}}},
        "cluster.vms.web_3: the key is not a host name: " + HOST,
    ),
    "name with a trailing line feed": (
        {"name": "moodle\n"},
        "cluster.name: 'moodle\\n' is not a host name: " + HOST,
    ),
    "address that is none": (
        {"addresses.files": "192.168.10.300"},
        "cluster.addresses.files: '192.168.10.300' is not an IPv4 address, like 192.168.10.10",
    ),
    "network with host bits": (
        {"networks.internal.subnet": "192.168.10.5/24"},
        "cluster.networks.internal.subnet: '192.168.10.5/24' is not an IPv4 network with its "
        "prefix, like 192.168.10.0/24; perhaps 192.168.10.0/24",
    ),
    "unknown engine": (
        {"database.engine": "oracle"},
        "cluster.database.engine: 'oracle' is unknown; write one of mysql, mariadb",
    ),
    "unknown driver": (
        {"arbiter.driver": "raft"},
        "cluster.arbiter.driver: 'raft' is unknown; write one of etcd, fencing, operator",
    ),
    "unknown scheduler": (
        {"balancer.scheduler": "fastest"},
        "cluster.balancer.scheduler: 'fastest' is unknown; write one of rr, wrr, lc, wlc, lblc, "
        "lblcr, dh, sh, sed, nq, fo, ovf, mh",
    ),
    "unknown role": (
        {"vms.witness.role": "cache"},
        "cluster.vms.witness.role: 'cache' is unknown; "
        "write one of balancer, web, file, database, witness",
    ),
    "device that is no path": (
        {"database.device": "vdb"},
        "cluster.database.device: 'vdb' is not an absolute path below /dev, "
        "or null for the system disk",
    ),
    "port out of range": (
        {"files.port": 77888},
        "cluster.files.port: 77888 is not a port number from 1 to 65535",
    ),
    "port twice": (
        {"balancer.ports": [80, 80]},
        "cluster.balancer.ports: a list of 2 names something twice; name each once",
    ),
    "no heartbeat links": (
        {"heartbeat.links": []},
        "cluster.heartbeat.links: has 0 entries; at least 1 are needed",
    ),
    # Networks and addresses.
    "overlapping networks": (
        {"networks.storage": {"interface": "eth2", "subnet": "192.168.8.0/22"}},
        "cluster.networks.storage.subnet: 192.168.8.0/22 overlaps "
        "cluster.networks.internal.subnet 192.168.10.0/24; networks must be disjoint",
    ),
    "router outside the public network": (
        {"networks.public.gateway": "203.0.114.1"},
        "cluster.networks.public.gateway: 203.0.114.1 is outside cluster.networks.public.subnet "
        "203.0.113.0/24; give an address inside it",
    ),
    "address outside its network": (
        {"vms.witness.addresses.internal": "192.168.11.30"},
        "cluster.vms.witness.addresses.internal: 192.168.11.30 is outside "
        "cluster.networks.internal.subnet 192.168.10.0/24; give an address inside it",
    ),
    "address in a network that is not there": (
        {"vms.file1.addresses.storage": "10.0.0.1"},
        "cluster.vms.file1.addresses.storage: there is no network 'storage'; "
        "known: public, internal",
    ),
    "network address as a host": (
        {"vms.web1.addresses.internal": "192.168.10.0"},
        "cluster.vms.web1.addresses.internal: 192.168.10.0 is the network itself of "
        "cluster.networks.internal.subnet; give a host's address",
    ),
    "broadcast address as a host": (
        {"addresses.database": "192.168.10.255"},
        "cluster.addresses.database: 192.168.10.255 is the broadcast address of "
        "cluster.networks.internal.subnet; give a host's address",
    ),
    "address used twice": (
        {"vms.web2.addresses.internal": "192.168.10.11"},
        "cluster.vms.web2.addresses.internal: 192.168.10.11 is already "
        "cluster.vms.web1.addresses.internal; give each its own",
    ),
    "floating address is a VM's": (
        {"addresses.files": "192.168.10.15"},
        "cluster.addresses.files: 192.168.10.15 is already cluster.vms.file1.addresses.internal; "
        "a floating address belongs to no VM, give it one of its own",
    ),
    "two floating addresses the same": (
        {"addresses.files": "192.168.10.8"},
        "cluster.addresses.database: 192.168.10.8 is already cluster.addresses.files; "
        "give each its own",
    ),
    "floating address is the router's": (
        {"addresses.public": "203.0.113.1", "moodle.url": "http://moodle.example.org"},
        "cluster.addresses.public: 203.0.113.1 is already cluster.networks.public.gateway; "
        "give each its own",
    ),
    "gateway outside the internal network": (
        {"addresses.gateway": "203.0.113.11"},
        "cluster.addresses.gateway: 203.0.113.11 is outside cluster.networks.internal.subnet "
        "192.168.10.0/24; give an address inside it",
    ),
    "files for everybody to see": (
        {"addresses.files": "203.0.113.5"},
        "cluster.addresses.files: 203.0.113.5 is in the public network; "
        "give one behind the balancers",
    ),
    "floating address nowhere": (
        {"addresses.files": "10.9.9.9"},
        "cluster.addresses.files: 10.9.9.9 is in none of cluster.networks; "
        "give an address in internal 192.168.10.0/24",
    ),
    "web VM in the public network": (
        {"vms.web1.addresses.public": "203.0.113.20"},
        "cluster.vms.web1.addresses.public: only balancers are on the public network; "
        "take it away",
    ),
    "no internal address": (
        {"vms.witness.addresses": {}},
        "cluster.vms.witness.addresses.internal: is missing; every VM speaks to the Salt masters "
        "there: give it an address in cluster.networks.internal",
    ),
    "no address where its traffic runs": (
        {
            "networks.storage": {"interface": "eth2", "subnet": "10.0.4.0/24"},
            "traffic.drbd": "storage",
            "vms.file1.addresses.storage": "10.0.4.15",
        },
        "cluster.vms.file2.addresses.storage: is missing; cluster.traffic.drbd runs there: "
        "give it an address in cluster.networks.storage",
    ),
    "traffic on an unknown network": (
        {"traffic.replication": "storage"},
        "cluster.traffic.replication: there is no network 'storage'; known: internal",
    ),
    "traffic in public": (
        {"traffic.drbd": "public"},
        "cluster.traffic.drbd: the public network carries users only; name another",
    ),
    "interface override without a network": (
        {"vms.web1.interfaces": {"public": "eth5"}},
        "cluster.vms.web1.interfaces.public: the VM has no address in a network of that name; "
        "take it away or give it the address",
    ),
    "one interface in two networks": (
        {"vms.lb1.interfaces": {"internal": "eth0"}},
        "cluster.vms.lb1.interfaces.internal: eth0 is already its interface in network 'public'; "
        "give each network an interface of its own",
    ),
    "a VM called as a floating address": (
        {"vms.files": {"role": "witness", "addresses": {"internal": "192.168.10.99"}}},
        "cluster.vms.files: 'files' is the name of a floating address or of the machine itself "
        "in /etc/hosts; name the VM otherwise",
    ),
    # Roles and servers.
    "a role without VMs": (
        {"vms.web1": GONE, "vms.web2": GONE},
        "cluster.vms: the role web has 0 VMs; it needs at least 2, on two servers",
    ),
    "one balancer": (
        {"vms.lb2": GONE, "arbiter": {"driver": "operator", "members": []}},
        "cluster.vms: the role balancer has 1 VMs (lb1); it needs at least 2, on two servers",
    ),
    "three databases": (
        {"vms.db3": {"server": "server1", "role": "database",
                     "addresses": {"internal": "192.168.10.38"}}},
        "cluster.vms: the role database has 3 VMs (db1, db2, db3); "
        "it needs exactly 2, one on each of two servers",
    ),
    "a pair on one server": (
        {"vms.file2.server": "server1"},
        "cluster.vms.file2.server: every file VM (file1, file2) is on server1, "
        "losing it would lose the role; put one on another server",
    ),
    "an unknown server": (
        {"vms.web1.server": "server3"},
        "cluster.vms.web1.server: there is no server 'server3'; known: server1, server2",
    ),
    "no server": (
        {"vms.web1.server": GONE},
        "cluster.vms.web1.server: is missing; name the server it runs on",
    ),
    "too little memory": (
        {"sizes.database.memory": "256M"},
        "cluster.sizes.database.memory: 256M is too small for the role database; "
        "give it at least 384M",
    ),
    "a VM with too little memory": (
        {"vms.lb1.size": {"memory": "128M"}},
        "cluster.vms.lb1.size.memory: 128M is too small for the role balancer; "
        "give it at least 384M",
    ),
    "no size for a role": (
        {"sizes.witness": GONE},
        "cluster.sizes.witness: is missing; there are VMs of the role witness",
    ),
    # Heartbeat and arbiter.
    "deadtime too short": (
        {"heartbeat.deadtime": 0.5, "heartbeat.warntime": 0.4},
        "cluster.heartbeat.deadtime: 0.5 is not above twice keepalive (0.25), "
        "one lost packet would look like a death; give more than 0.5",
    ),
    "warntime below keepalive": (
        {"heartbeat.warntime": 0.2},
        "cluster.heartbeat.warntime: 0.2 is not above keepalive (0.25), "
        "every heartbeat would be late; give a value between keepalive and deadtime",
    ),
    "warntime above deadtime": (
        {"heartbeat.warntime": 3},
        "cluster.heartbeat.warntime: 3 is not below deadtime (2), "
        "no warning would precede a loss; give a value between keepalive and deadtime",
    ),
    "initdead too short": (
        {"heartbeat.initdead": 3},
        "cluster.heartbeat.initdead: 3 is less than twice deadtime (2), "
        "a booting network would look like a death; give at least 4",
    ),
    "an unknown link": (
        {"heartbeat.links": ["internal", "serial"]},
        "cluster.heartbeat.links.1: there is no network 'serial'; known: public, internal",
    ),
    "an even number of members": (
        {"arbiter.members": ["lb1", "lb2"]},
        "cluster.arbiter.members: etcd has 2 members; it needs an odd number, at least 3, "
        "as the two balancers and a witness",
    ),
    "a majority on one server": (
        {"vms.witness.server": "server1"},
        "cluster.arbiter.members: losing server1 would take lb1 and witness, 1 of 3 members "
        "would be left and 2 are needed; put a witness outside both servers",
    ),
    "a member that is not there": (
        {"arbiter.members": ["lb1", "lb2", "lb9"]},
        "cluster.arbiter.members.2: there is no VM 'lb9'; members can be: lb1, lb2, witness",
    ),
    "a member of another role": (
        {"arbiter.members": ["lb1", "db2", "witness"]},
        "cluster.arbiter.members.1: db2 is a database VM; a member is a balancer or a witness",
    ),
    "members nobody asks": (
        {"arbiter.driver": "operator"},
        "cluster.arbiter.members: the driver operator has no members; write members: []",
    ),
    # Ports, database, site.
    "the site on Salt's port": (
        {"balancer.ports": [80, 4505]},
        "cluster.balancer.ports.1: 4505 is not served by the web VMs; "
        "give 80 for http, 443 for https",
    ),
    "DRBD on the port of NFS": (
        {"files.port": 2049},
        "cluster.files.port: 2049 is NFS's on the file VMs; give another, like 7788",
    ),
    "heartbeat on a port in use": (
        {"heartbeat.port": 123},
        "cluster.heartbeat.port: 123 is NTP's; give another, like 694",
    ),
    "Moodle as root": (
        {"database.user": "root"},
        "cluster.database.user: 'root' has other uses; give Moodle its own",
    ),
    "Moodle in the server's own schema": (
        {"database.name": "mysql"},
        "cluster.database.name: 'mysql' is the server's own; give another",
    ),
    "another public address in the URL": (
        {"moodle.url": "http://203.0.113.11"},
        "cluster.moodle.url: 203.0.113.11 is not cluster.addresses.public; "
        "write 203.0.113.10 or a name for it",
    ),
    "a URL with a path": (
        {"moodle.url": "http://203.0.113.10/moodle/"},
        "cluster.moodle.url: 'http://203.0.113.10/moodle/' is not an address like "
        "http://moodle.example.org, without a path or closing slash",
    ),
    "a URL that would break Apache's configuration": (
        {"moodle.url": "http://moodle\"$x.org?y"},
        "cluster.moodle.url: 'http://moodle\"$x.org?y' is not an address like "
        "http://moodle.example.org, without a path or closing slash",
    ),
    "a URL whose port is not served": (
        {"moodle.url": "https://moodle.example.org"},
        "cluster.moodle.url: port 443 is not served; cluster.balancer.ports are 80",
    ),
    "a URL with a port that no web VM serves": (
        {"moodle.url": "https://moodle.example.org:8443"},
        "cluster.moodle.url: the web VMs serve https on port 443, not 8443; write no port",
    ),
    "a port of https without https": (
        {"balancer.ports": [80, 443]},
        "cluster.moodle.url: is http, so nothing answers on port 443 of cluster.balancer.ports; "
        "write https",
    ),
    "a URL whose host is no name": (
        {"moodle.url": "http://moodle..org"},
        "cluster.moodle.url: 'moodle..org' is no host name; write a name for 203.0.113.10",
    ),
    "two sources": (
        {"moodle.source.archive": "/srv/moodle.tgz"},
        "cluster.moodle.source: has directory and archive; "
        "give exactly one of directory, archive, git (null removes one)",
    ),
    "no source": (
        {"moodle.source": {}},
        "cluster.moodle.source: has nothing; "
        "give exactly one of directory, archive, git (null removes one)",
    ),
    "an archive from afar without checksum": (
        {"moodle.source": {"archive": "https://download.moodle.org/moodle.tgz"}},
        "cluster.moodle.source.checksum: is missing; an archive from a URL needs one, sha256=...",
    ),
    "a checksum of a wrong form": (
        {"moodle.source": {"archive": "/srv/m.tgz", "checksum": "d41d8cd9"}},
        "cluster.moodle.source.checksum: 'd41d8cd9' is not sha256= and 64 lowercase hexadecimal "
        "digits (or sha512= and 128)",
    ),
    "git without a revision": (
        {"moodle.source": {"git": "https://github.com/moodle/moodle.git"}},
        "cluster.moodle.source.revision: is missing; git needs a tag or commit",
    ),
    "git with a password": (
        {"moodle.source": {"git": "https://me:secret@example.org/m.git", "revision": "v1"}},
        "cluster.moodle.source.git: holds a user name or password, which "
        "every log and process list would show; write the URL without, and give the masters "
        "access otherwise",
    ),
    "git with a token": (
        {"moodle.source": {"git": "https://ghp_secret@example.org/m.git", "revision": "v1"}},
        "cluster.moodle.source.git: holds a user name or password, which "
        "every log and process list would show; write the URL without, and give the masters "
        "access otherwise",
    ),
    "git over ssh with a password": (
        {"moodle.source": {"git": "ssh://git:secret@example.org/m.git", "revision": "v1"}},
        "cluster.moodle.source.git: holds a user name or password, which "
        "every log and process list would show; write the URL without, and give the masters "
        "access otherwise",
    ),
    "archive with a password": (
        {"moodle.source": {"archive": "https://me:p@ss@example.org/m.tgz",
                           "checksum": "sha256=" + "0" * 64}},
        "cluster.moodle.source.archive: holds a user name or password, which "
        "every log and process list would show; write the URL without, and give the masters "
        "access otherwise",
    ),
    "management that is no network": (
        {"balancer.management": ["10.0.0.7/24"]},
        "cluster.balancer.management.0: '10.0.0.7/24' is not an IPv4 network with its prefix, "
        "like 192.168.10.0/24; perhaps 10.0.0.0/24",
    ),
    "upload in MB": (
        {"moodle.upload": "200MB"},
        "cluster.moodle.upload: '200MB' is not a size, a whole number and one of K, M, G, "
        "like 200M; perhaps 200M",
    ),
    "a revision without git": (
        {"moodle.source.revision": "v5.0.1"},
        "cluster.moodle.source.revision: belongs to git; take it away",
    ),
}


def messages(cluster, secrets=None):
    data = {"cluster": cluster, "secrets": secrets or {}}
    found = guard.errors(data, pillars.SCHEMA)
    lines = [f"{error['path']}: {error['message']}" for error in found]
    return [line for line in lines if secrets is not None or line.startswith("cluster")]


def edited(edits):
    cluster = pillars.cluster()
    for path, value in edits.items():
        *groups, key = path.split(".")
        place = cluster
        for group in groups:
            place = place[group]
        if value is GONE:
            del place[key]
        else:
            place[key] = value
    return cluster


SWITCH = {"device": "pdu1", "plug": "3"}
FENCING = {"delay": 2, "devices": {"pdu1": {"agent": "fence_apc", "options": {"ip": "10.0.0.9"}}},
           "vms": {"file1": [SWITCH]},
           "servers": {"server1": [SWITCH], "server2": [{"device": "pdu1", "plug": ["4", "5"]}]}}
DRIVER = {"arbiter": {"driver": "fencing", "members": []}}


@pytest.mark.parametrize(("edits", "expected"), [
    ({}, []),
    ({"fencing": None},
     ["cluster.fencing: is missing; the driver fencing needs to know the power switches"]),
    ({"arbiter": {"driver": "operator", "members": []}},
     ["cluster.fencing: is of use with arbiter.driver fencing only; take it away, or change that"]),
    ({"fencing.servers.server2": GONE},
     ["cluster.fencing.servers.server2: is missing; a server that dies takes the switches of its "
      "VMs with it, and nothing could take over"]),
    ({"fencing.vms.file9": [SWITCH]}, ["cluster.fencing.vms.file9: is not in cluster.vms"]),
    ({"fencing.vms.file1": [{"device": "ipmi", "plug": "1"}]},
     ["cluster.fencing.vms.file1.0.device: there is no device 'ipmi'; known: pdu1"]),
    ({"fencing.devices.ipmi": {"agent": "fence_ipmilan"}},
     ["cluster.fencing.devices.ipmi: is used by no VM and no server; take it away"]),
    ({"fencing.devices.pdu1.agent": "rm -rf"},
     ["cluster.fencing.devices.pdu1.agent: 'rm -rf' is not the name of a fence agent"]),
    ({"fencing.devices.pdu1.package": ""}, []),
    ({"fencing.devices.pdu1.package": "-y"},
     ["cluster.fencing.devices.pdu1.package: '-y' is not the name of a package"]),
    ({"fencing.devices.pdu1.options.ip": "10.0.0.9\nplug=1"},
     ["cluster.fencing.devices.pdu1.options.ip: "]),
])
def test_the_power_switches_are_checked(edits, expected):
    given = {**DRIVER, "fencing": copy.deepcopy(FENCING), **edits}
    found = messages(edited({key: value for key, value in given.items() if value is not None}))
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_pillar_says_what_is_wrong_and_what_is_right(case):
    edits, expected = WRONG[case]
    assert expected in messages(edited(edits))


# One mistake, one sentence; these have a second mistake in what they follow from.
SEVERAL = {"a role without VMs", "one balancer", "unknown role",
           "a member of another role", "no size for a role", "gateway outside the internal network",
           "a VM with too little memory", "too little memory"}


@pytest.mark.parametrize("case", sorted(set(WRONG) - SEVERAL))
def test_one_mistake_is_one_error(case):
    edits, expected = WRONG[case]
    assert messages(edited(edits)) == [expected]


@pytest.mark.parametrize("overlay", [None, *pillars.names()])
def test_the_pillars_that_come_with_the_project_are_right(overlay):
    assert messages(pillars.cluster(overlay)) == []


@pytest.mark.parametrize(
    "edits",
    [{"balancer.management": []}, {"balancer.management": ["10.0.0.0/24", "192.0.2.7/32"]},
     {"moodle.upload": "2G"},
     {"moodle.source": {"git": "ssh://git@example.org/m.git", "revision": "v1"}},
     {"moodle.source": {"git": "git@example.org:m.git", "revision": "v1"}},
     {"moodle.source": {"git": "https://example.org/@me/m.git", "revision": "v1"}}],
)  # fmt: skip
def test_what_may_be_set_is_right(edits):
    assert messages(edited(edits)) == []


def test_all_errors_come_at_once_sorted_by_path():
    found = messages(edited({
        "vms.web1.addresses.internal": "192.168.11.11",
        "heartbeat.deadtime": 0.3,
        "sizes.web.memory": 2,
        "arbiter.driver": "none",
    }))  # fmt: skip
    paths = [line.partition(": ")[0] for line in found]
    assert paths == sorted(paths)
    assert {"cluster.arbiter.driver", "cluster.heartbeat.deadtime", "cluster.sizes.web.memory",
            "cluster.vms.web1.addresses.internal"} <= set(paths)


@pytest.mark.parametrize(
    "broken",
    [None, [], "text", {}, {"vms": []}, {"vms": {1: {"role": "web"}}}, {"networks": {"public": 1}},
     {"vms": {"a": {"role": "web", "addresses": [1]}}}, {"heartbeat": {"links": [1, None]}},
     {"arbiter": {"driver": "etcd", "members": [{}]}}, {"moodle": {"url": "http://[::"}},
     {"moodle": {"url": "http://a:99999", "source": {"archive": 4}}}, {"sizes": {"web": None}},
     {"networks": {True: {}, "public": {"subnet": "::/0"}}}, {"balancer": {"ports": [None]}}],
)  # fmt: skip
def test_no_pillar_breaks_the_check_itself(broken):
    topology = load("_utils/topology.py")
    assert messages(topology.settled(broken))
    merged = load("_utils/bootstrap.py").merge(pillars.cluster(), broken)
    assert messages(topology.settled(merged)) or not broken


def test_a_key_that_yaml_reads_as_a_number_is_named():
    assert messages(edited({"vms": {1: {}} | pillars.cluster()["vms"]})) == [
        "cluster.vms.1: is not read as text here; write it in quotes"
    ]


def paths(place, prefix=()):
    """Return the path of everything in a nested pillar."""
    if not isinstance(place, (dict, list)):
        return []
    found = []
    for key, value in place.items() if isinstance(place, dict) else enumerate(place):
        found += [(*prefix, key), *paths(value, (*prefix, key))]
    return found


@pytest.mark.parametrize("value", [None, "x", [], {}, -1])
def test_anything_in_any_place_is_an_error_and_not_a_crash(value):
    """Whatever a typing error turns a value into, the check answers; it is a guard, not a lint."""
    topology = load("_utils/topology.py")
    everything = paths(pillars.cluster())
    for path in everything[::3]:
        cluster = pillars.cluster()
        place = cluster
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        messages(topology.settled(cluster))
