#!/bin/sh
# Managed by Salt. Leaves this VM passive, or reboots it: after heartbeatd heard a higher epoch (the
# addresses are gone then), and when files.deactivate finds writes suspended. Those cannot end: an
# unmount or a demotion waits for them, and so does the sync of an orderly reboot. Nothing is lost
# by it, because nothing of that was acknowledged.
reboot_now() {
    logger -t step-down "files: $1; rebooting"
    echo b > /proc/sysrq-trigger
    systemctl --no-sync reboot -ff
    exit 1
}

# What NFS or udev had open, the kernel drops a moment after they ended.
let_go() {
    timeout -s KILL "$1" sh -c 'shift; until "$@"; do sleep 0.1; done' let_go "$@"
}

resource=$(timeout -s KILL 2 drbdsetup events2 --now r0 | grep '^exists resource') || resource=
case $resource in
'') [ -e /sys/module/drbd ] && grep -q ro:Primary/ /proc/drbd && reboot_now "DRBD does not answer" ;;
*suspended:no*) ;;
*) reboot_now "writes are suspended" ;;
esac
timeout -s KILL 4 systemctl stop files-nfs || reboot_now "the NFS server does not stop"
timeout -s KILL 2 /usr/local/lib/cluster/files-nfs.sh stopped  # what a killed one left behind
if mountpoint -q /srv/files; then
    let_go 3 umount /srv/files || reboot_now "/srv/files does not unmount"
fi
case $resource in
*role:Primary*) let_go 2 drbdadm secondary r0 || reboot_now "r0 stays Primary" ;;
esac
exit 0
