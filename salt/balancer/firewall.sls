balancer-firewall-managed:
  file.managed:
    - name: /etc/nftables.conf
    - source: salt://balancer/files/nftables.conf.jinja
    - template: jinja
    - mode: '0755'
    - require:
      - pkg: balancer-packages-installed

# Says so, and changes nothing, where the kernel has no nf_tables for IPv4.
balancer-firewall-loaded:
  firewall.loaded:
    - name: /etc/nftables.conf
    - table: inet cluster
    - service: nftables
    - watch:
      - file: balancer-firewall-managed
