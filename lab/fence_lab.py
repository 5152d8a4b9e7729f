#!/usr/bin/python3
"""
A fence agent for the lab's power switches, in the VMs: /usr/sbin/fence_lab.

Speaks as Debian's fence agents do: key=value lines on standard input, or options; exit code 0 for
done and for "on", 2 for "off", 1 for everything else. It waits for its device as long as that
takes: whoever calls it has a deadline.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

OPTIONS = {"-o": "action", "--action": "action", "-n": "plug", "--plug": "plug", "-a": "ip",
           "--ip": "ip", "-u": "ipport", "--ipport": "ipport", "-l": "username",
           "--username": "username", "-p": "password", "--password": "password"}
OLDER = {"port": "plug", "ipaddr": "ip", "login": "username", "passwd": "password"}
METADATA = """<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Fence agent for the power switches of the lab">
<parameters>
{parameters}
</parameters>
<actions>
{actions}
</actions>
</resource-agent>"""
ACTIONS = ("on", "off", "reboot", "status", "monitor", "list", "metadata")
PARAMETERS = ("action", "ip", "ipport", "plug", "username", "password")


def read(argv, lines):
    """Return the parameters of a call."""
    if argv:
        split = [part for word in argv for part in
                 (word.split("=", 1) if word.startswith("--") and "=" in word else [word])]
        return {OPTIONS[key]: value for key, value in zip(split[::2], split[1::2], strict=True)}
    pairs = [line.strip().split("=", 1) for line in lines
             if "=" in line and not line.startswith("#")]
    return {OLDER.get(key, key): value for key, value in pairs}


def ask(found):
    """Return the device's answer to the action."""
    query = urllib.parse.urlencode({"plug": found.get("plug", ""),
                                    "password": found.get("password", "")})
    url = f"http://{found['ip']}:{found.get('ipport', '6230')}/{found['action']}"
    with urllib.request.urlopen(url, data=query.encode()) as answer:
        return json.load(answer)


def metadata():
    """Print what this agent understands, as every agent can."""
    print(METADATA.format(
        parameters="\n".join(f'<parameter name="{name}"/>' for name in PARAMETERS),
        actions="\n".join(f'<action name="{name}"/>' for name in ACTIONS)))
    return 0


def main(argv):
    """Do one action; return the exit code."""
    found = {"action": "reboot", **read(argv, [] if argv else sys.stdin)}
    if found["action"] not in ACTIONS:
        print(f"fence_lab: unknown action {found['action']}", file=sys.stderr)
        return 1
    if found["action"] == "metadata":
        return metadata()
    try:
        answer = ask(found)
    except urllib.error.HTTPError as error:
        print(f"fence_lab: {error.read().decode()}", file=sys.stderr)
        return 1
    except (OSError, KeyError, ValueError) as error:
        print(f"fence_lab: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if found["action"] == "list":
        print("\n".join(f"{plug}," for plug in answer["plugs"]))
    if found["action"] == "status":
        print(f"Status: {answer['status'].upper()}")
        return 0 if answer["status"] == "on" else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
