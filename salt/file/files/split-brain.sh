#!/bin/sh
# Managed by Salt. DRBD calls this when both sides were written to without the other; it dropped
# the connection and waits for an operator. `drbd.status` reads the note.
mkdir -p /run/cluster
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ), peer $DRBD_PEER" > "/run/cluster/split-brain.$DRBD_RESOURCE"
