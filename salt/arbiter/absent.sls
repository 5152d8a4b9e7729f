# No vote here: the driver is another one, or this VM is no member (any more).
arbiter-etcd-dead:
  service.dead:
    - name: etcd
    - enable: False
