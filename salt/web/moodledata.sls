# moodledata from the floating files address. Neither the boot nor a state run waits for the file
# servers: a unit in the background tries until it is mounted, and so does every access (automount).
# Once mounted, a file server that moves is waited for (hard).
web-moodledata-packages-installed:
  pkg.installed:
    - name: nfs-common
    - require:
      - file: web-moodledata-unneeded-units-masked

# NFSv4.1 and later need none of these.
web-moodledata-unneeded-units-masked:
  file.symlink:
    - target: /dev/null
    - force: True
    - names:
      - /etc/systemd/system/rpcbind.service
      - /etc/systemd/system/rpcbind.socket
      - /etc/systemd/system/rpc-statd.service
      - /etc/systemd/system/rpc-statd-notify.service

# Between two retransmissions to a server that died at most a second (default 120 s) may pass, or
# the client sleeps on while the other server waits for it. Kernel 6.15 and later; before mounting.
web-moodledata-sysctls-set:
  sysctls.managed:
    - name: /etc/sysctl.d/60-cluster-moodledata.conf
    - values: {}
    - optional:
        net.ipv4.tcp_rto_max_ms: 1000

web-moodledata-configured:
  file.managed:
    - template: jinja
    - names:
      - /etc/systemd/system/srv-moodledata.mount:
        - source: salt://web/files/srv-moodledata.mount
      - /etc/systemd/system/srv-moodledata.automount:
        - source: salt://web/files/srv-moodledata.automount
      - /etc/systemd/system/moodledata.service:
        - source: salt://web/files/moodledata.service
    - require:
      - pkg: web-moodledata-packages-installed
      - sysctls: web-moodledata-sysctls-set

web-moodledata-automount-running:
  service.running:
    - name: srv-moodledata.automount
    - enable: True
    - require:
      - file: web-moodledata-configured

web-moodledata-boot-enabled:
  service.enabled:
    - name: moodledata
    - require:
      - file: web-moodledata-configured

web-moodledata-sought:
  cmd.run:
    - name: systemctl start --no-block moodledata
    - onchanges:
      - service: web-moodledata-automount-running
    - require:
      - service: web-moodledata-boot-enabled
