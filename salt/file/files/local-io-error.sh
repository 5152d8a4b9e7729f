#!/bin/sh
# Managed by Salt. DRBD calls this when its disk failed, and goes on without it. From now on this
# disk misses writes; after a reboot it would look complete again, so note it where it lasts.
# _modules/files_watch.py removes the note when both sides are the same.
note=/var/lib/cluster/files.behind
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ), an I/O error of $DRBD_RESOURCE" > "$note"
sync "$note"
logger -p daemon.err -t local-io-error "$DRBD_RESOURCE: the disk failed; going on without it"
