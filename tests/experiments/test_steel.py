"""The steel experiments: their verdicts, figures and pages from units that were made up, and one unit that was not."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shrinknet.errors import OptionError
from shrinknet.experiments import frame, steel
from shrinknet.experiments.frame import Findings, Frames
from shrinknet.experiments.settings import PRESETS
from shrinknet.experiments.steel import exploration
from shrinknet.experiments.steel.claims import rhythm

ROOT = Path(__file__).parents[2]
MEASURES = ("loss", "accuracy", "f1", "precision", "recall", "f1_m", "precision_m", "recall_m")


def units(seeds: int = 3, *, kept: float = 1.0, share: float = 0.45, lead: float | None = 0.05) -> list[dict[str, Any]]:
    """What the trainings would return: batch 32 leads by `lead` (None: in one repetition of
    three, and lags in another), the slim U-Net keeps `kept` of the control's Dice."""
    random = np.random.default_rng(0)
    made = []
    for seed in range(seeds):
        gain = lead if lead is not None else (0.05, -0.05, 0.0)[seed]
        common = {"seed": seed, "synthetic": True, "repetition": seed}
        places = [(step, batch) for step in ("binary", "multiclass") for batch in (16, 32)]
        histories = [
            {"step": step, "batch": batch, "epoch": epoch,
             **{f"{part}{name}": 1 / epoch + random.uniform(0, 0.01) for part in ("", "val_") for name in MEASURES}}
            for step, batch in places for epoch in range(1, 21)
        ]  # fmt: skip
        scores = [
            {"step": step, "batch": batch, "part": part, "activation": activation,
             **{name: 0.9 + (gain if batch == 32 else 0) + random.uniform(0, 0.01) for name in MEASURES}}
            for step, batch in places for part in ("train", "test")
            for activation in (("sigmoid",) if step == "binary" else ("sigmoid", "softmax"))
        ]  # fmt: skip
        systems = [{"batch": batch, "accuracy": 0.8, "macro_f1": 0.7, "detected": 0.9, "false_alarms": 0.1,
                    "named": 0.8} for batch in (16, 32)]  # fmt: skip
        confusion = [
            {"batch": batch, "class": str(number), **{str(other): 3 for other in range(5)}}
            for batch in (16, 32) for number in range(5)
        ]  # fmt: skip
        made.append({**common, "histories": histories, "scores": scores, "systems": systems, "confusion": confusion})
        made.append({**common, **segmentation(random, kept, share)})
    return made


def segmentation(random: np.random.Generator, kept: float, share: float) -> dict[str, Any]:
    """What a unit of the U-Net would return."""
    marked = {"before": 0.5, "control, default": 0.5, "control, random": 0.5, "slim, litert": 0.5,
              "slim, litert-int8": 0.5, "slim, default": 0.5 * kept + random.uniform(0, 1e-3),
              "slim, random": 0.5 * kept - 0.1}  # fmt: skip
    masks = [
        {"masks_of": name, "cleaned": cleaned, "least": "8 4 1 16" if cleaned else "1 1 1 1", "class": kind,
         "masks": 40, "present": 10, "dice": 0.85, "dice_marked": value if cleaned else 0.3, "dice_pooled": 0.6,
         "iou": 0.8, "accuracy": 0.99}
        for name, value in marked.items() for cleaned in (False, True) for kind in ("1", "2", "3", "4", "all")
    ]  # fmt: skip
    shrunk = [
        {"network": "unet", "strategy": strategy, "filters_before": 100, "filters_after": 70, "parameters_before": 900,
         "parameters_after": 500, "multiply_adds_before": 1_000, "multiply_adds_after": int(1_000 * share),
         "latency_ms_before": 2.0, "latency_ms_after": 1.0, "score_before": 0.5, "validation_score_before": 0.5,
         "validation_score_after": 0.5, "control": 0.5, "trials": 5, "accepted": 4, "stopped": "",
         "score_after": 0.5 * kept - (0.1 if strategy == "random" else 0) + random.uniform(0, 1e-3)}
        for strategy in ("default", "random")
    ]  # fmt: skip
    trials = [
        {"network": "unet", "strategy": strategy, "trial": trial, "accepted": trial != 2, "score": 0.5 - trial / 100,
         "multiply_adds": 1_000, "share": 1 - (trial + 1) / 10}
        for strategy in ("default", "random") for trial in range(-1, 4)
    ]  # fmt: skip
    files = [
        {"format": name, "bytes": 1_000, "frames_per_second": 100.0, "pixels_that_differ": 0.0002,
         "dice_with_keras": 0.99} for name in ("litert", "litert-int8")
    ]  # fmt: skip
    epochs = [{"step": "unet", "batch": 4, "epoch": epoch,
               **{f"{part}{name}": 1 / epoch for part in ("", "val_") for name in ("loss", "dice_marked")}}
              for epoch in range(1, 21)]  # fmt: skip
    return {"histories": epochs, "masks": masks, "shrunk": shrunk, "trials": trials, "files": files}


def analysed(made: list[dict[str, Any]]) -> tuple[Frames, Findings]:
    frames = steel.gather(made)
    return frames, steel.analyse(frames, steel.Steel(bootstrap=100))


def verdicts(findings: Findings) -> dict[str, str]:
    assert all(claim.text.endswith(", on synthetic plates") for claim in findings.claims)
    return {claim.text.removesuffix(", on synthetic plates"): claim.verdict for claim in findings.claims}


