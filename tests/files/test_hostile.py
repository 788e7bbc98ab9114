"""Malicious files: each ends in one sentence and the documented exit code, and none does any harm."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from shrinknet.errors import DataError, ModelError
from shrinknet.files.inspection import check_npz, inspected
from shrinknet.files.models import open_model

GIB = 2**30


def honest(path: Path) -> Path:
    """A valid model."""
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
    net.compile(keras.optimizers.Adam(), "mse")
    net.fit(np.zeros((2, 4)), np.zeros((2, 1)), verbose=0)
    net.save(path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return honest(tmp_path_factory.mktemp("plain") / "plain.keras")


def rewritten(source: Path, target: Path, changes: Mapping[str, Callable[[bytes], bytes]], **added: bytes) -> Path:
    """A copy of a `.keras` file with other members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, bytes)(old.read(name)))
        for name, content in added.items():
            new.writestr(name, content)
    return target


def with_settings(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy whose first Dense layer has other settings."""

    def changed(config: bytes) -> bytes:
        facts = json.loads(config)
        change(facts["config"]["layers"][1]["config"])
        return json.dumps(facts).encode()

    return rewritten(source, target, {"config.json": changed})


def with_weights(source: Path, target: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy with other weights."""

    def changed(weights: bytes) -> bytes:
        scratch = target.with_suffix(".scratch")
        scratch.write_bytes(weights)
        with h5py.File(scratch, "a") as file:
            change(file)
        content = scratch.read_bytes()
        scratch.unlink()
        return content

    return rewritten(source, target, {"model.weights.h5": changed})


def kernel_of(file: h5py.File) -> tuple[h5py.Group, str]:
    """The location of the first kernel."""
    found: list[str] = []
    file.visit(lambda name: found.append(name) if name.endswith("vars/0") and "dense" in name else None)
    parent, _, name = found[0].rpartition("/")
    return file[parent], name


def lambda_layer(plain: Path, folder: Path) -> Path:
    path = folder / "lambda.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)]).save(path)
    return path


def os_system(plain: Path, folder: Path) -> Path:
    bad = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    return with_settings(plain, folder / "system.keras", lambda layer: layer.update(activation=bad))


def external_link(plain: Path, folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["kernel"] = np.ones((4, 3), "float32")

    def change(file: h5py.File) -> None:
        group, name = kernel_of(file)
        del group[name]
        group[name] = h5py.ExternalLink(str(folder / "secret.h5"), "kernel")

    return with_weights(plain, folder / "link.keras", change)


def external_storage(plain: Path, folder: Path) -> Path:
    def change(file: h5py.File) -> None:
        group, name = kernel_of(file)
        del group[name]
        group.create_dataset(name, (4, 3), "float32", external=[(str(folder / "secret.raw"), 0, 48)])

    return with_weights(plain, folder / "storage.keras", change)


def shape_bomb(plain: Path, folder: Path) -> Path:
    def change(file: h5py.File) -> None:
        group, name = kernel_of(file)
        del group[name]
        group.create_dataset(name, (4, GIB // 16), "float32", chunks=(4, 1024), compression="gzip")

    return with_weights(plain, folder / "shape.keras", change)


def wide_layer(plain: Path, folder: Path) -> Path:
    return with_settings(plain, folder / "wide.keras", lambda layer: layer.update(units=GIB // 16))


def zip_bomb(plain: Path, folder: Path) -> Path:
    path = rewritten(plain, folder / "bomb.keras", {})
    archive = zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("assets/zeros", "w") as member:
        for _ in range(512):
            member.write(bytes(2**20))
    return path


def traversal(plain: Path, folder: Path) -> Path:
    return rewritten(plain, folder / "traversal.keras", {}, **{"assets/../../evil.py": b"print('evil')"})


def absolute(plain: Path, folder: Path) -> Path:
    return rewritten(plain, folder / "absolute.keras", {}, **{str(folder / "evil.py"): b"print('evil')"})


def legacy_link(plain: Path, folder: Path) -> Path:
    path = folder / "legacy.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file["weights"] = h5py.ExternalLink("/etc/hostname", "/")
    return path


def endless(plain: Path, folder: Path) -> Path:
    def change(file: h5py.File) -> None:
        group, _ = kernel_of(file)
        group["again"] = file

    return with_weights(plain, folder / "endless.keras", change)


def huge_settings(plain: Path, folder: Path) -> Path:
    return rewritten(plain, folder / "settings.keras", {"config.json": lambda config: config + b" " * 2**24})


def nested_settings(plain: Path, folder: Path) -> Path:
    return rewritten(plain, folder / "nested.keras", {"config.json": lambda config: b"[" * 10**6})


def half(plain: Path, folder: Path) -> Path:
    path = folder / "half.keras"
    path.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    return path


def gigapixels(plain: Path, folder: Path) -> Path:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = folder / "gigapixels.png"
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def postscript(plain: Path, folder: Path) -> Path:
    path = folder / "program.png"  # Pillow would pass it to Ghostscript
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    return path


def endless_cell(plain: Path, folder: Path) -> Path:
    path = folder / "cell.csv"
    with open(path, "wb") as file:
        file.write(b'repetition,filter\n1,"' + b"a" * 2**20)
        file.truncate(GIB)  # the rest is a hole that reads as zeros, so that the test is quick
    return path


def endless_settings(plain: Path, folder: Path) -> Path:
    path = folder / "settings.toml"
    with open(path, "wb") as file:
        file.write(b'images = "')
        file.truncate(GIB)
    return path


CASES: dict[Callable[[Path, Path], Path], str] = {
    lambda_layer: "contains Python code",
    os_system: "needs system from the module os, which is not part of Keras|contains Python code",
    external_link: "points to another place or file",
    external_storage: "whose data are in another file",
    shape_bomb: "declares weights of at least 1,07",
    wide_layer: "describes a network whose weights take at least 1,07",
    zip_bomb: "would unpack to 53",
    traversal: "would be written outside its folder",
    absolute: "would be written outside its folder",
    legacy_link: "points to another place or file",
    endless: "in two places|points to another place",
    huge_settings: r"contains a config.json of more than 8,388,608 bytes|would unpack to",
    nested_settings: "cannot be opened as a Keras model",
    half: "not a zip archive, or only part of one",
    gigapixels: r"declares more pixels than can be read .*3600000000.*expected at most 50,000,000",
    postscript: "cannot be read as an image",
    endless_cell: "larger than 8,388,608 bytes",
    endless_settings: "larger than 1,048,576 bytes",
}

READ = r"""
import json, re, sys
from functools import partial
import shrinknet.files.models, shrinknet.files.tables, shrinknet.imaging.files, PIL.Image, h5py, pandas
from shrinknet.cli.exits import exit_code
from shrinknet.experiments.correlations import Correlations
from shrinknet.experiments.settings import load_settings

readers = {
    ".keras": shrinknet.files.models.open_model, ".h5": shrinknet.files.models.open_model,
    ".png": shrinknet.imaging.files.read_grey, ".csv": shrinknet.files.tables.read_csv,
    ".toml": lambda path: load_settings(Correlations, file=path),
}
def memory(what):
    return 1024 * int(re.search(what + r":\s+(\d+) kB", open("/proc/self/status").read())[1])

readers[".keras"](sys.argv[1])  # what an honest file costs is no part of the harm
baseline = memory("VmRSS")
for path in sys.argv[2:]:
    print("FILE", path, file=sys.stderr, flush=True)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted anew from here
    code = exit_code(partial(readers[path[path.rindex("."):]], path))
    print(json.dumps({"code": code, "memory": memory("VmHWM") - baseline}), flush=True)
"""


def try_all(folder: Path) -> dict[str, dict[str, Any]]:
    """The result for each file: exit code, message, peak memory above that of the process, size."""
    plain = honest(folder / "plain.keras")
    paths = {make.__name__: make(plain, folder) for make in CASES}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", READ, str(plain), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    said = [part.partition("\n")[2] for part in done.stderr.split("FILE ")[1:]]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(found) == len(paths)
    assert not list(folder.parent.rglob("evil.py"))
    return {
        name: {**facts, "said": text.strip(), "size": path.stat().st_size}
        for (name, path), text, facts in zip(paths.items(), said, found, strict=True)
    }


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return try_all(tmp_path_factory.mktemp("hostile"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does it")
@pytest.mark.parametrize("name", [make.__name__ for make in CASES])
def test_one_sentence_the_exit_code_and_little_memory(name: str, tried: dict[str, dict[str, Any]]) -> None:
    found, message = tried[name], {make.__name__: message for make, message in CASES.items()}[name]
    assert found["code"] == 2
    assert re.search(message, found["said"]), found["said"]
    assert found["said"].startswith("Error: ") and "\n" not in found["said"], found["said"]
    assert found["memory"] <= 2 * found["size"] + 200_000_000


def test_legitimate_models_are_opened(plain: Path, tmp_path: Path) -> None:
    opened = open_model(plain, compiled=True)
    assert opened.count_params() == 19 and opened.optimizer is not None
    opened.save(tmp_path / "legacy.h5")
    assert open_model(tmp_path / "legacy.h5").count_params() == 19
    wide = keras.Sequential([keras.Input((1000,)), keras.layers.Dense(9000)])  # 36 MB, more than the room for headers
    wide.compile(keras.optimizers.Adam(), "mse")
    wide.save(tmp_path / "wide.keras", include_optimizer=False)
    assert open_model(tmp_path / "wide.keras", compiled=True).count_params() == wide.count_params()


def test_the_limit_on_variables_is_removed_afterwards(plain: Path) -> None:
    with pytest.raises(ModelError, match="weights take"), inspected(plain):
        keras.layers.Dense(GIB // 4).build((None, 1))
    assert keras.Variable(np.zeros(3)).shape == (3,)


def test_a_zip_of_arrays_that_outgrows_its_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", x=np.arange(12))
    check_npz(tmp_path / "good.npz")
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(2**22))
    with pytest.raises(DataError, match=r"would unpack to 33,554,.*Save it with numpy\.savez"):
        check_npz(tmp_path / "bomb.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match=r"text\.npz .*not a zip"):
        check_npz(tmp_path / "text.npz")
