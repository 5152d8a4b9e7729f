"""
What the lab asks of the machine it runs on, and how it gets it.

Standard library only and Python 3.9: this runs before the virtual environment exists.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lab.errors import LabError

# Command or file -> the Debian and Ubuntu package that brings it.
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "nft": "nftables",
    "git": "git",
    "curl": "curl",
    "rsync": "rsync",
    "gpg": "gnupg",
    "xz": "xz-utils",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
# Names of the pins in pyproject.toml that the lab itself imports.
REQUIREMENTS = ("PyYAML", "Jinja2", "jsonschema", "netaddr", "cryptography", "lxml")
# Mount and network namespaces, taps, chroot, tracing the processes of a VM.
CAPABILITIES = {"SYS_ADMIN": 21, "NET_ADMIN": 12, "SYS_CHROOT": 18, "SYS_PTRACE": 19}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def facts():
    """Return what `refusals` judges, read from this machine."""
    status = dict(
        line.split(":", 1) for line in _read("/proc/self/status").splitlines() if ":" in line
    )
    return {
        "uid": os.geteuid(),
        "system": platform.system(),
        "machine": platform.machine(),
        "tun": os.path.exists("/dev/net/tun"),
        "seccomp": "Seccomp" in status,
        "ptrace_scope": int(_read("/proc/sys/kernel/yama/ptrace_scope").strip() or 0),
        "capabilities": int(status.get("CapEff", "0").strip() or "0", 16),
        "apt": shutil.which("apt-get", path=PATH) is not None,
        "python": sys.version_info[:2],
    }


def refusals(seen):
    """Return every reason, as sentences, why the lab cannot run where `seen` was seen."""
    if seen["system"] != "Linux" or seen["machine"] not in ("x86_64", "AMD64"):
        return [f"the lab runs on Linux x86-64 only; this is {seen['system']} {seen['machine']}"]
    if seen["uid"] != 0:
        return ["the lab needs root for namespaces, bridges and chroot; run it by sudo"]
    reasons = []
    missing = [cap for cap, bit in CAPABILITIES.items() if not seen["capabilities"] >> bit & 1]
    if missing:
        reasons.append(f"root lacks the capabilities {', '.join(missing)} (inside a container?)")
    if seen["ptrace_scope"] == 3:
        reasons.append("kernel.yama.ptrace_scope is 3: no process may be traced, so no VM can run")
    if not seen["seccomp"]:
        reasons.append("this kernel has no seccomp, which User-Mode Linux runs on")
    if not seen["tun"]:
        reasons.append("/dev/net/tun is missing; load the module tun")
    if not seen["apt"]:
        reasons.append("apt-get is missing; the lab installs what it needs by apt")
    if seen["python"] < (3, 11):
        reasons.append("python3 is older than 3.11")
    return reasons


def shortages(*wanted, shown=2**20):
    """Return sentences for what is `wanted`: memory and disks, each (what, needed, available)."""
    return [
        f"too little {what}: {needed // shown} MB needed, {available // shown} MB available"
        for what, needed, available in wanted
        if available < needed
    ]


def available_memory():
    """Return the bytes of memory that can be used without swapping."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def refuse_unfit():
    """Raise LabError with every reason why the lab cannot run here."""
    seen = facts()
    if seen["uid"] == 0 and not seen["tun"]:
        subprocess.run(["modprobe", "tun"], capture_output=True, env={"PATH": PATH})
        seen = facts()
    reasons = refusals(seen)
    if reasons:
        raise LabError("; ".join(reasons))


def install_packages():
    """Install the system packages whose commands or files are missing."""
    missing = sorted(
        package for what, package in NEEDED.items()
        if not (os.path.exists(what) if what[0] == "/" else shutil.which(what, path=PATH))
    )
    if not _has_ensurepip():
        missing.append("python3-venv")
    if not missing:
        return
    print(f"lab: installing {', '.join(missing)}", file=sys.stderr)
    _quiet(["apt-get", "update"])
    _quiet(["apt-get", "install", "-y", "--no-install-recommends", *missing])


def in_venv(root):
    """Return whether this interpreter is the project's own, with the pins it should have."""
    venv = Path(root, ".venv")
    return Path(sys.prefix).resolve() == venv.resolve() and _stamp(venv) == _digest(root)


def install_venv(root):
    """Create or complete the virtual environment; return the path of its interpreter."""
    venv = Path(root, ".venv")
    python = venv / "bin" / "python"
    if _stamp(venv) == _digest(root) and python.exists():
        return str(python)
    print("lab: preparing the virtual environment .venv", file=sys.stderr)
    if not python.exists():
        _quiet([sys.executable, "-m", "venv", str(venv)])
    _quiet([str(python), "-m", "pip", "install", "-q", *pins(_read(Path(root, "pyproject.toml")))])
    (venv / "lab-pins").write_text(_digest(root))
    return str(python)


def pins(pyproject, names=REQUIREMENTS):
    """Return the requirements of `names` as pinned in the text of pyproject.toml."""
    found = dict(re.findall(r'^\s*"(([A-Za-z0-9_.-]+)==[^"]+)"', pyproject, re.MULTILINE))
    by_name = {name: pin for pin, name in found.items()}
    return [by_name.get(name, name) for name in names]


def _digest(root):
    text = " ".join([*pins(_read(Path(root, "pyproject.toml"))), sys.version.split()[0]])
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(venv):
    return _read(venv / "lab-pins")


def _has_ensurepip():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


def _quiet(argv):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}\n{tail}")


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
