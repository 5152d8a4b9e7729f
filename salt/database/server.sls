{%- set engine = pillar.cluster.database.engine %}
include:
  - database.data

database-service-running:
  service.running:
    - name: {{ engine }}
    - enable: True
    - require:
      - mysql: database-data-initialised

# The only state that may make a primary or a replica, and only at the very first bring-up.
database-resource-founded:
  resource.founded:
    - name: database
    - require:
      - service: database-service-running

database-accounts-present:
  mysql.accounts_present:
    - name: accounts of {{ pillar.cluster.database.name }}
    - require:
      - resource: database-resource-founded

database-replica-password-current:
  mysql.replica_password:
    - name: replication password
    - require:
      - service: database-service-running
