# A director: IPVS with NAT, its table and both sync daemons on both balancers at all times. Which
# balancer holds the addresses is decided at run time (director.activate), never here.
include:
  - balancer.kernel
  - balancer.ipvs
  - balancer.firewall

balancer-packages-installed:
  pkg.installed:
    - pkgs: [ipvsadm, nftables]
