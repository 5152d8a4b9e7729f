#!py
"""The replicated disk changed: salt/beacon/<vm>/drbd/<change>."""


def run():
    return {"react": {"runner.ha.react": [{"args": [{"tag": tag}, {"data": data}]}]}}
