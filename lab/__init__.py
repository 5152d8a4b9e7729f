"""The whole cluster on this machine: real virtual machines, networks, faults, an outside client."""
