"""
A real Moodle, to one student of the outside client: its own pages and forms, as a browser without
JavaScript sees them.

An answer is a discussion in a forum, an upload is one with a file attached; what the site holds
comes from the forum's own export and from the attachments, read from moodledata. All students have
the administrator's account, each with a session of its own.
"""

import html
import json
import random
import re
import urllib.parse

import lxml.html

from lab.browser import FORM, Browser, Refused, digest, multipart, record

COURSE = "lab"  # its short name
SUBJECT = re.compile(r"(answer|upload) (\d+) of (\S+)")
PICKER = re.compile(r'"id":"?(\d+)"?,"name":"[^"]*","type":"upload"')
CONTEXT = re.compile(r'"contextid":(\d+)')
MISSING = "there is nothing like {} on {}"


class Moodle(Browser):
    """One browser; `forum` is what `prepare` returned."""

    def __init__(self, url, patience, password, forum=None):
        super().__init__(url, patience)
        self.url, self.password, self.forum = url.rstrip("/"), password, forum
        self._form = self._picker = self._held = None

    def login(self, account):
        """Log in, anew: who is logged in gets no form for it. Raises Refused."""
        self._form, self._cookies = None, {}
        fields = self.form("/login/index.php", "login/index.php")
        where = self.send("/login/index.php", {**fields, "username": account,
                                               "password": self.password})
        if "testsession" not in where:
            raise Refused(f"403 the log-in of {account} led to {where}")

    def prepare(self):
        """Make a course once; return the number of the forum that every course has."""
        name = f"{COURSE} forum course"
        found = re.search(rf'course/view\.php\?id=(\d+)"[^>]*>\s*{name}',
                          self.page("/course/index.php?categoryid=1"))
        course = found[1] if found else self._found_course(name)
        path = f"/course/view.php?id={course}"
        module = _find(r"mod/forum/view\.php\?id=(\d+)", self.page(path), path)
        return int(self.form(f"/mod/forum/view.php?id={module}", "post.php")["forum"])

    def _found_course(self, name):
        fields = self.form("/course/edit.php?category=1", "edit.php")
        where = self.send("/course/edit.php", {
            **fields, "fullname": name, "shortname": COURSE, "saveanddisplay": "1"})
        return _find(r"course/view\.php\?id=(\d+)", where, "the new course")

    def answer(self, client, number, text):
        """Start a discussion."""
        self._post(f"answer {number} of {client}", text)

    def upload(self, client, number, content, sha256):
        """Start a discussion with a file attached."""
        draft = _draft()
        self._discussion()
        fields = {"sesskey": self._form["sesskey"], "repo_id": self._picker["repository"],
                  "ctx_id": self._picker["context"], "itemid": draft, "savepath": "/",
                  "author": client, "license": "unknown", "title": f"work-{number}.bin",
                  "maxbytes": "-1", "areamaxbytes": "-1"}
        body, kind = multipart(fields, f"work-{number}.bin", content, "repo_upload_file")
        status, _, answer = self.fetch("POST", "/repository/repository_ajax.php?action=upload",
                                       body, kind)
        if status != 200 or not _is_stored(answer):
            self._form = None
            raise Refused(f"{status} {answer[:200].decode(errors='replace')}")
        self._post(f"upload {number} of {client}", sha256, attachments=draft)

    def _post(self, subject, text, **more):
        fields = {**self._discussion(), "subject": subject, "message[text]": html.escape(text),
                  "message[format]": "1", "message[itemid]": _draft(), "attachments": _draft(),
                  "submitbutton": "1", **more}
        self._form, form = None, self._form
        where = self.send("/mod/forum/post.php", fields)
        if "/mod/forum/view.php" not in where and "/mod/forum/discuss.php" not in where:
            raise Refused(f"{403 if '/login/' in where else 303}: the post led to {where}")
        self._form = form

    def _discussion(self):
        """Return the fields of the form for a new discussion, asked for once in a session."""
        if self._form is None:
            path = f"/mod/forum/post.php?forum={self.forum}"
            page = self.page(path)
            self._picker = {"repository": _find(PICKER, page, path),
                            "context": _find(CONTEXT, page, path)}
            self._form = _fields(page, "post.php", path)
        return self._form

    def records(self, client):
        """Return everything the site holds of ``client``, as `verdict.verdict` wants it."""
        if self._held is None:
            self._held = self._export()
        for post in self._held:
            found = SUBJECT.fullmatch(post["subject"])
            if not found or found[3] != client:
                continue
            kind, number, text = found[1], int(found[2]), html.unescape(post["message"])
            if kind == "answer":
                yield record(kind, client, number, digest(text.encode()))
            elif content := self._attachment(post["id"], number):
                yield record(kind, client, number, digest(content))

    def _export(self):
        """Return all posts of the forum, whenever they were written."""
        path = f"/mod/forum/export.php?id={self.forum}"
        given = self.form(path, "export.php").items()
        fields = {name: value for name, value in given if not name.endswith("[enabled]")}
        fields |= {"format": "json", "submitbutton": "1"}
        status, _, content = self.fetch("POST", "/mod/forum/export.php", _encode(fields))
        try:
            found = json.loads(content)
        except ValueError as error:
            raise Refused(f"{status} no export: {content[:200]!r}") from error
        return found[0] if found and isinstance(found[0], list) else found

    def _attachment(self, post, number):
        """Return the file of a post, None if it is not there."""
        self._discussion()
        path = f"/pluginfile.php/{self._picker['context']}/mod_forum/attachment/{post}"
        status, _, content = self.fetch("GET", f"{path}/work-{number}.bin")
        if status not in (200, 404):
            raise Refused(f"{status} for work-{number}.bin of post {post}")
        return content if status == 200 else None

    def page(self, path):
        """Return the text of a page; raises Refused."""
        status, headers, content = self.fetch("GET", path)
        if status != 200:
            raise Refused(f"{403 if status == 303 else status} for {path}, {headers['Location']}")
        return content.decode(errors="replace")

    def form(self, path, action):
        """Return the fields of the form on a page that is sent to `action`."""
        return _fields(self.page(path), action, path)

    def send(self, path, fields):
        """Send a form; return where the site sends the browser then. Raises Refused."""
        status, headers, content = self.fetch("POST", path, _encode(fields), FORM)
        if status not in (302, 303):
            told = _parsed(content).xpath(
                "//*[contains(@class, 'errormessage') or contains(@class, 'invalid-feedback')]")
            why = "; ".join(filter(None, (each.text_content().strip() for each in told)))
            raise Refused(f"{status} for {path}: {why or content[:200]!r}")
        return headers["Location"]


def _parsed(page):
    """Return the page's tree; a server that breaks down may answer nothing at all."""
    try:
        return lxml.html.fromstring(page)
    except (lxml.etree.LxmlError, ValueError) as error:
        raise Refused(f"no page: {page[:200]!r}") from error


def _is_stored(answer):
    """Return whether the repository says where the file is, and not what went wrong."""
    try:
        return bool(json.loads(answer).get("url"))
    except (ValueError, AttributeError):
        return False


def _fields(page, action, path):
    """Return what a browser would send of a form, without the buttons."""
    for form in _parsed(page).forms:
        if (form.action or "").partition("?")[0].endswith(action):
            return dict(form.form_values())
    raise Refused(MISSING.format(f"a form for {action}", path))


def _find(pattern, text, where):
    found = re.search(pattern, text)
    if not found:
        raise Refused(MISSING.format(getattr(pattern, "pattern", pattern), where))
    return next(filter(None, found.groups()))


def _encode(fields):
    return urllib.parse.urlencode(fields)


def _draft():
    """Return a number for a draft area, as Moodle draws one itself."""
    return str(random.randint(10**6, 10**9 - 1))
