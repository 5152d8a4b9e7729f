"""The outside client in a real Moodle, against the least that such a site has to say."""

import email
import http.server
import json
import re
import threading
import urllib.parse

import pytest

from lab.browser import Refused, digest
from lab.moodle_site import Moodle

LOGIN = ('<form action="/search.php"><input name="q"></form><form action="/login/index.php">'
         '<input type="hidden" name="logintoken" value="t1"><input name="username">'
         '<input type="submit" name="cancel" value="no"></form>')
POST = ('<script>{"contextid":31,"x":{"id":"7","name":"Server files","type":"local"},'
        '"y":{"id":"5","name":"Upload a file","type":"upload"}}</script>'
        '<form action="post.php"><input type="hidden" name="sesskey" value="k">'
        '<input type="hidden" name="forum" value="{forum}"><textarea name="message[text]">'
        '</textarea><input name="subject"><select name="timed"><option value="0" selected>'
        '</select></form>')
EXPORT = ('<form action="/mod/forum/export.php"><input type="hidden" name="id" value="9">'
          '<input type="checkbox" name="from[enabled]" value="1" checked>'
          '<select name="format"><option value="csv" selected></select></form>')
PAGES = {
    "/login/index.php": LOGIN,
    "/course/edit.php": '<form action="edit.php"><input name="fullname"></form>',
    "/course/view.php": '<a href="/mod/forum/view.php?id=4"><span>Announcements</span></a>',
    "/mod/forum/view.php": '<form action="post.php"><input name="forum" type="hidden" value="9">',
    "/mod/forum/post.php": POST.replace("{forum}", "9"),
    "/mod/forum/export.php": EXPORT,
}


class Fake(http.server.BaseHTTPRequestHandler):
    """What of Moodle's pages and redirects the client relies on."""

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        site = type(self)
        if (path == "/login/index.php") == ("MoodleSession=in" in (self.headers["Cookie"] or "")):
            self.lead("/login/index.php" if path != "/login/index.php" else "/my/")
        elif path == "/course/index.php":
            self.reply("".join('<a href="/course/view.php?id=2">lab forum course</a>'
                               for _ in site.courses))
        elif found := re.fullmatch(r"/pluginfile.php/31/mod_forum/attachment/(\d+)/(.*)", path):
            draft = site.posts[int(found[1])].get("attachments")
            name, content = site.drafts.get(draft, (None, b""))
            self.reply(content, 200 if name == found[2] else 404)
        else:
            self.reply(PAGES[path])

    def do_POST(self):
        path = urllib.parse.urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/login/" not in path and "MoodleSession=in" not in (self.headers["Cookie"] or ""):
            if path.endswith("_ajax.php"):
                self.reply('{"error": "invalid sesskey"}')
            else:
                self.lead("/login/index.php")
            return
        getattr(self, path.split("/")[-1].removesuffix(".php"))(body)

    def index(self, body):
        sent = dict(urllib.parse.parse_qsl(body.decode()))
        assert sent["logintoken"] == "t1" and "cancel" not in sent
        good = sent["password"] == "secret"
        self.lead("/login/index.php" + ("?testsession=2" if good else ""),
                  ["MoodleSession=in; path=/", "MOODLEID1_=x"] if good else [])

    def edit(self, body):
        type(self).courses.append(dict(urllib.parse.parse_qsl(body.decode())))
        self.lead("/course/view.php?id=2")

    def post(self, body):
        sent = dict(urllib.parse.parse_qsl(body.decode()))
        assert (sent["sesskey"], sent["forum"], sent["timed"]) == ("k", "9", "0")
        if "silent" in sent["subject"]:
            self.reply("", 500)
            return
        if "lose" in sent["subject"]:
            self.reply('<div class="invalid-feedback">- Required</div>')
            return
        type(self).posts.append(sent)
        self.lead("/mod/forum/view.php?f=9")

    def repository_ajax(self, body):
        kind = self.headers["Content-Type"]
        message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        parts = {part.get_param("name", header="content-disposition"): part
                 for part in message.get_payload()}
        text = {name: part.get_payload() for name, part in parts.items() if part.get_payload()}
        assert (text["repo_id"], text["ctx_id"], text["sesskey"]) == ("5", "31", "k")
        file = parts["repo_upload_file"]
        type(self).drafts[text["itemid"]] = file.get_filename(), file.get_payload(decode=True)
        self.reply(json.dumps({"url": "http://x", "file": file.get_filename()}))

    def export(self, body):
        sent = dict(urllib.parse.parse_qsl(body.decode()))
        assert sent["format"] == "json" and "from[enabled]" not in sent
        found = [{"id": number, "subject": post["subject"], "message": post["message[text]"]}
                 for number, post in enumerate(type(self).posts)]
        self.reply(json.dumps([found]))

    def lead(self, where, cookies=()):
        self.reply("", 303, [("Location", f"http://127.0.0.1{where}"),
                             *(("Set-Cookie", each) for each in cookies)])

    def reply(self, text, status=200, headers=()):
        content = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        for name, value in [("Content-Length", str(len(content))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def site():
    Fake.courses, Fake.posts, Fake.drafts = [], [], {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def student(site):
    student = Moodle(site, 5, "secret", forum=9)
    student.login("admin")
    student.login("admin")  # whoever asks back does so for each student
    return student


def test_a_course_is_made_once(student):
    assert student.prepare() == 9 and student.prepare() == 9
    assert [each["shortname"] for each in Fake.courses] == ["lab"]


def test_what_was_posted_and_uploaded_is_read_back_as_it_was_sent(student):
    content, text = bytes(range(256)), 'answer 1 of r-1: ½ < 1 & it\'s "so"'
    student.answer("r-1", 1, text)
    student.upload("r-1", 2, content, digest(content))
    student.answer("r-11", 1, "of another student")
    assert [(each["kind"], each["number"], each["sha256"]) for each in student.records("r-1")] == [
        ("answer", 1, digest(text.encode())), ("upload", 2, digest(content))]


def test_an_attachment_that_is_gone_is_no_record(student):
    student.upload("r-1", 2, b"x", digest(b"x"))
    Fake.drafts.clear()
    assert list(student.records("r-1")) == []


def test_a_form_that_is_shown_again_is_no_acknowledgement(student):
    with pytest.raises(Refused, match="Required"):
        student.answer("lose", 1, "x")


def test_a_wrong_password_and_no_session_ask_for_a_login(site):
    with pytest.raises(Refused, match="^403"):
        Moodle(site, 5, "wrong", forum=9).login("admin")
    with pytest.raises(Refused, match="^403 for /mod/forum/post.php"):
        Moodle(site, 5, "secret", forum=9).answer("r-1", 1, "x")


def test_a_session_that_is_gone_asks_for_a_new_login(student):
    """A failover may cost the session while the form of before is still known."""
    student.answer("r-1", 1, "x")
    student._cookies = {}
    with pytest.raises(Refused, match="^403"):
        student.answer("r-1", 2, "x")
    student.login("admin")
    student.upload("r-1", 3, b"x", digest(b"x"))
    student._cookies = {}
    with pytest.raises(Refused, match="sesskey"):
        student.upload("r-1", 4, b"x", digest(b"x"))
    with pytest.raises(Refused, match="^403"):
        student.upload("r-1", 5, b"x", digest(b"x"))


def test_a_server_that_breaks_down_and_says_nothing_refuses(student):
    with pytest.raises(Refused, match="no page"):
        student.answer("silent", 1, "x")
