{%- set engine = pillar.cluster.database.engine %}
{%- set device = pillar.cluster.database.device %}
# The disk, then the package: whatever a package writes at its first installation lands there.
include:
  - database.config

database-foreign-server-stopped:
  mysql.ours:
    - name: {{ engine }}
    - server_id: {{ salt['mysql_data.server_id']() }}
    - require:
      - file: database-files-managed
{%- if device %}

database-filesystem-present:
  mysql.filesystem:
    - name: {{ device }}
    - require:
      - mysql: database-foreign-server-stopped

database-filesystem-mounted:
  mount.mounted:
    - name: /var/lib/mysql
    - device: {{ device }}
    - fstype: ext4
    - opts: noatime,nofail
    - mkmnt: True
    - require:
      - mysql: database-filesystem-present
    - require_in:
      - file: database-directory-present
{%- endif %}

database-directory-present:
  file.directory:
    - name: /var/lib/mysql
    - user: mysql
    - group: mysql
    - mode: '0750'
    - require:
      - user: database-user-present

database-packages-installed:
  pkg.installed:
    - refresh: False
    - pkgs: {{ {'mysql': ['mysql-server-core', 'mysql-client'], 'mariadb': ['mariadb-server', 'mariadb-client']}[engine] | json }}
    - require:
      - file: database-files-managed
      - file: database-certificates-managed
      - file: database-directory-present

database-data-initialised:
  mysql.initialised:
    - name: /var/lib/mysql
    - engine: {{ engine }}
    - require:
      - pkg: database-packages-installed
