# One vote of the arbiter: etcd, on the VMs that cluster.arbiter.members names, if the driver is
# etcd. Anywhere else whatever ran here before is stopped. With the driver fencing both balancers
# need the agents.
{%- set arbiter = pillar.cluster.arbiter %}
include:
{%- if arbiter.driver == 'etcd' and grains.id in arbiter.members %}
  - arbiter.etcd
{%- else %}
  - arbiter.absent
  {%- if arbiter.driver == 'fencing' and pillar.cluster.vms[grains.id].role == 'balancer' %}
  - arbiter.fencing
  {%- endif %}
{%- endif %}
