# No third machine and no power switch: whether the other side is dead, a person says.
cluster:
  vms:
    witness: null
  arbiter: {driver: operator, members: []}
