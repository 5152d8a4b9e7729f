# A third server with a balancer and a web VM: its balancer is the third vote, no witness needed.
cluster:
  servers:
    server3: {}
  vms:
    lb3: {server: server3, role: balancer, addresses: {internal: 192.168.10.12}}
    web3: {server: server3, role: web, addresses: {internal: 192.168.10.31}}
    witness: null
  arbiter:
    members: [lb1, lb2, lb3]
