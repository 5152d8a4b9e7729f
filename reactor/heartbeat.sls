# A VM is late, lost or back, or says something new of itself: salt/beacon/<observer>/heartbeat/...
# of the beacons, cluster/heartbeat/... of the engine. Their docstrings document the payload.
react:
  runner.ha.react:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
