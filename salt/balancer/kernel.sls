{%- set interfaces = salt['topology.me']().interfaces.values() %}
balancer-module-configured:
  file.managed:
    - names:
      - /etc/modules-load.d/cluster-balancer.conf: [{contents: ip_vs}]
      - /etc/modprobe.d/cluster-balancer.conf:
        - contents: options ip_vs conn_tab_bits={{ salt['topology.tuning']().conn_tab_bits }}

balancer-sysctls-set:
  sysctls.managed:
    - name: /etc/sysctl.d/60-cluster-balancer.conf
    - values:
        net.ipv4.ip_forward: 1
        # Client and real server may share a wire: a redirect would lead them past the director.
        net.ipv4.conf.all.send_redirects: 0
        net.ipv4.conf.default.send_redirects: 0
        {%- for interface in interfaces %}
        net/ipv4/conf/{{ interface }}/send_redirects: 0
        {%- endfor %}
        # A connection is synchronised at its first packet, then at every fiftieth.
        net.ipv4.vs.sync_threshold: 1 50
        # A connection to a real server that is gone ends at once instead of hanging.
        net.ipv4.vs.expire_nodest_conn: 1
        net.ipv4.vs.expire_quiescent_template: 1
    - optional:
        # IPVS keeps its own, synchronised table; conntrack's is not synchronised. nftables.conf
        # leaves these connections untracked for the same reason. Absent without NFCT.
        net.ipv4.vs.conntrack: 0
    # ipvsadm has loaded ip_vs by then, which brings net.ipv4.vs.*
    - require:
      - ipvs: balancer-ipvs-table-present
