# A third web VM is three words in the pillar.
cluster:
  vms:
    web3: {server: server1, role: web, addresses: {internal: 192.168.10.31}}
