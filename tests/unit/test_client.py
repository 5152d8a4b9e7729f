"""The outside client judges what became of everything it sent."""

import email
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse
import xml.etree.ElementTree

import pytest

from lab import client, plot
from lab.deadline import wait_until
from lab.verdict import longest_gap, per_second, sparkline, summary, verdict
from tests.loading import ROOT

DIGEST = "a" * 64


def entry(event, number, time=None, kind="answer", sha256=DIGEST):
    time = float(number) if time is None else time
    return {"event": event, "time": time, **client.record(kind, "c1", number, sha256)}


def held(number, kind="answer", sha256=DIGEST):
    return client.record(kind, "c1", number, sha256)


def journal(*acknowledged, failed=()):
    entries = []
    for number in sorted([*acknowledged, *failed]):
        entries.append(entry("sent", number))
        entries.append(entry("failed" if number in failed else "acknowledged", number))
    return entries


def test_everything_acknowledged_and_there_is_ok():
    result = verdict(journal(1, 2, 3), [held(1), held(2), held(3)])
    assert result["ok"] and result["acknowledged"] == 3 and result["failed"] == 0


def test_acknowledged_and_gone_is_lost():
    result = verdict(journal(1, 2), [held(1)])
    assert not result["ok"] and result["lost"] == [("answer", "c1", 2)]


def test_failed_and_gone_is_no_broken_promise():
    result = verdict(journal(1, failed=[2]), [held(1)])
    assert result["ok"] and result["failed"] == 1 and result["lost"] == []


def test_failed_and_there_is_named_unacknowledged_but_not_a_broken_promise():
    result = verdict(journal(1, failed=[2]), [held(1), held(2)])
    assert result["ok"] and result["unacknowledged"] == [("answer", "c1", 2)]
    assert result["unexpected"] == []


def test_never_sent_and_there_is_unexpected():
    result = verdict(journal(1), [held(1), held(7)])
    assert not result["ok"] and result["unexpected"] == [("answer", "c1", 7)]


def test_twice_there_is_duplicated():
    result = verdict(journal(1), [held(1), held(1)])
    assert not result["ok"] and result["duplicated"] == [("answer", "c1", 1)]


def test_other_content_is_corrupted():
    result = verdict(journal(1), [held(1, sha256="b" * 64)])
    assert not result["ok"] and result["corrupted"] == [("answer", "c1", 1)]


def test_an_answer_and_an_upload_of_the_same_number_are_two_records():
    entries = [entry("sent", 1), entry("acknowledged", 1)]
    entries += [entry(event, 1, kind="upload") for event in ("sent", "acknowledged")]
    assert verdict(entries, [held(1)])["lost"] == [("upload", "c1", 1)]


def test_longest_gap_counts_the_silence_at_the_end_too():
    entries = [entry("sent", 1, 0.0), entry("acknowledged", 1, 0.5), entry("failed", 2, 6.5)]
    assert longest_gap(entries) == {"seconds": 6.0, "from": 0.5, "to": 6.5}
    assert longest_gap([])["seconds"] == 0


def test_seconds_and_sparkline_show_where_it_failed():
    entries = [
        entry("acknowledged", 1, 10.0),
        entry("acknowledged", 2, 10.9),
        entry("failed", 3, 12.1),
        entry("acknowledged", 4, 13.0),
    ]
    assert per_second(entries) == [(2, 0), (0, 0), (0, 1), (1, 0)]
    assert sparkline(entries) == "█·x▄"
    assert per_second([]) == [] and sparkline([]) == ""


def test_summary_names_what_was_lost():
    text = "\n".join(summary(verdict(journal(1, 2), [held(1)])))
    assert "lost 1: answer 2 of c1" in text and "BROKEN" in text


def test_plot_is_well_formed_and_escaped():
    picture = plot.svg([(3, 0), (0, 2)], "a < b", {"seconds": 1.5, "from": 0.5, "to": 2.0})
    root = xml.etree.ElementTree.fromstring(picture)
    assert root.tag.endswith("svg") and "a < b" in "".join(root.itertext())
    assert xml.etree.ElementTree.fromstring(plot.svg([], "nothing")) is not None


