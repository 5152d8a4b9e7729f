#!py
"""A web VM left the pool or came back: salt/beacon/<balancer>/real_server/<down|up>/<name>."""


def run():
    return {"react": {"runner.ha.react": [{"args": [{"tag": tag}, {"data": data}]}]}}
