"""
The guard before every state run, and the door the secrets go through.

Runs on the masters after cluster.sls and local.sls are merged. If anything is wrong with them or
with the secrets it raises one exception that lists all of it: Salt puts its text into the pillar
key ``_errors``, and every state function refuses to run while that key is there. Otherwise the VM
gets its share of the secrets under ``secrets``.

.. code-block:: yaml

    ext_pillar:
      - cluster:
          secrets: /srv/cluster/pillar/secrets.sls
"""

import datetime
import os
import re

import salt.loader
from salt.exceptions import SaltException, SaltRenderError

# Salt executes this file anew for every pillar it compiles, in the same namespace.
_CACHE = globals().get("_CACHE", {})


class WrongPillar(SaltException):
    """Everything that is wrong with the pillar, one error a line."""


def ext_pillar(minion_id, pillar, secrets, schema=None):
    """
    Return ``{"secrets": ...}`` for ``minion_id``, and for a balancer when certificates end.

    Raises WrongPillar with every error found.

    secrets: path of secrets.sls. schema: path of schema.yaml, by default beside it.
    """
    schema = schema or os.path.join(os.path.dirname(secrets), "schema.yaml")
    cluster = __utils__["topology.settled"](pillar.get("cluster"))
    given = _cached(secrets, _decrypted, {})
    found = _errors(cluster, given, _cached(schema, _plain, None), _stamp(secrets))
    if not found and minion_id not in cluster["vms"]:
        found = [{"path": "cluster.vms", "message": f"there is no VM named {minion_id!r}"}]
    if found:
        raise WrongPillar(text(found))
    pillar["cluster"] = cluster  # what an overlay removed is gone for every reader
    found = {"secrets": __utils__["secret.share"](given["secrets"], cluster, minion_id)}
    if cluster["vms"][minion_id]["role"] == "balancer":  # which tells it to the operator
        found["ends"] = __utils__["secret.ends"](given["secrets"], cluster)
    return found


def text(found):
    """Return the errors as the operator reads them."""
    lines = [f"{error['path']}: {error['message']}" for error in found]
    return "\n".join([f"the pillar is wrong, nothing was changed ({len(found)} errors)", *lines])


def errors(data, schema):
    """Return every error in ``{"cluster", "secrets"}`` as ``[{path, message}]``, sorted by path."""
    judged = __utils__["schema.validate"](data, schema)
    cluster = judged["valid"].get("cluster") or {}
    found = judged["errors"] + __utils__["check.errors"](cluster)
    found += __utils__["addressing.errors"](cluster)
    if judged["valid"].get("secrets"):
        found += __utils__["secret.errors"](judged["valid"]["secrets"], cluster)
    return sorted(found, key=lambda error: (error["path"], error["message"]))


def _errors(cluster, given, schema, stamp):
    # Every VM asks for the same answer at once; a certificate may be valid from tomorrow only.
    last = _CACHE.get("errors")
    key = (cluster, stamp, datetime.date.today())
    if not last or last[0] != key:
        data = {"cluster": cluster, "secrets": given.get("secrets")}
        found = errors({key: value for key, value in data.items() if value is not None}, schema)
        if "problem" in given:
            found = [error for error in found if not error["path"].startswith("secrets")]
            return [*found, {"path": "secrets", "message": given["problem"]}]
        _CACHE["errors"] = last = (key, found)
    return last[1]


def _stamp(path):
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode)


def _cached(path, load, missing):
    stamp = _stamp(path)
    if stamp is None:
        return missing
    if _CACHE.get(path, (None,))[0] != stamp:
        with open(path, encoding="utf-8") as file:
            found = load(path, file)
        if "problem" in found:  # perhaps mended elsewhere: the key ring was missing
            return found
        _CACHE[path] = (stamp, found)
    return _CACHE[path][1]


def _plain(path, file):
    return _renderers()["yaml"](file.read())


def _decrypted(path, file):
    """Render secrets.sls; no part of its text may reach an exception, a log or a minion."""
    mode = os.fstat(file.fileno()).st_mode & 0o777
    if mode & 0o077:
        return {"problem": f"{path} has mode {mode:o}, others can read it; chmod 600 it"}
    try:
        content = file.read()
        data = _renderers()["yaml"](content)
        if "BEGIN PGP MESSAGE" in content:
            data = _renderers()["gpg"](data)
    except UnicodeDecodeError:
        return {"problem": f"{path} is not UTF-8"}
    except SaltRenderError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f" near line {line[1]}" if line else ""
        reason = "cannot be decrypted" if "decrypt" in str(error) else f"is not YAML{where}"
        return {"problem": f"{path} {reason}"}
    if not isinstance(data, dict) or "secrets" not in data:
        return {"problem": f"{path} has no key secrets; run bin/secrets"}
    return {"secrets": data["secrets"]}


def _renderers():
    return salt.loader.render(__opts__, __salt__)
