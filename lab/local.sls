# What the lab changes in the pillar: the design's ratios in 6 GB (--full-size leaves the sizes
# alone), and the names that disks have in a User-Mode Linux VM.
cluster:
  sizes:
    web: {vcpus: 1, memory: 672M, disk: 8G}
    file: {vcpus: 1, memory: 352M, disk: 8G, data_disk: 2G}
    database: {vcpus: 1, memory: 1G, disk: 8G, data_disk: 4G}
    witness: {vcpus: 1, memory: 256M, disk: 8G}
  heartbeat:
    serial: {device: /dev/ttyS0}   # lab/serial.py
  files:
    device: /dev/ubdb
  database:
    device: /dev/ubdb
