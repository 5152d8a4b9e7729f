"""What several layers share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def rootfs():
    """A function: database engine -> folder with the unpacked root file system of the VMs."""

    def folder(engine):
        found = os.environ.get(f"CLUSTER_ROOTFS_{engine.upper()}")
        return Path(found)

    return folder
