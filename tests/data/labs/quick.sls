# The tuned timing of docs/runbook.md, "Fail over faster".
cluster:
  heartbeat:
    keepalive: 0.1
    warntime: 0.25
    deadtime: 0.5
