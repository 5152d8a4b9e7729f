"""The commands of bin/lab."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lab import config, moodle, status
from lab.alone import alone
from lab.errors import LabError, StepFailed
from lab.image import CACHE
from lab.lab import Lab
from lab.power import MODES
from lab.progress import Progress, span
from lab.up import APPLY_SECONDS, bring_up

DESCRIPTION = """\
The whole cluster on this machine: two servers of four VMs each and a witness, run by User-Mode
Linux, on networks without a route out. Nothing but root is needed; the first `up` builds an image.
"""
TARGET = "a VM or a server (lb1, server1)"
LINK = "a VM, a server, or one of its links (lb1, server1, lb1:eth1, lb1:serial, server1:eth1)"


def parser():
    """Return the parser of every command."""
    top = argparse.ArgumentParser(prog="bin/lab", description=DESCRIPTION,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--name", default="default", help="labs of different names do not meet")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, about, *arguments):
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("--name", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        for flags, options in arguments:
            sub.add_argument(*flags, **options)

    rest = (["arguments"], {"nargs": "*", "metavar": "ARGS"})
    target = (["target"], {"help": TARGET})
    link = (["target"], {"nargs": "+", "help": LINK + "; `lb1 serial` is the same as `lb1:serial`"})
    one_way = (["--way"], {"choices": ["in", "out"], "help": "only what the target gets, sends"})
    add("up", "bring everything up; on a running lab, converge it",
        (["--full-size"], {"action": "store_true", "help": "VMs as big as the pillar says"}),
        (["--moodle"], {"metavar": "FILE-OR-URL", "help": "a Moodle archive to install"}),
        (["--engine"], {"choices": ["mysql", "mariadb"], "help": "the database"}),
        (["--pillar"], {"metavar": "FILE", "help": "a pillar to lay over the lab's own"}),
        (["--no-apply"], {"action": "store_true", "help": "boot and connect Salt, no more"}),
        (["--verbose"], {"action": "store_true", "help": "show every step's log as it grows"}))
    add("down", "take everything away, disks included")
    add("status", "who is up, who holds what, how much memory is used")
    add("run", "run a command in a VM", (["vm"], {}), rest)
    add("salt", "run salt on a master, after a push", rest)
    add("client", "play students from outside and judge what became of their records", rest)
    add("crash", "cut the power", target)
    add("start", "switch on", target)
    add("pause", "freeze", target)
    add("resume", "let go on", target)
    add("cut", "pull a cable", link, one_way)
    add("heal", "plug a cable in again", link)
    add("fence", "say or set how the power switches behave that fence_lab asks",
        (["mode"], {"nargs": "?", "choices": MODES}))
    add("logs", "show a VM's journal, or the logs of the last up",
        (["vm"], {"nargs": "?"}), rest)
    add("open", "print how to reach the site from this machine",
        (["--port"], {"type": int, "default": 0, "help": "of the proxy on 127.0.0.1"}))
    add("push", "bring this checkout to the masters")
    add("image", "build the images and print where they are",
        (["--engine"], {"choices": ["mysql", "mariadb"], "help": "the database"}),
        (["--verbose"], {"action": "store_true", "help": "show every step's log as it grows"}))
    add("bench", "measure the lab and print the figures", rest)
    return top


def split(argv):
    """
    Return (words for our own parser, words for the command that is run by ours).

    Behind `salt`, `client`, `bench`, `run VM` and `logs VM` everything belongs to that command,
    options too.
    """
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] == "--name" else 1
    count = PASSING.get(argv[index]) if index < len(argv) else None
    if count is None:
        return argv, []
    end = index + 1 + count
    passed = argv[end:]
    return argv[:end], passed[1:] if passed[:1] == ["--"] else passed


def main(argv, root):
    """Run a command; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # each cleans up behind it
        signal.signal(number, signal.default_int_handler)
    own, passed = split(argv)
    options = parser().parse_args(own)
    if passed:
        options.arguments = passed
    try:
        return COMMANDS[options.command](options, root) or 0
    except StepFailed as error:
        for text in error.tail:
            print(f"  | {text}", file=sys.stderr)
        print(f"lab: {error}\nlab: whole log: {error.log}", file=sys.stderr)
        return 1


# Command -> how many words of ours follow it before the words of another command.
PASSING = {"salt": 0, "client": 0, "bench": 0, "run": 1, "logs": 1}


def running(options, root):
    """Return the lab of that name; raises LabError if it is not up."""
    lab = Lab(root, options.name)
    if not lab.exists:
        raise LabError(f"the lab {options.name!r} is not up; begin with: bin/lab up")
    return lab


def changing(root, name):
    """Keep two `up` or `down` of one lab apart."""
    folder = Path(root, ".lab")
    folder.mkdir(exist_ok=True)
    return alone(folder / f".{name}.lock", f"another up or down of the lab {name!r} is running")


