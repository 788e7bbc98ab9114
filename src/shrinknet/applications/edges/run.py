"""`minimize_edges`: the edge task, run in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from shrinknet.applications.edges.data import Cropping
from shrinknet.applications.edges.task import edge_task
from shrinknet.applications.running import Finished, run_task


def minimize_edges(
    run_dir: str | Path,
    *,
    images: str | Path | None = None,
    edges: str = "canny",
    crop: int = 128,
    widths: tuple[int, ...] = (5, 5, 1),
    kernel: int = 5,
    learning_rate: float = 2e-3,
    seed: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    **options: Any,
) -> Finished:
    """Trains the thesis's network on photographs and minimizes it; test photographs influence no decision.

    Args:
        run_dir: folder for checkpoints, journal, models, exports, pictures and the page. Repeating the call resumes an
            interrupted run; a finished one returns at once.
        images: a folder of photographs; None: those that ship with scikit-image.
        edges: "canny" or "sobel", the edge map that is learnt.
        crop: height and width of the crops in pixels; widths: filters of each convolution; kernel: size of the masks.
        learning_rate: of Adam; the thesis does not state its rate.
        seed: of network, crops, order and strategy; None: that of the run in the folder, or a random one.
        on_error: "fail" raises at a photograph that cannot be used, "skip" lists it in the result.
        options: those of `run_task` and `minimize`.

    Raises:
        DataError, OptionError: see their messages.
        RunError: the folder contains another run, or another process is writing to it.
        StorageError: the disk is full or fails; what was decided before is kept.
    """
    return run_task(
        lambda seed: edge_task(
            Cropping(crop, train=48, grid=3),
            widths=widths,
            kernel=kernel,
            learning_rate=learning_rate,
            target=edges,
            root=images,
            seed=seed,
            on_error=on_error,
        ),
        run_dir,
        seed=seed,
        **options,
    )
