"""Keeps edge maps as PNG files, so that those of a large folder are computed once and can be looked at."""

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
    """The edge map of a photograph, from the cache when it is there, else computed and put there.

    The file is `cache`/canny-100-200-0/`name`.png, 16 bits deep, and names the photograph's content: when the
    photograph changes or the file is damaged, it is made anew.

    Args:
        photograph: where the image is from.
        image: its luminance, shape (height, width), values in [0, 1].
        target: makes the edge map; its name and options are the folder's.
        cache: folder that holds the folders of all targets.

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
                f"Edge maps cannot be kept in {str(cache)!r} ({error}): name another folder, or make room."
            ) from error
    return edges


def edge_map_file(photograph: Photograph, target: Target, cache: Path) -> Path:
    """Where the cache keeps the edge map of a photograph, whether it is there or not."""
    options = "-".join(f"{option:g}" for option in astuple(target))
    return cache / f"{type(target).__name__.lower()}-{options}" / f"{photograph.name}.png"


def _read(path: Path, content: str) -> np.ndarray | None:
    """The edge map, or None when there is none that can be trusted."""
    try:
        with Image.open(path) as image:
            if image.mode != "I;16" or image.info.get("photograph") != content:
                return None
            return np.asarray(image, np.float32) / np.float32(65535)
    except Exception:  # missing or damaged, whatever the decoder calls it: it is made anew
        return None


def _write(path: Path, content: str, edges: np.ndarray) -> None:
    """Writes the file whole or not at all: whoever reads at the same time sees the old one or the new one."""
    text = PngImagePlugin.PngInfo()
    text.add_text("photograph", content)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(65535 * edges).astype(np.uint16)).save(buffer, "PNG", pnginfo=text)
    write_file(path, buffer.getvalue())
