# poold: asks the web VMs, keeps those that cannot serve out of the table, with or without Salt.
{%- set https = pillar.cluster.moodle.url.startswith('https:') %}
include:
  - common.files

balancer-pool-code-managed:
  file.managed:
    - makedirs: True
    - names:
      - /usr/local/lib/cluster/pool/health.py: [{source: salt://_utils/health.py}]
{%- for name in ['poold', 'poold_rules', 'poold_wire'] %}
      - /usr/local/lib/cluster/pool/{{ name }}.py: [{source: salt://balancer/files/{{ name }}.py}]
{%- endfor %}

balancer-pool-configured:
  file.managed:
    - template: jinja
    - names:
      - /etc/systemd/system/poold.service: [{source: salt://balancer/files/poold.service}]
      - /etc/cluster/pool.json: [{source: salt://balancer/files/pool.json.jinja}]
      - /etc/cluster/sorry.html: [{source: salt://balancer/files/sorry.html.jinja}]
    - require:
      - file: common-directories-present

{%- if https %}

# The sorry page of an https site is served by TLS, too.
balancer-pool-certificate-managed:
  file.managed:
    - source: salt://common/files/secret.jinja
    - template: jinja
    - mode: '0600'
    - show_changes: False
    - names:
      - /etc/cluster/web.crt: [{context: {secret: 'web:tls:certificate'}}]
      - /etc/cluster/web.key: [{context: {secret: 'web:tls:key'}}]
    - require:
      - file: common-directories-present
{%- endif %}

# A restart forgets nothing: the weights are in the kernel. It comes before the table, so that a new
# web VM is known, and out, before a state could let users reach it.
balancer-pool-running:
  service.running:
    - name: poold
    - enable: True
    - require:
      - pkg: balancer-packages-installed
    - watch:
      - file: balancer-pool-code-managed
      - file: balancer-pool-configured
{%- if https %}
      - file: balancer-pool-certificate-managed
{%- endif %}
