"""
What a fresh VM must hold before Salt can take over, and how to read the tree outside Salt.

For bin/secrets, bin/bootstrap and the lab. ``files`` gives the same text for minion.d and master.d
as the states do, so the first state run after it changes nothing there.
"""

import importlib.util
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/local/lib/cluster/salt"  # PYTHONPATH of Salt's units


def load(name):
    """Return a module of ``_utils``; none of them needs Salt to be imported."""
    spec = importlib.util.spec_from_file_location(f"cluster_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pillar(tree):
    """Return the cluster of a tree: cluster.sls, with local.sls merged over it as Salt does."""
    cluster = {}
    for name in ("cluster.sls", "local.sls"):
        path = Path(tree, "pillar", name)
        if name == "cluster.sls" or path.exists():
            cluster = merge(cluster, _read(path).get("cluster") or {})
    return load("topology").settled(cluster)


def errors(cluster):
    """Return what is wrong with the cluster, a sentence each; secrets are not looked at."""
    schema = _read(HERE.parent / "pillar" / "schema.yaml")
    judged = load("schema").validate({"cluster": cluster, "secrets": {}}, schema)
    valid = judged["valid"].get("cluster") or {}
    found = judged["errors"] + load("check").errors(valid) + load("addressing").errors(valid)
    lines = [f"{error['path']}: {error['message']}" for error in found]
    return sorted(line for line in lines if line.startswith("cluster"))


def secrets(tree):
    """Return the secrets of a tree; raises ValueError for what only a master can decrypt."""
    path = Path(tree, "pillar", "secrets.sls")
    if not path.exists():
        raise ValueError(f"{path} is missing; bin/secrets writes it")
    found = _read(path).get("secrets") or {}
    if "BEGIN PGP MESSAGE" in str(found):
        raise ValueError(f"{path} is encrypted, which only a master decrypts; use a copy in clear")
    return found


def merge(base, over):
    """Return ``base`` with ``over`` laid on it key by key; lists and scalars are replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merge(base.get(key), value) for key, value in over.items()}}


def _read(path):
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        # Not the error's own text: it quotes the line, and secrets are read here too.
        mark = getattr(error, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path} is not plain YAML{where}") from None
    return data if isinstance(data, dict) else {}


def files(cluster, secrets, name):
    """
    Return ``{path: (mode, text)}``: configuration and keys that make a VM a minion.

    A balancer also gets what makes it a master: the shared key pair and every accepted minion.
    """
    topology = load("topology")
    keys = secrets.get("salt") or {}
    balancer = topology.vm(cluster, name)["role"] == "balancer"
    needed = ["master", *(f"minions.{vm}" for vm in (cluster["vms"] if balancer else [name]))]
    if missing := [key for key in needed if not _found(keys, key)]:
        listed = ", ".join(f"secrets.salt.{key}" for key in missing)
        raise ValueError(f"pillar/secrets.sls lacks {listed}; bin/secrets adds what is missing")
    config = topology.dump(topology.minion_config(cluster, name))
    made = {
        "/etc/salt/minion.d/cluster.conf": (0o644, config),
        "/etc/salt/pki/minion/minion.pem": (0o400, keys["minions"][name]["private"]),
        "/etc/salt/pki/minion/minion.pub": (0o644, keys["minions"][name]["public"]),
        # Known beforehand, so that nobody else can pose as the master on first contact.
        "/etc/salt/pki/minion/minion_master.pub": (0o644, keys["master"]["public"]),
    }
    if not balancer:
        return made
    config = topology.dump(topology.master_config(cluster, name))
    made["/etc/salt/master.d/cluster.conf"] = (0o644, config)
    # Named after the master's id, or its first start would rename the pair and leave links behind.
    made[f"/etc/salt/pki/master/{name}.pem"] = (0o400, keys["master"]["private"])
    for public in (name, "master"):  # Salt's own tools look for master.pub
        made[f"/etc/salt/pki/master/{public}.pub"] = (0o644, keys["master"]["public"])
    for vm in cluster["vms"]:
        path = f"/etc/salt/pki/master/minions/{vm}"
        made[path] = (0o644, keys["minions"][vm]["public"])
    return made


def _found(keys, path):
    """Return what is at a path of keys with dots, None if nothing is there."""
    for key in path.split("."):
        keys = keys.get(key) if isinstance(keys, dict) else None
    return keys


def units(role):
    """Return ``{path: (mode, text)}`` of the services, the same files as salt/minion and master."""
    system, salt = "/etc/systemd/system", HERE.parent / "salt"
    made = {
        f"{system}/salt-minion.service": (0o644, salt / "minion/files/salt-minion.service"),
        f"{system}/salt-restart@.service": (0o644, salt / "minion/files/salt-restart@.service"),
        "/usr/local/sbin/salt-idle": (0o755, salt / "minion/files/salt-idle"),
        f"{PYTHON}/sitecustomize.py": (0o644, salt / "minion/files/sitecustomize.py"),
    }
    if role == "balancer":
        master = salt / "master/files/salt-master.service"
        made[f"{system}/salt-master.service"] = (0o644, master)
    return {path: (mode, file.read_text(encoding="utf-8")) for path, (mode, file) in made.items()}
