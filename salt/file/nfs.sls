# The packaged units would start a server at boot, with rpcbind, statd and idmapd that NFSv4 does
# not need, and with daemons that keep the replicated disk busy.
file-packaged-units-masked:
  file.symlink:
    - target: /dev/null
    - force: True
    - names:
{%- for unit in ['drbd', 'fsidd', 'nfs-blkmap', 'nfs-idmapd', 'nfs-kernel-server', 'nfs-mountd',
                 'nfs-server', 'nfsdcld', 'rpc-statd-notify', 'rpc-statd', 'rpcbind'] %}
      - /etc/systemd/system/{{ unit }}.service
{%- endfor %}
      - /etc/systemd/system/rpcbind.socket

# No delegations: all would wait for the lease of a web server that died with one to end.
file-nfs-sysctls-set:
  sysctls.managed:
    - name: /etc/sysctl.d/60-cluster-nfs.conf
    - values:
        fs.leases-enable: 0

file-nfs-mountpoint-present:
  file.directory:
    - name: /srv/files

file-nfs-configured:
  file.managed:
    - template: jinja
    - makedirs: True
    - names:
      - /etc/nfs.conf.d/cluster.conf:
        - source: salt://file/files/nfs.conf.jinja
      - /etc/exports:
        - source: salt://file/files/exports.jinja
    - require:
      - pkg: file-packages-installed

file-nfs-script-managed:
  file.managed:
    - name: /usr/local/lib/cluster/files-nfs.sh
    - source: salt://file/files/files-nfs.sh
    - mode: '0755'
    - makedirs: True

file-nfs-units-managed:
  file.managed:
    - names:
      - /etc/systemd/system/files-mountd.service:
        - source: salt://file/files/files-mountd.service
      - /etc/systemd/system/files-nfs.service:
        - source: salt://file/files/files-nfs.service

file-units-reloaded:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: file-packaged-units-masked
      - file: file-nfs-units-managed

# Answers the kernel's questions about exports; without server threads nobody asks.
file-nfs-mountd-running:
  service.running:
    - name: files-mountd
    - enable: True
    - require:
      - file: file-nfs-configured
      - file: file-nfs-mountpoint-present
      - file: file-nfs-script-managed
      - kmod: file-modules-loaded
      - cmd: file-units-reloaded

# On the holder a changed list of web VMs counts at once; elsewhere it is read at the start.
file-nfs-exports-renewed:
  cmd.run:
    - name: if grep -qs '[1-9]' /proc/fs/nfsd/threads; then exportfs -r; fi
    - onchanges:
      - file: /etc/exports
    - require:
      - service: file-nfs-mountd-running
