"""Exploration: counts and areas by hand, the report's way of counting, and what its own digits prove."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shrinknet.applications.steel import exploration, generate, master_table, published, read
from shrinknet.applications.steel.layout import CLASSES, COLOURS
from shrinknet.imaging.overlays import on_black

SHAPE = (4, 5)


@pytest.fixture
def master() -> pd.DataFrame:
    """Six plates of 20 pixels: three of class 3, one of 1, one of 1 and 3, one clean."""
    rows = [
        ("a", 3, "1 2"), ("b", 3, "1 4"), ("c", 3, "1 20"), ("d", 1, "5 1"), ("e", 1, "1 2"), ("e", 3, "2 3"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["ImageId", "ClassId", "EncodedPixels"])
    return master_table(table, list("abcdef"))


class TestTables:
    def test_defects_per_image(self, master: pd.DataFrame) -> None:
        table = exploration.defects_per_image(master)
        assert table["images"].tolist() == [1, 4, 1, 0, 0]
        assert table["share"].sum() == pytest.approx(1)
        assert table["published"].tolist()[0] == 5_902

    def test_classes(self, master: pd.DataFrame) -> None:
        table = exploration.classes(master)
        assert table["classes"].tolist()[0] == "[3]"
        assert dict(zip(table["classes"], table["images"], strict=True)) == {"[3]": 3, "[1]": 1, "[1, 3]": 1}
        assert table["single"].tolist() == [name != "[1, 3]" for name in table["classes"]]
        assert table["share"].sum() == pytest.approx(1)

    def test_imbalance(self, master: pd.DataFrame) -> None:
        table = exploration.imbalance(master).set_index("quantity")["here"]
        assert table.tolist() == pytest.approx([5, 1, 6, 0.6, 1 / 6])

    def test_areas_in_per_cent_and_as_the_report_counts(self, master: pd.DataFrame) -> None:
        table = exploration.areas(master, SHAPE).set_index("image")
        assert table["percent"].to_dict() == pytest.approx({"a": 10, "b": 20, "c": 100, "d": 5, "e": 20})
        # yellow has two channels, blue three; where both mark a pixel of e, the yellow of class 3 lies above
        assert table["counted"].to_dict() == pytest.approx({"a": 20, "b": 40, "c": 200, "d": 15, "e": 45})
        assert table["source"].tolist() == ["Class_3", "Class_3", "Class_3", "Class_1", "Class_multi"]

    def test_statistics_are_those_of_numpy(self, master: pd.DataFrame) -> None:
        areas = exploration.areas(master, SHAPE)
        table = exploration.pixel_statistics(areas).set_index("source")
        values = np.array([10.0, 20.0, 100.0])
        assert table.loc["Class_3"].tolist() == pytest.approx(
            [3, values.mean(), np.median(values), values.std(ddof=1), 100, 10]
        )
        assert table.at["All_data", "images"] == 5
        assert table.at["Class_2", "images"] == 0
        assert np.isnan(table.at["Class_2", "mean"])
        beside = exploration.beside_the_report(table.reset_index()).set_index("source")
        assert beside.at["Class_3", "max_printed"] == 179.805
        assert beside.at["Class_3", "max_report"] == pytest.approx(89.9, abs=0.01)


class TestPictures:
    def test_counting_non_zeroes_as_the_report_does(self, tmp_path: Path) -> None:
        plates = read(generate(tmp_path / "steel", 12, 5, shape=(64, 128)), (64, 128))
        master = master_table(plates.table, plates.images)
        counted = exploration.areas(master, (64, 128)).set_index("image")["counted"]
        made = exploration.pictures(plates, list(counted.index))
        for name, pictures in made.items():
            assert 100 * np.count_nonzero(pictures["mask"]) / (64 * 128) == pytest.approx(counted[name])
            assert pictures["image"].shape == pictures["overlay"].shape == (64, 128, 3)
            inside = plates.masks(name).any(-1)
            changed = (pictures["overlay"] != pictures["image"]).any(-1)
            assert changed[inside].mean() > 0.9
            assert changed[~inside].sum() < changed[inside].sum()  # the outlines alone

    def test_examples_are_of_their_class(self, master: pd.DataFrame) -> None:
        chosen = exploration.examples(master, 2)
        assert {kind: len(names) for kind, names in chosen.items()} == {"1": 1, "3": 2, "several": 1}
        assert set(chosen["3"]) <= {"a", "b", "c"}
        assert chosen == exploration.examples(master, 2)


class TestPublished:
    def test_every_percentage_is_a_whole_number_of_counts(self) -> None:
        evidence = published.channel_evidence()
        assert len(evidence) >= 10
        for _, row in evidence.iterrows():
            assert f"{100 * row['count'] / published.PIXELS:.6g}" == f"{row['percent']:.6g}"

    def test_the_channels_are_what_the_counts_allow(self) -> None:
        evidence = published.channel_evidence()
        for source, channels in published.CHANNELS.items():
            counts = evidence.loc[evidence["source"] == source, "count"]
            assert (counts % channels == 0).all()
            assert (counts % (5 - channels) != 0).any()  # two excludes three, three excludes two

    def test_corrected_areas_are_shares_of_a_plate(self) -> None:
        table = published.corrected_figure_12().dropna()
        assert table["source"].tolist() == ["Class_1", "Class_2", "Class_3", "Class_4"]
        assert table["max"].max() < 100
        assert table["mean"].round(2).tolist() == [1.07, 0.83, 6.43, 8.63]

    def test_our_colours_have_these_channels(self) -> None:
        for number in CLASSES:
            mask = np.zeros((1, 1, 4), np.uint8)
            mask[..., number - 1] = 1
            colours = [COLOURS[one] for one in CLASSES]
            assert np.count_nonzero(on_black(mask, colours)) == published.CHANNELS[f"Class_{number}"]

    def test_the_split_gives_the_accuracies(self) -> None:
        train, _, test = published.SPLIT
        for scores, images in ((published.BINARY, 1_440), (published.MULTICLASS, 720)):
            for part, share in (("train", train), ("test", test)):
                plates = int(share * images)
                right = round(scores[part].accuracy * plates)
                assert right / plates == pytest.approx(scores[part].accuracy, abs=1e-6)
