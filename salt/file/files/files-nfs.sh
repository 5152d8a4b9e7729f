#!/bin/sh -e
# Managed by Salt. What files-nfs.service runs: one process for the start instead of four, because
# each that systemd starts by itself costs a takeover some 80 ms.
case $1 in
start)
    # Killed, it may have left the mount behind; a second one on top would outlive the next stop.
    [ /srv/files/nfs -ef /var/lib/nfs ] || mount --bind /srv/files/nfs /var/lib/nfs
    nfsdcld
    exportfs -r
    # While an earlier one listens, only the number of threads would change, and not the scope.
    if read -r _ < /proc/fs/nfsd/portlist; then rpc.nfsd 0; fi 2> /dev/null
    # Clients reclaim from a server of the same scope only; by default that is the host's name.
    exec rpc.nfsd --scope files
    ;;
stopped)
    exportfs -f || true
    while mountpoint -q /var/lib/nfs; do umount /var/lib/nfs; done
    ;;
esac
