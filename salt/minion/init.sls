include:
  - common.files

# The same texts as bin/bootstrap writes: a state run right after it changes nothing.
minion-config-managed:
  file.managed:
    - name: /etc/salt/minion.d/cluster.conf
    - contents: {{ salt['topology.minion_config']() | json }}
    - mode: '0644'
    - makedirs: True

minion-units-managed:
  file.managed:
    - names:
      - /etc/systemd/system/salt-minion.service:
        - source: salt://minion/files/salt-minion.service
      - /etc/systemd/system/salt-restart@.service:
        - source: salt://minion/files/salt-restart@.service
      - /usr/local/lib/cluster/salt/sitecustomize.py:
        - source: salt://minion/files/sitecustomize.py
        - makedirs: True
      - /usr/local/sbin/salt-idle:
        - source: salt://minion/files/salt-idle
        - mode: '0755'

minion-service-enabled:
  service.enabled:
    - name: salt-minion
    - require:
      - file: minion-units-managed

# Not service.running with watch: see salt-restart@.service.
minion-restart-requested:
  cmd.run:
    - name: systemctl daemon-reload && systemctl start --no-block salt-restart@minion.service
    - onchanges:
      - file: minion-config-managed
      - file: minion-units-managed

minion-pillar-kept:
  file.managed:
    - name: /etc/cluster/pillar.json
    - source: salt://minion/files/pillar.json.jinja
    - template: jinja
    - mode: '0600'
    - show_changes: False
    - require:
      - file: common-directories-present

minion-code-noted:
  file.managed:
    - name: /etc/cluster/code.json
    - contents: {{ {'code': salt['boot.code']()} | json | yaml_dquote }}
    - require:
      - file: common-directories-present

# A state run brings modules to itself only, and beacons keep the functions they were loaded with;
# see _modules/boot.py.
minion-modules-refreshed:
  module.run:
    - saltutil.refresh_modules: []
    - onchanges:
      - file: minion-pillar-kept
      - file: minion-code-noted
