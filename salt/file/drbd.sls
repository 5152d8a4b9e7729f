file-modules-configured:
  file.managed:
    - name: /etc/modules-load.d/cluster-file.conf
    - contents: [drbd, nfsd]

# Not cmd.run with creates: see tests/unit/test_conventions.py.
file-modules-loaded:
  kmod.present:
    - mods: [drbd, nfsd]

file-drbd-configured:
  file.managed:
    - template: jinja
    - makedirs: True
    - show_changes: False
    - names:
      - /etc/drbd.d/global_common.conf:
        - source: salt://file/files/global_common.conf
      - /etc/drbd.d/r0.res:
        - source: salt://file/files/r0.res.jinja
        - mode: '0600'
      - /usr/local/lib/cluster/fence-peer.sh:
        - source: salt://file/files/fence-peer.sh
        - mode: '0755'
      - /usr/local/lib/cluster/local-io-error.sh:
        - source: salt://file/files/local-io-error.sh
        - mode: '0755'
      - /usr/local/lib/cluster/split-brain.sh:
        - source: salt://file/files/split-brain.sh
        - mode: '0755'
      - /usr/local/lib/cluster/step-down.d/files:
        - source: salt://file/files/step-down.sh
        - mode: '0755'
      - /etc/systemd/system/drbd@r0.service.d/cluster.conf:
        - source: salt://file/files/drbd-unit.conf
    - require:
      - pkg: file-packages-installed

file-drbd-resource-present:
  drbd.present:
    - name: r0
    - require:
      - file: file-drbd-configured
      - kmod: file-modules-loaded

# Up as Secondary at every boot.
file-drbd-boot-enabled:
  file.symlink:
    - name: /etc/systemd/system/multi-user.target.wants/drbd@r0.service
    - target: /usr/lib/systemd/system/drbd@.service
    - makedirs: True

file-drbd-unit-running:
  service.running:
    - name: drbd@r0
    - require:
      - drbd: file-drbd-resource-present
      - file: file-drbd-boot-enabled
