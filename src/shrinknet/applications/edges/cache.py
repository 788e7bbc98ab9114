"""Caches edge maps as PNG files, so that those of a large folder are computed once and can be viewed."""

from __future__ import annotations

import hashlib
import io
from dataclasses import astuple
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from shrinknet.applications.edges.photographs import Photograph
from shrinknet.applications.edges.targets import Target
from shrinknet.errors import OptionError, RunError
from shrinknet.files.disk import write_file


def cached_edges(photograph: Photograph, image: np.ndarray, target: Target, cache: Path) -> np.ndarray:
    """The edge map of a photograph, from the cache if it is there, otherwise computed and stored there.

    The file is `cache`/canny-100-200-0/`name`.png, 16 bits deep, and contains a hash of the photograph: if the
    photograph changes or the file is damaged, it is computed again.

    Args:
        photograph: the source of the image.
        image: its luminance, shape (height, width), values in [0, 1].
        target: computes the edge map; the folder is named after it and its options.
        cache: folder with one subfolder for each target.

    Raises:
        OptionError: the cache cannot be written.
    """
    path = edge_map_file(photograph, target, cache)
    content = hashlib.sha256(photograph.path.read_bytes()).hexdigest()
    edges = _read(path, content)
    if edges is None:
        edges = target(image)
        try:
            _write(path, content, edges)
        except (OSError, RunError) as error:
            raise OptionError(
                f"Edge maps cannot be written to {str(cache)!r} ({error}): name another folder, or free some space."
            ) from error
    return edges


def edge_map_file(photograph: Photograph, target: Target, cache: Path) -> Path:
    """The path of a photograph's edge map in the cache, whether it exists or not."""
    options = "-".join(f"{option:g}" for option in astuple(target))
    return cache / f"{type(target).__name__.lower()}-{options}" / f"{photograph.name}.png"


def _read(path: Path, content: str) -> np.ndarray | None:
    """The edge map, or None if there is no valid one."""
    try:
        with Image.open(path) as image:
            if image.mode != "I;16" or image.info.get("photograph") != content:
                return None
            return np.asarray(image, np.float32) / np.float32(65535)
    except Exception:  # missing or damaged, in whatever way: it is computed again
        return None


def _write(path: Path, content: str, edges: np.ndarray) -> None:
    """Writes the file completely or not at all: concurrent readers see either the old one or the new one."""
    text = PngImagePlugin.PngInfo()
    text.add_text("photograph", content)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(65535 * edges).astype(np.uint16)).save(buffer, "PNG", pnginfo=text)
    write_file(path, buffer.getvalue())
