"""The command that runs every test: what it starts has time to clean up."""

import signal
import subprocess
import sys

import pytest

from tests.loading import ROOT

CHILD = """
import sys, time
try:
    print("runs", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)  # four times what subprocess.run() would leave it
    print("cleaned up", flush=True)
    sys.exit(7)
"""
PARENT = """
import signal, sys
from tests.loading import program
test = program("test")
for number in (signal.SIGINT, signal.SIGTERM):  # ignored, where a shell runs this behind itself
    signal.signal(number, signal.default_int_handler)
test.call([sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_started_is_interrupted_once_and_waited_for(number):
    process = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "runs\n"
    process.send_signal(number)
    told, why = process.communicate(timeout=60)
    assert told == "cleaned up\n"
    assert process.returncode == 1
    assert why.endswith("ended with exit code 7\n")
