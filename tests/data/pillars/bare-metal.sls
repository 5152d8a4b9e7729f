# Eight machines instead of VMs, a network card for each network, replication on cables of its own.
cluster:
  networks:
    public: {interface: eno1, subnet: 198.51.100.64/27, gateway: 198.51.100.65}
    internal: {interface: eno2, subnet: 10.20.0.0/22}
    storage: {interface: enp65s0f0, subnet: 10.20.4.0/24}
    replication: {interface: enp65s0f1, subnet: 10.20.5.0/24}
  addresses:
    public: 198.51.100.70
    gateway: 10.20.0.1
    files: 10.20.0.5
    database: 10.20.0.8
  sizes:
    balancer: {vcpus: 8, memory: 16G, disk: 200G}
    web: {vcpus: 32, memory: 64G, disk: 400G}
    file: {vcpus: 8, memory: 32G, disk: 200G, data_disk: 8T}
    database: {vcpus: 32, memory: 256G, disk: 200G, data_disk: 2T}
  vms:
    lb1: {addresses: {internal: 10.20.0.10}}
    lb2: {addresses: {internal: 10.20.0.20}, interfaces: {public: enp1s0, internal: enp2s0}}
    web1: {addresses: {internal: 10.20.1.11}, interfaces: {internal: bond0}}
    web2: {addresses: {internal: 10.20.1.21}}
    file1: {addresses: {internal: 10.20.0.15, storage: 10.20.4.15}}
    file2: {addresses: {internal: 10.20.0.25, storage: 10.20.4.25}}
    db1: {addresses: {internal: 10.20.0.18, replication: 10.20.5.18}}
    db2:
      addresses: {internal: 10.20.0.28, replication: 10.20.5.28}
      interfaces: {replication: bond1.205}
      size: {memory: 128G}
    witness: {addresses: {internal: 10.20.3.254}}
  traffic: {drbd: storage, replication: replication}
  files: {device: /dev/disk/by-id/nvme-data-1}
  database: {device: /dev/nvme1n1}
  balancer:
    scheduler: wrr
    ports: [80, 443]
    check: {interval: 0.1, timeout: 0.1, rise: 5, fall: 3, path: /health/, expect: '"ok":true'}
  moodle:
    url: https://moodle.example.org
    title: Moodle der Universität
    language: de
    source:
      directory: null
      git: https://github.com/moodle/moodle.git
      revision: v5.0.1
