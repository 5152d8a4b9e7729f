"""A database connection that answers what the real servers answered, and notes what it is told."""

import json

from tests.loading import ROOT, Utils, load

RECORDED = {"mysql": "mysql-9.7.4", "mariadb": "mariadb-11.8.6"}
sqlserver = load("_utils/sqlserver.py")


class ReplayedServer:
    """Statements that were not recorded are orders: they are noted and return no row."""

    def __init__(self, engine, role, **changed):
        path = ROOT / "tests/data" / RECORDED[engine] / f"{role}.json"
        recorded = json.loads(path.read_text(encoding="utf-8"))
        self.version = recorded["version"]
        self.dialect = sqlserver.dialect(self.version)
        self.answers = recorded["answers"]
        self.name = "the local server"
        self.told, self.failing = [], {}
        self.connection = self
        for statement, rows in changed.items():
            self.answers[statement] = rows

    def thread_id(self):
        return 0

    def all(self, statement, arguments=None, secret=False):
        if statement in self.failing:
            raise self.failing[statement]
        if statement in self.answers:
            return self.answers[statement]
        self.told.append(statement)
        return []

    def one(self, statement, arguments=None):
        rows = self.all(statement, arguments)
        return rows[0] if rows else None

    def do(self, *statements):
        for statement in statements:
            self.all(statement)

    def pairs(self, statement):
        return {row["Variable_name"]: row["Value"] for row in self.all(statement)}

    def row(self, **columns):
        """Change columns of the recorded SHOW REPLICA STATUS."""
        self.answers["SHOW REPLICA STATUS"][0].update(columns)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def utils_with(local, remote=None):
    """Return the real `_utils`, connecting to the replayed servers instead."""
    utils = Utils()
    utils["sqlserver.local"] = lambda deadline=None: local
    utils["sqlserver.remote"] = lambda *arguments: remote
    return utils
