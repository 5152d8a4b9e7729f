"""What several layers share."""

import functools

import pytest

from lab.image import Images
from lab.progress import Progress
from tests.loading import ROOT


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="lab: also the slow half of the tests")
    parser.addoption("--soak", type=float, metavar="MINUTES", help="lab: faults at random, only")
    parser.addoption("--seed", type=int, help="lab: of --soak, to repeat a walk")
    parser.addoption("--moodle", metavar="FILE-OR-URL", help="lab: faults of a real Moodle, only")
    parser.addoption("--lab", metavar="NAME", help="lab: use this running one, leave it running")


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory):
    """A function: database engine -> folder with the unpacked root file system of the VMs."""

    @functools.cache
    def folder(engine):
        images, logs = Images(ROOT, engine), tmp_path_factory.mktemp("image")
        progress = Progress(logs, logs / "history.json")
        progress.plan(images.steps())
        images.build(progress)
        return images.tree(engine)

    return folder
