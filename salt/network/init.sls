# Each VM's own addresses, by systemd-networkd. An address that moves is never in a file (I5), and
# what a module added at run time stays through reload and restart of networkd (I4).
{%- for network in salt['topology.networks']() %}
network-{{ network.interface }}-configured:
  file.managed:
    - name: /etc/systemd/network/05-cluster-{{ network.interface }}.network
    - source: salt://network/files/network.jinja
    - template: jinja
    - context: {network: {{ network | json }}}
    - onchanges_in:
      - cmd: network-configuration-reloaded
    - require_in:
      - service: network-networkd-running
{% endfor %}
network-networkd-running:
  service.running:
    - name: systemd-networkd
    - enable: True

network-configuration-reloaded:
  cmd.run:
    - name: networkctl reload
    - require:
      - service: network-networkd-running
