# How this works: every VM has one role in the pillar (cluster.vms.NAME.role); the role is a list
# of components, and each component is a folder here whose init.sls reads like a table of
# contents. A state run only configures: it never promotes, demotes, mounts the replicated data
# or moves an address. The one exception is the first bring-up (resource.founded).
{%- set components = {
  'balancer': ['master', 'arbiter', 'balancer', 'stage'],
  'web': ['web', 'moodle'],
  'file': ['file'],
  'database': ['database'],
  'witness': ['witness'],
} %}
base:
  {{ grains.id }}:
    - common
    - network
    - minion
    - heartbeat
{%- for component in components[pillar.cluster.vms[grains.id].role] %}
    - {{ component }}
{%- endfor %}
