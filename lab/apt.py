"""Where packages come from: what this machine's own apt is set up to use."""

import os
import re
import subprocess

from lab.errors import LabError

# Settings of how to fetch, not of what: the VMs' suite has indexes of its own.
SKIPPED = ("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::cdrom",
           "Acquire::CompressionTypes", "Acquire::Languages", "Acquire::GzipIndexes")
TARGETS = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(COMPONENT)",
           "Created-By: Packages"]


def mirror(targets):
    """
    Return the Debian archive that the host uses, from the output of `apt-get indextargets`.

    An archive without a Debian label (Ubuntu's, a vendor's) or of security updates only is none:
    raises LabError, which asks for one.
    """
    for line in targets.splitlines():
        uri, origin, component = [*line.split("|"), "", ""][:3]
        if origin == "Debian" and component == "main" and "security" not in uri:
            return uri.rstrip("/")
    raise LabError("this machine's apt has no Debian archive; name one: LAB_MIRROR=URL bin/lab up")


def settings(dump):
    """Return the lines of `apt-config dump` that say how to fetch: proxies, checks, retries."""
    found = []
    for line in dump.splitlines():
        match = re.match(r'(Acquire::[^ ]+) "(.+)";$', line)
        if match and not match.group(1).startswith(SKIPPED):
            found.append(line)
    return found


def host_mirror():
    """Return the archive to build from: LAB_MIRROR, or what this machine's apt uses."""
    named = os.environ.get("LAB_MIRROR")
    return named or mirror(subprocess.run(TARGETS, capture_output=True, text=True).stdout)


def host_settings():
    """Return this machine's settings of how to fetch, as lines of an apt.conf."""
    return settings(subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout)
