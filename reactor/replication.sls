#!py
"""The database's replication changed: salt/beacon/<vm>/replication/<change>."""


def run():
    return {"react": {"runner.ha.react": [{"args": [{"tag": tag}, {"data": data}]}]}}
