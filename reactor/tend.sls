# Every few seconds, without any event: an event that got lost must not lose a failover.
# cluster/tend of the engine heartbeat.
react:
  runner.ha.react:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
