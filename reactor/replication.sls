# The database's replication changed: salt/beacon/<vm>/replication/<change>.
react:
  runner.ha.react:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
