common-directories-present:
  file.directory:
    - makedirs: True
    - names:
      - /etc/cluster: [{mode: '0755'}]
      - /run/cluster: [{mode: '0755'}]
      - /var/lib/cluster: [{mode: '0700'}]

common-files-managed:
  file.managed:
    - template: jinja
    - makedirs: True
    - mode: '0644'
    - names:
      - /etc/hosts: [{source: salt://common/files/hosts.jinja}]
      - /etc/hostname: [{source: salt://common/files/hostname.jinja}]
      - /etc/systemd/journald.conf.d/cluster.conf: [{source: salt://common/files/journald.conf}]
      - /etc/tmpfiles.d/cluster.conf: [{source: salt://common/files/tmpfiles.conf}]

# The template reads the secret itself: in a state's arguments it would reach the debug log.
common-certificates-managed:
  file.managed:
    - source: salt://common/files/secret.jinja
    - template: jinja
    - show_changes: False
    - names:
      - /etc/cluster/ca.crt: [{mode: '0644'}, {context: {secret: 'ca:certificate'}}]
      - /etc/cluster/vm.crt: [{mode: '0644'}, {context: {secret: 'certificate:certificate'}}]
      - /etc/cluster/vm.key: [{mode: '0600'}, {context: {secret: 'certificate:key'}}]
    - require:
      - file: common-directories-present
