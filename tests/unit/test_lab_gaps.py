"""The figures of `bin/lab bench failover`, from a journal and decisions."""

import asyncio
import http.server
import json
import threading
import time
import xml.etree.ElementTree

from lab import gaps, knock, plot


def entries(kind, *times):
    return [{"event": "acknowledged", "kind": kind, "time": moment} for moment in times]


def test_the_gap_is_the_longest_time_without_the_kind_that_users_wait_for():
    journal = [*entries("answer", 9.0, 9.9, 10.1, 10.3), *entries("upload", 9.5, 9.8, 13.0, 13.1)]
    assert gaps.gap(journal, 10, ("answer",)) == 0.2
    assert gaps.gap(journal, 10, ("upload",)) == 3.2
    assert gaps.gap(journal, 10, ("answer", "upload")) == 3.2


def test_a_kind_that_never_came_back_has_no_gap():
    assert gaps.gap(entries("answer", 9.0, 9.9), 10, ("answer",)) is None
    assert gaps.gap(entries("answer", 9.0, 50.0), 10, ("answer",)) is None
    assert gaps.spread([None, 2.0, 4.0, 3.0]) == {
        "min": 2.0, "median": 3.0, "max": 4.0, "runs": 4, "never": 1}


def test_seconds_are_told_from_the_fault_to_the_last_step():
    lines = [
        {"id": "old", "at": 90.0, "steps": [{"resource": "files", "do": "swap", "at": 90.0,
                                            "seconds": 9, "result": "ok"}]},
        {"id": "seen", "at": 101.0, "steps": []},
        {"id": "done", "at": 102.2, "steps": [
            {"resource": "files", "do": "swap", "at": 102.2, "seconds": 0.05, "result": "ok"},
            {"resource": "files", "do": "activate", "at": 102.3, "seconds": 1.5, "result": "ok",
             "answer": {"seconds": {"promote": 0.4, "mount": 0.2}}},
            {"resource": "files", "do": "deactivate", "at": 104, "seconds": 0,
             "result": "not waited for"}]},
    ]
    assert gaps.steps(lines, 100.0) == {
        "fault to decision": 2.2, "files: swap": 0.05, "files: activate": 1.5,
        "files: activate: promote": 0.4, "files: activate: mount": 0.2, "fault to last step": 3.8}
    assert gaps.steps(lines[:2], 100.0) == {}


def test_table_and_picture_show_every_kind(capsys):
    runs = {kind: [{"gap": 1.0 + number, "failed": number, "steps": {"files: swap": 0.1}}
                   for number in range(3)] for kind in gaps.KINDS}
    runs["web"] = [{"gap": None, "failed": 9, "steps": {}}]
    gaps.show({"runs": runs, "summary": gaps.summary(runs), "problems": []})
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in gaps.KINDS) and "never" in shown
    picture = xml.etree.ElementTree.fromstring(plot.gaps(runs, gaps.OTHERS))
    assert sum(node.tag.endswith("circle") for node in picture.iter()) == 3 * (len(runs) - 1)


class Page(http.server.BaseHTTPRequestHandler):
    """A site that has only one page, and has it in two pieces."""

    def do_GET(self):
        self.send_response(503 if self.path == "/broken" else 200)
        self.send_header("Content-Length", "99" if self.path == "/torn" else "11")
        self.end_headers()
        for piece in (b"x" * 10, b"y"):
            self.wfile.write(piece)

    def log_message(self, *_):
        """Keep quiet."""


def test_a_knock_counts_only_when_the_page_was_there(capsys):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        asyncio.run(knock.knock("127.0.0.1", server.server_port, "/there"))
        assert json.loads(capsys.readouterr().out)["time"] <= time.monotonic()
        for path in ("/broken", "/torn"):
            asyncio.run(knock.knock("127.0.0.1", server.server_port, path))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    asyncio.run(knock.knock("127.0.0.1", server.server_port, "/there"))
    assert capsys.readouterr().out == ""
