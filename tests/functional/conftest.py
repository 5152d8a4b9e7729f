"""A real master with a copy of our tree, and two real minions named like VMs."""

import logging

import pytest

from tests import trees

MINIONS = ("web1", "db1")


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    return {
        "code_dir": None,
        "root_dir": tmp_path_factory.mktemp("s"),
        "inject_sitecustomize": False,
        "coverage_rc_path": None,
        "coverage_db_path": None,
        "slow_stop": False,
    }


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The folder with the tree that the master serves."""
    folder = trees.tree(tmp_path_factory.mktemp("tree"))
    # Shows whether states were run at all, without touching this machine.
    (folder / "salt/probe.sls").write_text(
        "probe-file-managed:\n  file.managed:\n    - name: {{ opts.root_dir }}/probe\n"
        "    - contents: {{ pillar.cluster.name }}\n"
    )
    return folder


@pytest.fixture(scope="session")
def master(salt_factories, tree):
    """A running salt-master."""
    settings = {
        "file_roots": {"base": [str(tree / "salt")]},
        "pillar_roots": {"base": [str(tree / "pillar")]},
        "module_dirs": [str(tree)],
        "pillar_dirs": [str(tree / "_pillar")],
        "ext_pillar": [{"cluster": {"secrets": str(tree / "pillar/secrets.sls")}}],
        "auto_accept": True,
        "interface": "127.0.0.1",
        "worker_threads": 3,
        "timeout": 20,
    }
    daemon = salt_factories.salt_master_daemon("lb1", overrides=settings)
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def minions(master):
    """The running minions by name; they got nothing but what `saltutil.sync_all` brings."""
    running = {}
    for name in MINIONS:
        running[name] = master.salt_minion_daemon(
            name,
            overrides={"multiprocessing": False, "mine_enabled": False},
            start_timeout=120,
        )
        running[name].start()
    yield running
    for daemon in running.values():
        daemon.terminate()


@pytest.fixture(scope="session")
def salt(master, minions):
    """Call a function on a minion and return its answer: salt("web1", "test.ping")."""
    client = master.salt_cli()

    def call(minion, *arguments, **keywords):
        return client.run(*arguments, minion_tgt=minion, _timeout=120, **keywords)

    for name in MINIONS:
        assert call(name, "saltutil.sync_all").returncode == 0
    return call


@pytest.fixture(scope="session")
def run(master):
    """Call a runner: run("ha.check")."""
    client = master.salt_run_cli()
    return lambda *arguments: client.run(*arguments, _timeout=120)


@pytest.fixture
def local(tree, salt):
    """Write pillar/local.sls for one test: local("cluster: {...}"); refreshes the minions."""
    path = tree / "pillar/local.sls"

    def write(text):
        path.write_text(text)
        for name in MINIONS:
            salt(name, "saltutil.refresh_pillar", "wait=True")

    yield write
    path.unlink(missing_ok=True)
    for name in MINIONS:
        salt(name, "saltutil.refresh_pillar", "wait=True")


@pytest.fixture(scope="session", autouse=True)
def _quiet_end():
    """Salt flushes log records while Python exits, when pytest's streams are closed already."""
    yield
    logging.raiseExceptions = False
