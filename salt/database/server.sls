{%- set engine = pillar.cluster.database.engine %}
include:
  - database.data

database-service-running:
  service.running:
    - name: {{ engine }}
    - enable: True
    - require:
      - mysql: database-data-initialised

# On each server by itself, and before anybody wants to follow it.
database-accounts-present:
  mysql.accounts_present:
    - require:
      - service: database-service-running

database-replica-password-current:
  mysql.replica_password:
    - require:
      - mysql: database-accounts-present

# The only state that may make a primary or a replica, and only at the very first bring-up.
database-resource-founded:
  resource.founded:
    - name: database
    - require:
      - mysql: database-replica-password-current
