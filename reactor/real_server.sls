# A web VM left the pool or came back: salt/beacon/<balancer>/real_server/<down|up>/<name>.
react:
  runner.ha.react:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
