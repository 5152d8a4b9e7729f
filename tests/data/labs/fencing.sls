# No third machine: a verified power-off counts as the swap. The switches are those of lab/fence.py.
cluster:
  vms:
    witness: null
  arbiter: {driver: fencing, members: []}
  fencing:
    delay: 6  # nine VMs on two cores: what is under way there takes seconds
    devices:
      switch: {agent: fence_lab, package: "", timeout: 4, options: {ip: 10.255.0.1}}
      rack: {agent: fence_lab, package: "", timeout: 4, options: {ip: 10.255.0.1}}
    vms:
      file1: [{device: switch, plug: file1}]
      file2: [{device: switch, plug: file2}]
      db1: [{device: switch, plug: db1}]
      db2: [{device: switch, plug: db2}]
      lb1: [{device: switch, plug: lb1}]
      lb2: [{device: switch, plug: lb2}]
    servers:
      server1: [{device: rack, plug: server1}]
      server2: [{device: rack, plug: server2}]