def up(options, root):
    """Bring the lab up and say how to use it."""
    with changing(root, options.name):
        wanted = {}
        if options.engine:
            wanted["engine"] = options.engine
        if options.full_size:
            wanted["full_size"] = True
        if options.pillar:
            wanted["pillar"] = config.named(options.pillar)
        if options.moodle:
            wanted["moodle"] = moodle.describe(options.moodle)
        lab = Lab(root, options.name, wanted)
        lab.refuse_change(wanted)
        progress = Progress(lab.run_folder / "logs", CACHE / "durations.json", options.verbose)
        bring_up(lab, progress, apply=not options.no_apply)
        print(f"\nup in {span(sum(progress.durations.values()))}\n")
        print(status.table(status.rows(lab)))
        print("\n" + how_to_open(lab, lab.open()))


def how_to_open(lab, port):
    """Return how a person reaches the site."""
    return (f"The site is {lab.url} inside the lab. From this machine:\n"
            f"  curl -x http://127.0.0.1:{port} {lab.url}/\n"
            f"  chromium --proxy-server=http://127.0.0.1:{port} {lab.url}/")


def down(options, root):
    """Take the lab away, whatever is left of it."""
    with changing(root, options.name):
        Lab(root, options.name).down()
    Path(root, ".lab", f".{options.name}.lock").unlink(missing_ok=True)


def show_status(options, root):
    """Print the table, what is cut, and what could not be seen."""
    lab = running(options, root)
    found = status.rows(lab)
    print(status.table(found))
    cuts = lab.cuts()
    if cuts:
        print(f"\ncut: {', '.join(cuts)}")
    return 0 if all(row["state"] == "up" for row in found) else 3


def run(options, root):
    """Run a command in a VM, with this terminal."""
    words = options.arguments or ["bash", "-l"]
    line = words[0] if len(words) == 1 else shlex.join(words)
    machine = running(options, root)[options.vm]
    argv = machine.ssh(line)
    if sys.stdin.isatty():
        argv.insert(-2, "-t")
    return subprocess.run(argv).returncode


def salt(options, root):
    """Run salt on the first master that answers."""
    lab = running(options, root)
    lab.push()
    words = options.arguments
    if any(word.startswith("state.") for word in words) and not {"-t", "--timeout"} & set(words):
        # A minion that is busy with its states answers too late to be counted as busy.
        words = ["-t", str(APPLY_SECONDS), *words]
    return subprocess.run(lab.master().ssh(shlex.join(["/opt/salt/bin/salt", *words]))).returncode


def client(options, root):
    """Run the outside client where only the public network is."""
    argv, environment = running(options, root).students(*options.arguments)
    return subprocess.run(argv, env=environment).returncode


def fault(verb):
    """Return the command that does `verb` to a VM or server."""
    def command(options, root):
        getattr(running(options, root), verb)(options.target)
    return command


def cut(options, root):
    """Cut links."""
    running(options, root).cut(":".join(options.target), options.way)


def heal(options, root):
    """Undo cuts."""
    running(options, root).heal(":".join(options.target))


def fence(options, root):
    """Say or set the mode of the power switches."""
    device = running(options, root).fence
    if options.mode:
        device.mode = options.mode
    print(device.mode)


def logs(options, root):
    """Show the journal of a VM, or the step logs."""
    lab = running(options, root) if options.vm else Lab(root, options.name)
    if options.vm:
        line = shlex.join(["journalctl", "--no-pager", *(options.arguments or ["-n", "100"])])
        return subprocess.run(lab[options.vm].ssh(line)).returncode
    for path in sorted((lab.run_folder / "logs").glob("*.log")):
        print(f"== {path}")
        print(path.read_text(errors="replace"))
    return 0


def open_proxy(options, root):
    """Start the proxy and say how to use it."""
    lab = running(options, root)
    print(how_to_open(lab, lab.open(options.port)))


def push(options, root):
    """Bring the checkout to the masters."""
    for path in running(options, root).push():
        print(path)


def build(options, root):
    """Build the images only."""
    lab = Lab(root, options.name, {"engine": options.engine} if options.engine else None)
    progress = Progress(lab.root / ".lab" / "logs", CACHE / "durations.json", options.verbose)
    progress.plan(lab.images.steps())
    lab.images.build(progress)
    print(lab.images.tree())
    print(lab.images.image())
    print(lab.images.image(lab.engine))


def measure(options, root):
    """Measure; the arguments are those of lab/bench.py or lab/growth.py."""
    from lab import bench, growth
    if options.arguments[:1] == ["growth"]:  # simulated: no lab is needed
        return growth.main(root, options.arguments[1:])
    return bench.main(running(options, root), options.arguments)


COMMANDS = {
    "up": up, "down": down, "status": show_status, "run": run, "salt": salt, "client": client,
    "crash": fault("crash"), "start": fault("start"), "pause": fault("pause"),
    "resume": fault("resume"), "cut": cut, "heal": heal, "fence": fence, "logs": logs,
    "open": open_proxy, "push": push, "image": build, "bench": measure,
}
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
