{%- set interface = salt['topology.me']().interfaces.internal %}
{%- set sync_id = pillar.cluster.balancer.sync_id %}
balancer-ipvs-table-present:
  ipvs.table_present:
    - name: /etc/ipvsadm.rules
    - require:
      - pkg: balancer-packages-installed
      - file: balancer-module-configured
      - service: balancer-pool-running

balancer-ipvs-sync-daemons-present:
  ipvs.sync_daemons_present:
    - interface: {{ interface }}
    - sync_id: {{ sync_id }}
    - require:
      - pkg: balancer-packages-installed
      - sysctls: balancer-sysctls-set

balancer-ipvs-unit-managed:
  file.managed:
    - name: /etc/systemd/system/cluster-ipvs.service
    - source: salt://balancer/files/cluster-ipvs.service.jinja
    - template: jinja
    - context: {interface: {{ interface }}, sync_id: {{ sync_id }}}

# Enabled, not started: it is for the boot, and its work has just been done.
balancer-ipvs-unit-enabled:
  service.enabled:
    - name: cluster-ipvs
    - require:
      - file: balancer-ipvs-unit-managed
