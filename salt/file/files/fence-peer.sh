#!/bin/sh
# Managed by Salt. DRBD asks whether its peer may be taken for gone: when a Primary has lost it, and
# when a side shall become Primary that cannot see the other. Only files.activate may say yes, by a
# permission that counts up to a second since boot. Anything else leaves writes suspended, or the
# promotion refused; a Primary whose peer answers again goes on by itself.
read -r until granted 2>/dev/null < /run/cluster/verdict/files || exit 1
read -r up idle < /proc/uptime
[ "${up%.*}" -lt "$until" ] || exit 1
logger -t fence-peer "$DRBD_RESOURCE: the peer is out, by $granted"
exit 7  # "the peer was stonithed": what it has not acknowledged so far, it never will
