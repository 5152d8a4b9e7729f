"""
Write every file that a VM's highstate manages, inside a chroot, without touching any service.

Runs with the VMs' own Python and Salt: compiles the highstate for the id given, applies the chunks
of the states that only write files, users and groups, and prints what it found as JSON.
"""

import json
import logging
import pathlib
import sys

import salt.config
import salt.state

# A state's module, or one function of it.
WRITES = ("file", "user", "group", "apache_module", "moodle.configured", "sysctls.managed")
CONDITIONS = ("onlyif", "unless", "reload_modules", "retry", "parallel")
KERNEL = pathlib.Path("/var/tmp/proc-sys")


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


def write(state, chunk, low):
    """Apply one chunk as the minion would, less its conditions, and return its result."""
    if chunk["state"] == "sysctls":
        spare_the_kernel(state, chunk)
    bare = {key: value for key, value in chunk.items() if key not in CONDITIONS}
    result = state.call(bare, chunks=low)
    return {key: result.get(key) for key in ("name", "result", "comment", "changes")}


def spare_the_kernel(state, chunk):
    """Most parameters of the kernel know no namespace: let the state find files of ours instead."""
    function = state.states["sysctls.managed"]
    sys.modules[function.func.__module__].PROC = KERNEL
    for key in {**chunk["values"], **chunk.get("optional", {})}:
        path = KERNEL / (key if "/" in key else key.replace(".", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def main(vm):
    """Compile, write twice; return errors, low (chunks), results and again (of both times)."""
    logging.disable(logging.CRITICAL)
    with salt.state.HighState(options(vm)) as highstate:
        pillar = highstate.opts["pillar"]
        if pillar.get("_errors"):
            return {"errors": pillar["_errors"], "low": []}
        low = highstate.compile_low_chunks()
        errors = [chunk for chunk in low if isinstance(chunk, str)]
        if errors:
            return {"errors": errors, "low": []}
        writers = [
            chunk
            for chunk in low
            if {chunk["state"], f"{chunk['state']}.{chunk['fun']}"} & set(WRITES)
        ]
        first, second = (
            [write(highstate.state, chunk, low) for chunk in writers] for _ in range(2)
        )
    secrets = pillar.get("secrets", {})
    return {"errors": [], "low": low, "results": first, "again": second, "secrets": secrets}


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout, default=str)
