"""The figures of the steel experiments: each is drawn, and shows what its table holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shrinknet.applications.steel import exploration, master_table
from shrinknet.experiments.figures import encoded, steel


@pytest.fixture
def master() -> pd.DataFrame:
    rows = [(f"{number}-{one}", number, f"1 {one + 2}") for number in (1, 2, 3, 4) for one in range(number)]
    rows.append(("3-0", 4, "9 2"))
    table = pd.DataFrame(rows, columns=["ImageId", "ClassId", "EncodedPixels"])
    return master_table(table, [*dict.fromkeys(table["ImageId"]), "clean"])


def test_bars_have_the_heights_of_the_tables(master: pd.DataFrame) -> None:
    for table, figure in (
        (exploration.defects_per_image(master), steel.defects_per_image),
        (exploration.classes(master), steel.classes),
    ):
        drawn = figure(table)
        assert [bar.get_height() for bar in drawn.axes[0].patches] == table["images"].tolist()
        assert encoded(drawn)["png"].startswith(b"\x89PNG")


def test_areas_examples_and_histories(master: pd.DataFrame) -> None:
    figure = steel.areas(exploration.areas(master))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "Class_1", "Class_2", "Class_3", "Class_4", "Class_multi",
    ]  # fmt: skip
    picture = np.zeros((4, 8, 3), np.uint8)
    made = {name: {"image": picture, "overlay": picture} for name in ("a", "b", "c")}
    assert len(steel.examples(made).axes) == 6
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "f1": [0.1, 0.2], "val_f1": [0, 1]}
    )
    drawn = steel.histories({"binary": history})
    assert [line.get_ydata().tolist() for line in drawn.axes[0].lines] == [[2.0, 1.0], [2.5, 1.5]]
    for one in (figure, drawn):
        encoded(one)
