include:
  - common

arbiter-etcd-installed:
  pkg.installed:
    - name: etcd-server

# etcd runs as its own user and cannot read /etc/cluster/vm.key.
arbiter-certificates-managed:
  file.managed:
    - names:
      - /etc/etcd/ca.crt:
        - contents_pillar: secrets:ca:certificate
      - /etc/etcd/member.crt:
        - contents_pillar: secrets:certificate:certificate
      - /etc/etcd/member.key:
        - contents_pillar: secrets:certificate:key
    - user: root
    - group: etcd
    - mode: '0640'
    - makedirs: True
    - show_changes: False
    - require:
      - pkg: arbiter-etcd-installed

arbiter-config-managed:
  file.managed:
    - names:
      - /etc/default/etcd:
        - source: salt://arbiter/files/etcd.env
        - template: jinja
      - /etc/systemd/system/etcd.service.d/cluster.conf:
        - source: salt://arbiter/files/etcd.service.conf
    - makedirs: True
    - require:
      - pkg: arbiter-etcd-installed

arbiter-member-enrolled:
  etcd_member.enrolled:
    - name: {{ grains.id }}
    - require:
      - file: common-certificates-managed
      - file: arbiter-certificates-managed
      - file: arbiter-config-managed

arbiter-etcd-running:
  service.running:
    - name: etcd
    - enable: True
    - require:
      - etcd_member: arbiter-member-enrolled
    - watch:
      - file: arbiter-config-managed
