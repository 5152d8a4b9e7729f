# The agents that switch VMs and servers off, as cluster.fencing.devices names them.
{%- set packages = salt['fencing.packages']() %}
{%- if packages %}
arbiter-fence-agents-installed:
  pkg.installed:
    - pkgs: {{ packages | json }}
{%- endif %}
