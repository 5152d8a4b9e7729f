{%- set engine = pillar.cluster.database.engine %}
# Before the package, so that a server which the package starts is passive already.
database-group-present:
  group.present:
    - name: mysql
    - system: True

database-user-present:
  user.present:
    - name: mysql
    - gid: mysql
    - system: True
    - home: /nonexistent
    - createhome: False
    - shell: /bin/false
    - require:
      - group: database-group-present

database-directories-present:
  file.directory:
    - mode: '0755'
    - names:
      - /etc/mysql
      - /etc/mysql/role.d
      - /etc/mysql/tls

database-files-managed:
  file.managed:
    - mode: '0644'
    - template: jinja
    - makedirs: True
    - require:
      - file: database-directories-present
    - names:
      - /etc/mysql/cluster.cnf: [{source: salt://database/files/my.cnf.jinja}]
{%- if engine == 'mysql' %}
      - /etc/systemd/system/mysql.service: [{source: salt://database/files/mysql.service}]
{%- else %}
      - /etc/systemd/system/mariadb.service.d/cluster.conf: [{source: salt://database/files/mariadb.conf}]
{%- endif %}

# What heartbeatd runs when it hears that another VM has taken over.
database-step-down-managed:
  file.managed:
    - name: /usr/local/lib/cluster/step-down.d/database
    - source: salt://database/files/step-down.sh
    - template: jinja
    - mode: '0755'
    - makedirs: True

# The server's own copies: those in /etc/cluster are root's alone.
database-certificates-managed:
  file.managed:
    - source: salt://common/files/secret.jinja
    - template: jinja
    - group: mysql
    - mode: '0640'
    - show_changes: False
    - require:
      - user: database-user-present
      - file: database-directories-present
    - names:
      - /etc/mysql/tls/ca.crt: [{context: {secret: 'ca:certificate'}}]
      - /etc/mysql/tls/vm.crt: [{context: {secret: 'certificate:certificate'}}]
      - /etc/mysql/tls/vm.key: [{context: {secret: 'certificate:key'}}]
