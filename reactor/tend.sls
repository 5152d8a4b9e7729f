#!py
"""Every few seconds, without any event: one that got lost must not lose a failover.

cluster/tend of the engine heartbeat.
"""


def run():
    return {"react": {"runner.ha.react": [{"args": [{"tag": tag}, {"data": data}]}]}}
