# A director: IPVS with NAT, its table and both sync daemons on both balancers at all times. Which
# balancer holds the addresses is decided at run time (director.activate); a state only founds the
# resource, once in the life of a cluster.
include:
  - balancer.kernel
  - balancer.ipvs
  - balancer.pool
  - balancer.firewall

balancer-packages-installed:
  pkg.installed:
    - pkgs: [ipvsadm, nftables]

balancer-director-founded:
  resource.founded:
    - name: director
    - require:
      - ipvs: balancer-ipvs-table-present
      - ipvs: balancer-ipvs-sync-daemons-present
      - firewall: balancer-firewall-loaded
      - sysctls: balancer-sysctls-set
