"""One VM: an ordinary process that is a whole Linux, its disks, and the way into it."""

import contextlib
import shlex
import signal
import subprocess
import time
from pathlib import Path

from lab.deadline import Deadline, wait_until
from lab.errors import CommandFailed, LabError
from lab.process import Processes

# All mounts end with the process: it lives in a mount namespace of its own, in a chroot because the
# kernel needs a newer C library than the host may have. Its memory is a file in a tmpfs of its own,
# so the size of the host's /dev/shm does not matter.
#
# A kernel that reboots by itself would find its taps gone: it ends instead, and the loop starts it
# anew, unless the VM switched itself off or never came up. It dies with the loop.
BOOT = """
set -e
root=$1 run=$2 cache=$3 memory=$4 console=$5 serial=$6; shift 6
mount --bind "$run" "$root/mnt"
mount --bind "$cache" "$root/media"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o "size=$memory" tmpfs "$root/dev/shm"
[ -z "$serial" ] || exec 3<>"$serial.in" 4<>"$serial.out"
while began=$(date +%s); do
  setpriv --pdeathsig KILL chroot "$root" /usr/bin/linux "$@" && code=0 || code=$?
  if [ $(($(date +%s) - began)) -lt 3 ]; then exit "$code"; fi
  if tail -n 3 "$console" | grep -qE 'reboot: (Power down|System halted)'; then exit 0; fi
done
"""
SSH = {
    "BatchMode": "yes", "StrictHostKeyChecking": "yes", "LogLevel": "ERROR",
    # Without these a command to a crashed VM hangs for minutes.
    "ConnectTimeout": "3", "ServerAliveInterval": "2", "ServerAliveCountMax": "2",
    "ControlMaster": "auto", "ControlPersist": "600",
}


def kernel_arguments(entry, links, image, serial=False):
    """
    Return the kernel's command line for a VM; `links` in the order of its interfaces.

    `serial`: whether /dev/ttyS0 is a line, on the descriptors 3 and 4.
    """
    name = entry["name"]
    arguments = [
        "seccomp=on", f"umid={name}", f"uml_dir=/mnt/machines/{name}/uml/",
        f"mem={entry['size']['memory'] // 2**20}M",
        f"ubd0=/mnt/machines/{name}/cow,/media/{image}",
    ]
    if entry["size"]["data_disk"]:
        arguments.append(f"ubd1=/mnt/machines/{name}/data")
    arguments += [
        "root=/dev/ubda", "rw", "con=null", "con0=null,fd:1", "ssl=null",
        *(["ssl0=fd:3,fd:4"] if serial else []), "init=/sbin/init",
        "noreboot", "quiet", "systemd.show_status=0", "panic=1", f"lab.seed=/mnt/seed/{name}",
    ]
    for number, link in enumerate(links):
        # Without gro=1 a tap carries 1.6 Mbit/s; without a fixed mac a reboot costs 20 s.
        arguments.append(f"vec{number}:transport=tap,ifname={link.device},mac={link.mac},"
                         "depth=64,gro=1")
    return arguments