def test_multipart_is_read_back_by_a_mime_parser():
    content = bytes(range(256)) + b"\r\n--x"
    body, kind = client.multipart({"client": "c1", "number": "4"}, "work.bin", content)
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    parts = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.get_payload()
    }
    assert parts == {"client": b"c1", "number": b"4", "file": content}


class CourseSite(http.server.BaseHTTPRequestHandler):
    """The stand-in site's interface on loopback, with faults to be found."""

    protocol_version = "HTTP/1.1"
    store, forget, fail = {}, set(), set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/login.php":
            return self.reply({"ok": True}, cookie="session=1; path=/")
        if "session=1" not in self.headers.get("Cookie", ""):
            return self.reply({"ok": False}, status=403)
        fields = self.fields(body)
        key = (self.path.strip("/").removesuffix(".php"), fields["client"], int(fields["number"]))
        if key[2] not in self.forget:
            self.store[key] = fields.get("text", fields.get("sha256"))
        return self.reply({"ok": key[2] not in self.fail})

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        wanted = dict(urllib.parse.parse_qsl(parts.query))["client"]
        kind, column = {"/answers.php": ("answer", "text"), "/files.php": ("upload", "sha256")}[
            parts.path
        ]
        self.reply(
            [
                {"number": number, column: value}
                for (what, who, number), value in self.store.items()
                if (what, who) == (kind, wanted)
            ]
        )

    def fields(self, body):
        kind = self.headers["Content-Type"]
        if not kind.startswith("multipart/"):
            return dict(urllib.parse.parse_qsl(body.decode()))
        message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        return {
            part.get_param("name", header="content-disposition"): part.get_payload(
                decode=True
            ).decode(errors="replace")
            for part in message.get_payload()
        }

    def reply(self, answer, status=200, cookie=None):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def site():
    CourseSite.store, CourseSite.forget, CourseSite.fail = {}, set(), set()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), CourseSite)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def play(site, folder, *more):
    options = "--students 2 --rate 60 --duration 1 --upload-every 3 --upload-size 1000 --run r"
    return client.main(["--url", site, "--folder", str(folder), *options.split(), *more])


def test_a_run_against_an_honest_site_ends_well_and_leaves_its_evidence(site, tmp_path):
    assert play(site, tmp_path, "--max-failed", "0") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["acknowledged"] == result["sent"] == len(CourseSite.store)
    assert {kind for kind, _, _ in CourseSite.store} == {"answer", "upload"}
    events = [json.loads(line)["event"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert events.count("acknowledged") == result["acknowledged"]
    assert (tmp_path / "r.svg").read_text().startswith("<svg")


def test_a_site_that_acknowledges_and_forgets_is_found_out(site, tmp_path, capsys):
    CourseSite.forget = {2}
    assert play(site, tmp_path) == 1
    assert [key[2] for key in json.loads((tmp_path / "r.json").read_text())["lost"]] == [2, 2]
    assert "BROKEN PROMISE" in capsys.readouterr().out


def test_refusals_are_no_loss_but_can_be_counted_against_the_site(site, tmp_path):
    CourseSite.fail = {2}
    assert play(site, tmp_path) == 0
    assert play(site, tmp_path / "strict", "--max-failed", "0") == 1


def test_a_site_out_of_reach_gives_no_verdict(tmp_path, capsys):
    options = ["--url", "http://127.0.0.1:9", "--duration", "0.2", "--wait", "0.2"]
    assert client.main([*options, "--folder", str(tmp_path)]) == 2
    assert "no verdict" in capsys.readouterr().err


def test_a_moodle_out_of_reach_has_no_forum(tmp_path, capsys):
    options = ["--url", "http://127.0.0.1:9", "--site", "moodle", "--account", "admin"]
    assert client.main([*options, "--folder", str(tmp_path)]) == 2
    assert "no forum to write to" in capsys.readouterr().err


def test_a_play_that_is_ended_early_is_judged_all_the_same(site, tmp_path):
    options = ["--students", "2", "--rate", "20", "--duration", "60", "--run", "r"]
    command = [sys.executable, "-m", "lab.client", "--url", site, "--folder", tmp_path, *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: len(CourseSite.store) > 3, "some answers", 10)
    child.terminate()
    output, errors = child.communicate(timeout=20)
    assert child.returncode == 0 and "stopped early" in errors and "verdict: every" in output
