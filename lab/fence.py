"""
The lab's power switches: a device on the management network that really cuts the power of a VM or
of a server. Run as: python -m lab.fence ROOT NAME ADDRESS PORT, in the lab's network namespace.

The file `mode` in its folder says how it behaves (`MODE:vms`: so for VMs, and honest for servers):
honest  does what it is told, and says what is
idle    says it did, does nothing, and says the truth when asked for the status
lie     says it did, does nothing, and says "off" when asked for the status afterwards
hang    answers nothing
refuse  answers every action with an error
"""

import http.server
import json
import sys
import threading
import time
import urllib.parse

from lab.lab import Lab

STATES = ("on", "off")


class Device:
    """The switches of one lab."""

    def __init__(self, lab):
        self.lab = lab
        self.claimed = {}  # what a liar said of a plug
        self._lock = threading.Lock()

    def mode(self, plug):
        """Return how the device behaves now."""
        mode, _, scope = self.lab.fence.mode.partition(":")
        return "honest" if scope and plug not in self.lab.machines else mode

    def plugs(self):
        """Return the names of everything with a switch."""
        return [*self.lab.machines, *self.lab.servers]

    def answer(self, action, plug, password=None):
        """Return (code of HTTP, answer) of an action, done; secrets.fencing opens it, if given."""
        mode = self.mode(plug)
        self._note(action, plug, mode)
        known = self.lab.secrets().get("fencing")
        if known and password not in known.values():
            return 401, {"error": "wrong password"}
        if mode == "hang":
            threading.Event().wait()
        if mode == "refuse":
            return 403, {"error": "access denied"}
        if action == "list":
            return 200, {"plugs": self.plugs()}
        if action == "monitor":
            return 200, {}
        if plug not in self.plugs():
            return 404, {"error": f"no plug {plug!r}; there are {', '.join(self.plugs())}"}
        if action == "status":
            lied = self.claimed.get(plug) if mode == "lie" else None
            return 200, {"status": lied or self._status(plug)}
        if mode == "honest":
            self._switch(action, plug)
        self.claimed[plug] = "off" if action == "off" else "on"
        return 200, {}

    def _status(self, plug):
        machines = [self.lab.machines[plug]] if plug in self.lab.machines \
            else self.lab.servers[plug].machines
        return STATES[not any(machine.running for machine in machines)]

    def _switch(self, action, plug):
        with self._lock:
            if action in ("off", "reboot"):
                self.lab.crash(plug)
            if action in ("on", "reboot"):
                self.lab.start(plug)

    def _note(self, action, plug, mode):
        with (self.lab.fence.folder / "requests.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), "action": action, "plug": plug,
                                   "mode": mode}) + "\n")


def handler(device):
    """Return the class that answers requests for `device`."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            words = dict(urllib.parse.parse_qsl(text))
            code, answer = device.answer(self.path.strip("/"), words.get("plug", ""),
                                         words.get("password"))
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass  # the device has its own record

    return Handler


def main(root, name, address, port):
    """Serve for ever."""
    lab = Lab(root, name)
    device = Device(lab)
    http.server.ThreadingHTTPServer((address, int(port)), handler(device)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
