"""The checks of `shrinknet doctor`: versions, hardware, optional packages, and whether a small cut is correct."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from shrinknet import __version__
from shrinknet.errors import ShrinknetError
from shrinknet.extras import install_command, requirements
from shrinknet.records import table


def examine() -> dict[str, Any]:
    """Facts about this installation as plain JSON types; `ok` is the verdict."""
    needed, extras = requirements()
    packages = [_package(requirement) for requirement in needed]
    check = check_a_cut()
    return {
        "ok": check["ok"] and all(package["ok"] for package in packages),
        "versions": {"shrinknet": __version__, "python": platform.python_version(), "platform": platform.platform()},
        "packages": packages,
        "hardware": _hardware(),
        "chromium": shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"),
        "extras": {name: _extra(name, listed) for name, listed in extras.items()},
        "check": check,
    }


def check_a_cut() -> dict[str, Any]:
    """Cuts two filters out of a tiny switched network, and compares the two networks."""
    import keras

    from shrinknet.cutting.slimmer import plan, slim, verify
    from shrinknet.network.switches import Switches
    from shrinknet.network.switching import switched

    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Conv2D(3, 3), keras.layers.Conv2D(1, 3)]
    try:
        net = switched(keras.Sequential([keras.Input((12, 12, 1)), *layers]))
        switches = Switches(net)
        cut = switches.filters[0], switches.filters[-1]
        switches.disable(*cut)
        difference = verify(net, slim(net))
    except ShrinknetError as error:
        return {"ok": False, "message": str(error)}
    costs = plan(net)
    sizes = f"{costs.before.parameters} to {costs.after.parameters} weights" if costs.before and costs.after else ""
    return {"ok": True, "message": f"{cut[0]} and {cut[1]} cut out, {sizes}; outputs differ by {difference:.0e}"}


def as_text(findings: Mapping[str, Any]) -> str:
    """The findings as text."""
    packages = [{**package, "ok": "yes" if package["ok"] else "NO"} for package in findings["packages"]]
    facts = {
        **findings["versions"],
        **findings["hardware"],
        "chromium": findings["chromium"] or "not found: the test that opens the page in a browser is skipped",
        **{
            f"extra {name}": "installed" if extra["installed"] else f"not installed: {extra['command']}"
            for name, extra in findings["extras"].items()
        },
        "a small cut": findings["check"]["message"],
    }
    lines = "\n".join(f"{name:<16} {value}" for name, value in facts.items())
    verdict = "All checks passed." if findings["ok"] else "A check failed: see above."
    return "\n\n".join([table(packages), lines, verdict])


def _package(requirement: Requirement) -> dict[str, Any]:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        version = None
    ok = version is not None and requirement.specifier.contains(version, prereleases=True)
    return {"package": requirement.name, "expected": str(requirement.specifier), "installed": version, "ok": ok}


def _extra(name: str, listed: Iterable[Requirement]) -> dict[str, Any]:
    installed = all(_package(requirement)["ok"] for requirement in listed)
    return {"installed": installed, "command": install_command(name)}


def _hardware() -> dict[str, Any]:
    """Backend, devices, threads, and the setting of oneDNN."""
    import keras

    backend = keras.backend.backend()
    facts: dict[str, Any] = {"backend": backend, "cores": len(os.sched_getaffinity(0))}
    if backend == "jax":
        import jax  # only if it is the backend: it is an extra

        return {**facts, "devices": ", ".join(map(str, jax.devices()))}
    if backend != "tensorflow":
        return facts
    import tensorflow as tf  # only if it is the backend: it takes seconds to load

    threads = (
        tf.config.threading.get_intra_op_parallelism_threads(),
        tf.config.threading.get_inter_op_parallelism_threads(),
    )
    one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    return {
        **facts,
        "devices": ", ".join(device.name for device in tf.config.list_physical_devices()),
        "threads": " / ".join("one per core" if number == 0 else str(number) for number in threads),
        "oneDNN": "TensorFlow's default (on if the CPU supports it)"
        if one_dnn is None
        else f"TF_ENABLE_ONEDNN_OPTS={one_dnn}",
    }
