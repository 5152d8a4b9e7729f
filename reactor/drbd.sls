# The replicated disk changed its role, its state or its connection: salt/beacon/<vm>/drbd/<change>.
react:
  runner.ha.react:
    - args:
      - tag: {{ tag | json }}
      - data: {{ data | json }}
