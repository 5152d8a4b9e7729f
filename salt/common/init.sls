# What every VM has: names, time, its certificate, a journal that survives a power cut.
include:
  - common.files
  - common.time

common-sysctls-set:
  sysctls.managed:
    - name: /etc/sysctl.d/60-cluster.conf
    - values:
        # An address is answered for by the interface that holds it, never by another.
        net.ipv4.conf.all.arp_ignore: 1
        net.ipv4.conf.all.arp_announce: 2
        # A VM's own address may be changed without taking the floating one with it.
        net.ipv4.conf.all.promote_secondaries: 1
        net.ipv4.conf.default.promote_secondaries: 1
        # Who waits for an answer of a VM that died hears within 5 s that it will not come, a page
        # for its commit as well as a server for the client that holds its locks (seconds; count).
        net.ipv4.tcp_keepalive_time: 2
        net.ipv4.tcp_keepalive_intvl: 1
        net.ipv4.tcp_keepalive_probes: 3
        # A VM that panicked comes back, passive, by itself (seconds).
        kernel.panic: 10

common-journal-restarted:
  cmd.run:
    - name: systemctl restart systemd-journald
    - onchanges:
      - file: /etc/systemd/journald.conf.d/cluster.conf

common-hostname-set:
  cmd.run:
    - name: hostname -F /etc/hostname
    - onchanges:
      - file: /etc/hostname
