# Both balancers are masters with the same keys, so either serves alone.
include:
  - minion

master-config-managed:
  file.managed:
    - name: /etc/salt/master.d/cluster.conf
    - contents: {{ salt['topology.master_config']() | json }}
    - mode: '0644'
    - makedirs: True

master-unit-managed:
  file.managed:
    - name: /etc/systemd/system/salt-master.service
    - source: salt://master/files/salt-master.service

master-keys-managed:
  file.managed:
    - names:
      # Named after the master's id, or its first start would rename the pair and leave links behind.
      - /etc/salt/pki/master/{{ grains.id }}.pem:
        - contents_pillar: secrets:salt:master:private
        - mode: '0400'
{%- for public in (grains.id, 'master') %}
      - /etc/salt/pki/master/{{ public }}.pub:
        - contents_pillar: secrets:salt:master:public
        - mode: '0644'
{%- endfor %}
    - makedirs: True
    - show_changes: False

master-minion-keys-managed:
  file.managed:
    - names:
{%- for vm in salt['topology.vms']() %}
      - /etc/salt/pki/master/minions/{{ vm.name }}:
        - contents_pillar: secrets:salt:minions:{{ vm.name }}:public
{%- endfor %}
    - mode: '0644'
    - makedirs: True
    - show_changes: False

# Whoever is no longer in the pillar may no longer ask for its secrets.
master-stale-keys-removed:
  file.directory:
    - name: /etc/salt/pki/master/minions
    - clean: True
    - require:
      - file: master-minion-keys-managed

master-service-enabled:
  service.enabled:
    - name: salt-master
    - require:
      - file: master-unit-managed

master-restart-requested:
  cmd.run:
    - name: systemctl daemon-reload && systemctl start --no-block salt-restart@master.service
    - require:
      - file: minion-units-managed
    - onchanges:
      - file: master-config-managed
      - file: master-unit-managed
      - file: master-keys-managed
{%- if salt['boot.master_is_older']() %}

# It decides by the code that it was started with, however new the tree is.
master-restart-for-new-code-requested:
  cmd.run:
    - name: systemctl start --no-block salt-restart@master.service
    - require:
      - cmd: master-restart-requested
{%- endif %}
