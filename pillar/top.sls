# Every VM knows the whole cluster. Secrets are not listed here: _pillar/cluster.py checks all of
# it first and then hands each VM its own share. A missing cluster.sls is its first error.
base:
  '*':
    - cluster
    - local
    - ignore_missing: true
