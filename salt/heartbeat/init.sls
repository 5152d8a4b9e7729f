# heartbeatd: hears the other VMs of the cluster, by itself, with or without Salt.
include:
  - common.files

heartbeat-code-managed:
  file.managed:
    - makedirs: True
    - names:
      - /usr/local/lib/cluster/heartbeat/heartbeat.py: [{source: salt://_utils/heartbeat.py}]
{%- for name in ['heartbeatd', 'heartbeat_config', 'heartbeat_helper', 'heartbeat_links',
                 'heartbeat_system', 'heartbeat_view'] %}
      - /usr/local/lib/cluster/heartbeat/{{ name }}.py:
        - source: salt://heartbeat/files/{{ name }}.py
{%- endfor %}

# Not while it starts: that lengthens the silence of a restart.
heartbeat-code-compiled:
  cmd.run:
    - name: /usr/bin/python3 -m compileall -q /usr/local/lib/cluster/heartbeat
    - onchanges:
      - file: heartbeat-code-managed

# Components add what their resource needs: /usr/local/lib/cluster/step-down.d/RESOURCE.
heartbeat-step-down-managed:
  file.managed:
    - makedirs: True
    - names:
      - /usr/local/lib/cluster/step-down:
        - source: salt://heartbeat/files/step_down.py
        - mode: '0755'
      - /etc/cluster/step-down.json:
        - source: salt://heartbeat/files/step-down.json.jinja
        - template: jinja
        - mode: '0644'
    - require:
      - file: common-directories-present

heartbeat-unit-managed:
  file.managed:
    - name: /etc/systemd/system/heartbeatd.service
    - source: salt://heartbeat/files/heartbeatd.service
    - template: jinja

heartbeat-config-managed:
  file.managed:
    - name: /etc/cluster/heartbeat.json
    - source: salt://heartbeat/files/heartbeat.json.jinja
    - template: jinja
    - mode: '0600'
    - show_changes: False
    - check_cmd: /usr/bin/python3 -EsS /usr/local/lib/cluster/heartbeat/heartbeatd.py --check /etc/cluster/heartbeat.json
    - require:
      - file: common-directories-present
      - file: heartbeat-code-managed

heartbeat-service-running:
  service.running:
    - name: heartbeatd
    - enable: True
    - require:
      - cmd: heartbeat-code-compiled
      - file: heartbeat-config-managed
      - file: heartbeat-step-down-managed
    - watch:
      - file: heartbeat-code-managed
      - file: heartbeat-unit-managed

# A restart would be heard; new timing, links or peers need none.
heartbeat-config-reloaded:
  cmd.run:
    - name: systemctl reload heartbeatd
    - onchanges:
      - file: heartbeat-config-managed
    - require:
      - service: heartbeat-service-running
