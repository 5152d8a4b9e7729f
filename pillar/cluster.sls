# The cluster, as its operator declares it. Everything an operator edits is here
# (and in secrets.sls). `salt-run ha.check` names every mistake at once; a wrong
# pillar stops every state run before anything changes. What each key means and
# may hold: pillar/schema.yaml. A site's own deviations go into pillar/local.sls,
# which is merged over this file key by key (lists are replaced, `null` removes a VM, a network,
# a source). Examples with three servers, MariaDB or bare metal: tests/data/pillars/.
cluster:
  name: moodle

  servers:                       # what dies together
    server1: {}
    server2: {}

  networks:
    public:
      interface: eth0
      subnet: 203.0.113.0/24
      gateway: 203.0.113.1
    internal:
      interface: eth1
      subnet: 192.168.10.0/24

  addresses:                     # floating: each follows its resource
    public: 203.0.113.10         # director
    gateway: 192.168.10.1        # director, always together with public
    files: 192.168.10.5
    database: 192.168.10.8

  sizes:
    # The design's least for a balancer is 500M. It is master with reactor and engine, minion, etcd
    # member, heartbeatd and poold as well, and was measured to fill 550 to 620 MB.
    balancer: {vcpus: 1, memory: 768M, disk: 8G}
    web: {vcpus: 2, memory: 2G, disk: 20G}
    file: {vcpus: 1, memory: 1G, disk: 8G, data_disk: 100G}
    database: {vcpus: 2, memory: 4G, disk: 8G, data_disk: 40G}
    witness: {vcpus: 1, memory: 256M, disk: 4G}

  vms:
    lb1: {server: server1, role: balancer, addresses: {internal: 192.168.10.10}}
    lb2: {server: server2, role: balancer, addresses: {internal: 192.168.10.20}}
    web1: {server: server1, role: web, addresses: {internal: 192.168.10.11}}
    web2: {server: server2, role: web, addresses: {internal: 192.168.10.21}}
    file1: {server: server1, role: file, addresses: {internal: 192.168.10.15}}
    file2: {server: server2, role: file, addresses: {internal: 192.168.10.25}}
    db1: {server: server1, role: database, addresses: {internal: 192.168.10.18}}
    db2: {server: server2, role: database, addresses: {internal: 192.168.10.28}}
    witness: {role: witness, addresses: {internal: 192.168.10.30}}   # outside both servers

  traffic:                       # which network carries what; a second NIC is an edit here
    drbd: internal
    replication: internal

  heartbeat:                     # seconds; ha.cf's words and meanings
    keepalive: 0.25
    warntime: 1
    deadtime: 2
    initdead: 30
    port: 694
    links: [internal, public]    # public: between the balancers

  arbiter:
    driver: etcd
    members: [lb1, lb2, witness]

  balancer:
    scheduler: wlc
    ports: [80]
    sync_id: 51

  files:
    device: /dev/vdb             # backing device of the DRBD resource; only ever used when blank
    port: 7788
    lease: 10                    # NFSv4 lease and grace, seconds

  database:
    engine: mysql
    device: /dev/vdb             # null: the data directory stays on the system disk
    name: moodle
    user: moodle

  moodle:
    url: http://203.0.113.10
    title: Moodle
    short_name: moodle
    language: en
    admin: {user: admin, email: admin@example.org}
    source: {directory: /srv/moodle-source}

  time:
    servers: [0.debian.pool.ntp.org, 1.debian.pool.ntp.org]
