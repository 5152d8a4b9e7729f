#!/bin/sh
# Managed by Salt.
# Ends the database on this VM at once, without asking it: commits that wait for their replica must
# not be acknowledged, and a hung server would not answer. Started again, it is passive.
unit={{ pillar.cluster.database.engine }}
pid=$(systemctl show --property=MainPID --value "$unit")
if [ "${pid:-0}" -gt 0 ]; then
    kill -KILL "$pid" 2>/dev/null
    # 6 s: half of what the caller allows. Too short reboots a VM whose disk is merely slow.
    for try in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$pid" 2>/dev/null; then
        logger -t step-down "database: $unit cannot be ended, its disk does not answer; rebooting"
        echo b > /proc/sysrq-trigger
        systemctl --no-sync reboot -ff
        exit 1
    fi
fi
systemctl reset-failed "$unit" 2>/dev/null
systemctl start --no-block "$unit"
