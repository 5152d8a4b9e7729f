"""
Write every file that a VM's highstate manages, inside a chroot, without touching any service.

Runs with the VMs' own Python and Salt: compiles the highstate for the id given, applies the chunks
of the states that only write files, users and groups, and prints what it found as JSON.
"""

import json
import logging
import sys

import salt.config
import salt.state

WRITES = ("file", "user", "group", "apache_module", "apache_conf", "apache_site", "ini", "locale")
REQUISITES = ("onlyif", "unless", "check_cmd", "creates", "reload_modules", "retry", "parallel")


def options(vm):
    """Return masterless minion options that resolve states, modules and pillar from the tree."""
    tree = "/srv/cluster"
    opts = salt.config.minion_config(None, minion_id=vm)
    opts.update(
        id=vm,
        file_client="local",
        file_roots={"base": [f"{tree}/salt"]},
        pillar_roots={"base": [f"{tree}/pillar"]},
        module_dirs=[tree],
        pillar_dirs=[f"{tree}/_pillar"],
        ext_pillar=[{"cluster": {"secrets": f"{tree}/pillar/secrets.sls"}}],
        multiprocessing=False,
        state_events=False,
        grains={},
    )
    opts["grains"] = __import__("salt.loader").loader.grains(opts)
    return opts


def write(state, chunk):
    """Apply one chunk as the minion would, less its conditions, and return its result."""
    bare = {key: value for key, value in chunk.items() if key not in REQUISITES}
    bare["__run_num__"] = state.state_con.setdefault("runs", 0)
    result = state.call(bare)
    return {key: result.get(key) for key in ("name", "result", "comment", "changes")}


def main(vm):
    """Compile and write; return ``errors`` (list), ``low`` (chunks) and ``results`` (by index)."""
    logging.disable(logging.CRITICAL)
    with salt.state.HighState(options(vm)) as highstate:
        pillar = highstate.opts["pillar"]
        if pillar.get("_errors"):
            return {"errors": pillar["_errors"], "low": [], "results": {}}
        low = highstate.compile_low_chunks()
        errors = [chunk for chunk in low if isinstance(chunk, str)]
        if errors:
            return {"errors": errors, "low": [], "results": {}}
        results = {
            index: write(highstate.state, chunk)
            for index, chunk in enumerate(low)
            if chunk["state"] in WRITES
        }
    return {"errors": [], "low": low, "results": results, "secrets": pillar.get("secrets", {})}


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout, default=str)