class TestVerdicts:
    sweet = "a batch size of 32 is the best for the binary model"
    slim = "shrunk by the default of minimize, the U-Net keeps 0.98 of the control's Dice at half of the multiply-adds"

    @pytest.mark.parametrize(("lead", "verdict"), [(0.05, "holds"), (-0.05, "fails"), (None, "undecided")])
    def test_the_best_batch_size(self, lead: float | None, verdict: str) -> None:
        assert verdicts(analysed(units(lead=lead))[1])[self.sweet] == verdict

    @pytest.mark.parametrize(
        ("kept", "share", "verdict"), [(1.0, 0.45, "holds"), (0.9, 0.45, "fails"), (1.0, 0.55, "fails")]
    )
    def test_half_of_the_cost(self, kept: float, share: float, verdict: str) -> None:
        found = verdicts(analysed(units(kept=kept, share=share))[1])
        assert found[self.slim] == verdict
        assert found["the default of minimize ends with a better Dice than random choice"] == "holds"

    def test_one_repetition_decides_nothing_about_means(self) -> None:
        found = verdicts(analysed(units(1))[1])
        assert found[self.sweet] == "undecided" and found[self.slim] == "undecided"

    def test_files(self) -> None:
        made = units()
        assert verdicts(analysed(made)[1])["the int8 file (litert-int8) loses at most 0.01 of Dice"] == "holds"
        for row in made[1]["masks"]:
            if row["masks_of"] == "slim, litert-int8":
                row["dice_marked"] = 0.45
        made[1]["files"][0]["pixels_that_differ"] = 0.002
        found = verdicts(analysed(made)[1])
        assert found["the int8 file (litert-int8) loses at most 0.01 of Dice"] == "fails"
        assert found["masks of the LiteRT file are those of Keras, but for 0.1 % of the pixels"] == "fails"

    def test_a_rhythm_of_five_epochs(self) -> None:
        smooth = 1 / np.arange(1, 31)
        spiked = smooth + np.where(np.arange(30) % 5 == 4, 1.0, 0.0)
        random = np.random.default_rng(0).normal(0, 0.1, (200, 30)) + smooth
        assert rhythm(spiked) > 0.7
        assert rhythm(smooth + np.where(np.arange(30) % 7 == 4, 1.0, 0.0)) < 0.1
        assert abs(np.mean([rhythm(one) for one in random])) < 0.15
        assert np.isnan(rhythm(smooth[:10]))


class TestPages:
    def check(self, question: Any, settings: Any, frames: Frames, findings: Findings, folder: Path) -> str:
        paths = frame.write(question, settings, "smoke", frames, findings, frame.about(settings, "smoke"), folder)
        names = {path.name for path in paths}
        assert {"config.toml", "about.json", "table.csv", f"{question.name}.md"} <= names
        page = (folder / f"{question.name}.md").read_text()
        links = re.findall(r"\]\(([^)]+)\)", page)
        assert links and all((folder / link).is_file() for link in links)
        assert all(claim.text in page for claim in findings.claims)
        assert not re.search(r"\bnan\b", page)
        assert "synthetic" in page
        return page

    def test_steel(self, tmp_path: Path) -> None:
        frames, findings = analysed(units(1))
        settings = steel.Steel.preset("smoke")
        page = self.check(steel.QUESTION, settings, frames, findings, tmp_path)
        assert "0.926" in page and "B1" in page and "litert-int8" in page

    @pytest.mark.slow
    def test_exploration_from_drawn_plates(self, tmp_path: Path) -> None:
        settings = exploration.Exploration.preset("smoke", count=40, examples=1)
        unit = {**exploration.repetition(settings, 0), "repetition": 0}
        frames = exploration.gather([unit])
        findings = exploration.analyse(frames, settings)
        page = self.check(exploration.QUESTION, settings, frames, findings, tmp_path)
        assert "179.8" in page and len(frames["images"]) == 40
        head = pd.read_csv(tmp_path / "head.csv")
        assert list(head.columns) == ["ImageId", "Defect", "Defect_no", "ClassId", "EncodedPixels"]
        assert head["EncodedPixels"].isna().sum() == 2  # clean plates, as in the report's figure 3

    def test_text_is_large_enough(self) -> None:
        from matplotlib.text import Text

        frames, findings = analysed(units())
        for name, figure in steel.draw(frames, findings).items():
            figure.canvas.draw()
            texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
            assert min(text.get_fontsize() for text in texts) >= 8, name
            assert figure.get_size_inches()[0] <= 8


@pytest.mark.slow
@pytest.mark.tensorflow("it trains, and writes LiteRT files")
@pytest.mark.parametrize("name", ["steel", "steel-eda"])
def test_the_smoke_preset_runs(name: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "shrinknet", "experiment", name, "--preset", "smoke", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    record = json.loads(done.stdout)
    assert record["claims"] and all((tmp_path / path).is_file() for path in record["files"])
    assert any("synthetic" in note for note in record["notes"])


class TestSettings:
    @pytest.mark.parametrize("kind", [steel.Steel, exploration.Exploration])
    def test_presets_and_docs(self, kind: Any) -> None:
        text = (ROOT / "docs" / "experiments.md").read_text()
        for preset in PRESETS:
            assert kind.preset(preset).units >= 1
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in text

    @pytest.mark.parametrize(
        "wrong",
        [
            {"size": (1, 2, 3)},
            {"target": 1.0},
            {"steps": -1},
            {"shrunk_batch": 5},
            {"count": 1},
            {"unet_crop": (64,)},
            {"unet_crop": (256, 900)},
            {"unet_crop": (60, 64)},
        ],
    )
    def test_values_out_of_range(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(OptionError):
            steel.Steel(**wrong)

    def test_a_repetition_has_two_units(self) -> None:
        assert steel.Steel(repetitions=3).units == 6
