#!py
"""A VM is late, lost or back, or says something new of itself.

salt/beacon/<observer>/heartbeat/... of the beacons, cluster/heartbeat/... of the engine; their
docstrings document the payload.
"""


def run():
    return {"react": {"runner.ha.react": [{"args": [{"tag": tag}, {"data": data}]}]}}