class Machine:
    """A VM of the lab. `entry` as topology.vm returns it; `tree` and `image` of the cache."""

    def __init__(self, entry, lab, address, tree, image):
        self.name, self.role, self.server = entry["name"], entry["role"], entry["server"]
        self.entry, self.address = entry, address
        self.memory = entry["size"]["memory"]
        self._lab, self._tree, self._image = lab, Path(tree), Path(image)
        self.folder = lab.run_folder / "machines" / self.name
        self.processes = Processes(self.folder / "process.json")
        self.console = self.folder / "console.log"
        self._socket = lab.sockets / f"{self.name}.sock"

    @property
    def running(self):
        """Whether the VM has power (paused counts)."""
        return self.processes.pid is not None

    @property
    def paused(self):
        """Whether the VM is frozen."""
        return self.processes.stopped

    @property
    def links(self):
        """The VM's cables in the order of its interfaces, management last."""
        return [link for link in self._lab.network.plan.taps if link.owner == self.name]

    def start(self):
        """Switch the VM on; nothing happens when it is on. Returns before it has booted."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._close()
        size = self.entry["size"]
        if size["data_disk"] and not (self.folder / "data").exists():
            with (self.folder / "data").open("wb") as disk:
                disk.truncate(size["data_disk"])
        serial = self._lab.serial.folder / self.name if self.name in self._lab.serial.vms else ""
        if serial:
            self._lab.serial.up()
            self._lab.serial.drain(self.name)
        arguments = kernel_arguments(self.entry, self.links, self._image.name, bool(serial))
        boot = ["nsenter", f"--net=/run/netns/{self._lab.network.name}",
                "unshare", "--mount", "--propagation", "private", "sh", "-c", BOOT, "boot",
                self._tree, self._lab.run_folder, self._image.parent, str(self.memory + 2**24),
                self.console, serial]
        with self.console.open("ab") as console:
            child = subprocess.Popen(
                [*boot, *arguments], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True, cwd="/",
            )
        self.processes.remember(child.pid)

    def replace_disk(self):
        """Take the data disk out of a VM that is off: it starts with a new, blank one."""
        assert not self.running, f"{self.name} is on"
        (self.folder / "data").unlink()

    def crash(self):
        """Cut the power: nothing is flushed, the disks stay as they are."""
        self.processes.kill()
        wait_until(lambda: not (self.running or self.processes.ending),
                   f"{self.name} to lose power", 5, pause=0.02)
        self._close()

    def pause(self):
        """Freeze the VM; it does not know."""
        self.processes.signal(signal.SIGSTOP)

    def resume(self):
        """Let a frozen VM go on."""
        self.processes.signal(signal.SIGCONT)

    def ssh(self, *words):
        """Return the argv that runs `words` (a command line as ssh takes it) in the VM."""
        options = [f"-o{key}={value}" for key, value in SSH.items()]
        folder = self._lab.run_folder / "ssh"
        return ["nsenter", f"--net=/run/netns/{self._lab.network.name}", "ssh", *options,
                f"-i{folder / 'id'}", f"-oUserKnownHostsFile={folder / 'known_hosts'}",
                f"-oControlPath={self._socket}", f"-oHostKeyAlias={self._lab.name}",
                f"root@{self.address}", *words]

    def run(self, argv, timeout=60, stdin=None):
        """Run a command (a list of words) in the VM; return its CompletedProcess with text."""
        if isinstance(argv, str):
            raise TypeError("give the command as a list of words")
        command = self.ssh(shlex.join(str(word) for word in argv))
        return subprocess.run(command, input=stdin, capture_output=True, text=True,
                              errors="replace", timeout=timeout)

    def succeed(self, *argv, timeout=60, stdin=None):
        """Run a command that has to succeed; return its output. Raises CommandFailed."""
        done = self.run(argv, timeout, stdin)
        if done.returncode:
            raise CommandFailed([self.name, *argv], done.returncode, done.stderr or done.stdout)
        return done.stdout

    def fail(self, *argv, timeout=60):
        """Run a command that has to fail; return its output. Raises LabError if it succeeds."""
        done = self.run(argv, timeout)
        if not done.returncode:
            raise LabError(f"{self.name}: {shlex.join(argv)} succeeded\n{done.stdout}")
        return done.stdout + done.stderr

    def answers(self):
        """Return whether a command can be run in the VM now."""
        try:
            return self.run(["true"], timeout=8).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def wait_for_boot(self, seconds=120, stop=None):
        """
        Wait until commands can be run in the VM; raises LabError with its console's end.

        stop: an Event that ends the waiting at once.
        """
        deadline = Deadline(seconds)
        while not self.answers():
            if stop and stop.is_set():
                return
            if not self.running:
                raise LabError(f"{self.name} lost its power while booting\n{self._console_tail()}")
            if deadline.passed:
                raise LabError(f"{self.name} did not boot in {seconds} s\n{self._console_tail()}")
            time.sleep(0.3)

    def wait_until(self, argv, seconds=60):
        """Wait until a command succeeds in the VM; return its output."""
        def once():
            try:
                done = self.run(argv, timeout=max(5, seconds))
            except subprocess.TimeoutExpired:
                return None
            return (done.stdout or " ") if done.returncode == 0 else None
        return wait_until(once, f"{shlex.join(argv)} on {self.name}", seconds)

    def _console_tail(self):
        with contextlib.suppress(OSError):
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-30:])
        return ""

    def _close(self):
        """Forget the connection: the master of a dead VM would hang every later command."""
        if not self._socket.exists():
            return
        leave = [*self.ssh()[:-1], "-Oexit", f"root@{self.address}"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(leave, capture_output=True, timeout=5)
        self._socket.unlink(missing_ok=True)
