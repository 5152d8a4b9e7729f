# One vote of the arbiter: etcd, on the VMs that cluster.arbiter.members names, if the driver is
# etcd. Anywhere else whatever ran here before is stopped.
{%- set arbiter = pillar.cluster.arbiter %}
include:
{%- if arbiter.driver == 'etcd' and grains.id in arbiter.members %}
  - arbiter.etcd
{%- else %}
  - arbiter.absent
{%- endif %}
