"""
Runs in a VM and says, four times a second, what the VM claims to serve and what it acknowledges.

Run as: python3 -c TEXT JSON with {"addresses": {claim: address}, "resource": files|database|null,
"name": VM}. One line of JSON each time: {"time", "claims": [...], "writes": [[started, ended, n]]}.
Never asks Salt: an observer that trusts what it observes sees nothing.
"""

import json
import os
import socket
import sys
import threading
import time

PERIOD = 0.25
MARK = "/srv/files/.lab-watch-%s"
SOCKET = "/run/mysqld/mysqld.sock"


def has(address):
    """Return whether the address is this VM's: only then can something be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        try:
            bound.bind((address, 0))
        except OSError:
            return False
        return True


class Files:
    """The file system on DRBD."""

    def claims(self):
        """Return whether this VM is primary and has the file system mounted."""
        try:
            with open("/proc/drbd", encoding="ascii") as drbd, open("/proc/mounts") as mounts:
                return "ro:Primary/" in drbd.read() and " /srv/files " in mounts.read()
        except OSError:
            return False

    def write(self, name, number):
        """Write a number to the disk, over the last one; returns when it is there."""
        # Never truncated: the end of this process may come between any two steps.
        file = os.open(MARK % name, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(file, f"{number:020}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)


class Database:
    """The database server."""

    def __init__(self):
        self.asking = self.writing = None

    def _connect(self, seconds):
        import pymysql

        return pymysql.connect(unix_socket=SOCKET, user="root", autocommit=True,
                               connect_timeout=2, read_timeout=seconds)

    def claims(self):
        """Return whether the server takes writes."""
        try:
            self.asking = self.asking or self._connect(2)
            with self.asking.cursor() as cursor:
                cursor.execute("select @@global.read_only, version()")
                read_only, version = cursor.fetchone()
            # MariaDB lets root write whatever read_only says: there this probe only looks.
            self.writable = "MariaDB" not in version
            return not read_only
        except Exception:
            self.asking = None
            return False

    def write(self, name, number):
        """Commit a number."""
        if not self.writable:
            raise OSError("not tried")
        try:
            fresh = self.writing is None
            self.writing = self.writing or self._connect(3600)
            with self.writing.cursor() as cursor:
                if fresh:
                    cursor.execute("create database if not exists lab_watch")
                    cursor.execute("create table if not exists lab_watch.marks"
                                   " (vm varchar(64) primary key, n bigint)")
                cursor.execute("insert into lab_watch.marks values (%s, %s)"
                               " on duplicate key update n = %s", (name, number, number))
        except Exception as error:
            self.writing = None
            raise OSError(str(error)) from error


class Writer(threading.Thread):
    """Writes as long as this VM claims to serve; a write that hangs hangs only this thread."""

    def __init__(self, resource, name):
        super().__init__(daemon=True)
        self.resource, self.name_, self.serving, self.done = resource, name, False, []

    def run(self):
        while True:
            time.sleep(PERIOD)
            if not self.serving:
                continue
            started = time.time()
            number = int(started * 1000)
            try:
                self.resource.write(self.name_, number)
            except OSError:
                continue
            self.done.append([started, time.time(), number])


def main(options):
    """Report for ever."""
    resource = {"files": Files, "database": Database}.get(options["resource"], lambda: None)()
    writer = Writer(resource, options["name"])
    if resource:
        writer.start()
    while True:
        moment = time.time()
        claims = [claim for claim, address in options["addresses"].items() if has(address)]
        if resource:
            writer.serving = resource.claims()
            if writer.serving:
                claims.append(options["resource"])
        count = len(writer.done)
        print(json.dumps({"time": moment, "claims": claims, "writes": writer.done[:count]}),
              flush=True)
        del writer.done[:count]
        time.sleep(max(0, PERIOD - (time.time() - moment)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
