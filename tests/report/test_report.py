"""The page of a run: its content, and how it looks in a real browser, on phone and desktop screens."""

from __future__ import annotations

import json
import math
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from marking import slow

from shrinknet.errors import RunError
from shrinknet.filters import Filter
from shrinknet.records import Cost, LayerCost, Measurement, Summary, Trial
from shrinknet.report import write_page
from shrinknet.report.charts import Axis
from shrinknet.report.facts import read_facts
from shrinknet.report.masks import mosaic, slices
from shrinknet.report.samples import picture as sample_picture
from shrinknet.report.samples import ranges
from shrinknet.report.trials import needed
from shrinknet.runs.store import RunStore

# -- a made-up run, small but with the right shapes


def a_cost(widths: tuple[int, ...], size: int = 128) -> Cost:
    layers, before = [LayerCost("crop", "InputLayer", (size, size, 1), None, 0, 0, 0)], 1
    for place, width in enumerate(widths, start=1):
        weights = 25 * before * width + width
        cost = (weights, 25 * before * width * size * size, 4 * weights)
        layers.append(LayerCost(f"conv{place}", "Conv2D", (size, size, width), width, *cost))
        layers.append(LayerCost(f"relu{place}", "ReLU", (size, size, width), None, 0, 0, 0))
        before = width
    return Cost(tuple(layers))


def some_trials(count: int = 9, seed: int = 0) -> tuple[Trial, ...]:
    random = np.random.default_rng(seed)
    widths, reference, trials = [5, 5], 0.431, []
    for number in range(1, count + 1):
        layer = number % 2
        score = reference * float(random.uniform(0.93, 1.02))
        accepted = score / reference >= 0.98 and widths[layer] > 1
        filters = (Filter(f"conv{layer + 1}", number % 5),)
        widths[layer] -= accepted
        cost = a_cost((*widths, 1))
        trials.append(
            Trial(
                number,
                filters,
                score,
                reference,
                score / reference,
                accepted,
                filters_left=sum(widths),
                parameters=cost.parameters,
                multiply_adds=cost.multiply_adds,
                seconds=4.2,
            )
        )
        reference = score if accepted else reference
    return tuple(trials)


def some_facts(trials: tuple[Trial, ...], **changes: Any) -> dict[str, Any]:
    removed: dict[str, list[int]] = {}
    for filter in (filter for trial in trials if trial.accepted for filter in trial.filters):
        removed.setdefault(filter.layer, []).append(filter.index)
    before, after = a_cost((5, 5, 1)), a_cost((5 - len(removed.get("conv1", ())), 5 - len(removed.get("conv2", ())), 1))
    gone = sum(map(len, removed.values()))
    accepted = sum(trial.accepted for trial in trials)
    stopped = "The strategy found nothing more that is worth trying: 2 rejections in a row."
    summary = Summary(
        Measurement(10, before.parameters, before.multiply_adds, before.bytes, 1.284, 0.431, 0.442),
        Measurement(10 - gone, after.parameters, after.multiply_adds, after.bytes, 0.831, 0.425, 0.44),
        accepted, len(trials) - accepted, 30_000, stopped, control_score=0.436,
    )  # fmt: skip
    facts = {
        "task": "edges",
        "config": {"strategy": "cosine-max", "threshold": 0.98, "reference": "last", "seed": 1, "target": None,
                   "data": {"photographs": ["astronaut", "coffee"], "crop": 128}},
        "environment": {"shrinknet": "0.1.0", "keras": "3.15.1", "tensorflow": "2.21.0", "python": "3.11.7",
                        "machine": "x86_64, 2 cores"},
        "score": {"name": "soft_f1", "higher_is_better": True},
        "baseline": 0.442,
        "warmup": [{"step": step, "score": 0.45 - 0.4 * math.exp(-step / 2500)} for step in range(0, 10_001, 1000)],
        "summary": summary.to_dict(),
        "cost_before": before.to_dict(),
        "cost_after": after.to_dict(),
        "removed": removed,
        "stopped": stopped,
    }  # fmt: skip
    return {**facts, **changes}


def some_kernels(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"conv1": (5, 5, 1, 5), "conv2": (5, 5, 5, 5), "conv3": (5, 5, 5, 1)}
    return {
        f"{state}/{layer}": random.normal(0, 0.2, shape).astype("float32")
        for layer, shape in shapes.items()
        for state in ("before", "after")
    }


def some_samples(count: int = 2, size: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    kinds = ("input", "truth", "before", "after")
    arrays = {kind: random.random((count, size, size, 1), "float32") for kind in kinds}
    return {**arrays, "names": np.array([f"photograph {place}" for place in range(count)])}


def some_pictures(size: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    pictures = {f"early/mask/{name[7:]}": kernel for name, kernel in some_kernels(3).items() if name[:6] == "before"}
    for state in ("early", "before", "after"):
        for layer, width in {"conv1": 5, "conv2": 5, "conv3": 1}.items():
            pictures[f"{state}/map/{layer}"] = random.normal(size=(size, size, width)).astype("float32")
        pictures[f"{state}/output"] = random.random((size, size), "float32")
    pictures["after/map/conv1"][..., 2] = np.nan  # removed
    return pictures


def write_run(folder: pathlib.Path, trials: tuple[Trial, ...] | None = None, **changes: Any) -> pathlib.Path:
    """A plausible run folder; arrays set to None are left out, other changes are made in run.json."""
    trials = some_trials() if trials is None else trials
    arrays = {"kernels": some_kernels(), "samples": some_samples(), "pictures": some_pictures()}
    arrays = {name: changes.pop(name, arrays[name]) for name in arrays}
    store = RunStore(folder, create=True)
    store.write_json("run", some_facts(trials, **changes))
    for trial in trials:
        store.append(trial)
    for name, content in arrays.items():
        if content is not None:
            store.write_arrays(name, content)
    return folder


@pytest.fixture(scope="module")
def page_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write_page(write_run(tmp_path_factory.mktemp("page") / "run"))


# -- what it says


def test_the_page_tells_what_happened(page_of_a_run: pathlib.Path) -> None:
    assert page_of_a_run.name == "page.html"
    text = page_of_a_run.read_text("utf-8")
    gone = sum(trial.accepted for trial in some_trials())
    assert (
        f"<h1>{gone} of 10 filters removed; soft F1 on test data 0.431\u00a0\u2192\u00a00.425 (control\u00a00.436)</h1>"
        in text
    )
    for said in ("1.284", "0.831", "98.6\u202f%", "2 rejections in a row", "cosine-max", "data.photographs",
                 "astronaut, coffee", "2.21.0", "photograph 1: target", "conv2[1]"):  # fmt: skip
        assert said in text, said
    assert str(page_of_a_run.parent) not in text  # a page that is passed on does not reveal where it was written


def test_the_page_goes_where_it_is_asked_to(tmp_path: pathlib.Path) -> None:
    run = write_run(tmp_path / "run")
    assert write_page(str(run), tmp_path / "other.html") == tmp_path / "other.html"
    assert (tmp_path / "other.html").exists() and not (run / "page.html").exists()
    with pytest.raises(RunError, match="the folder exists"):
        write_page(run, tmp_path / "nowhere" / "page.html")


def test_run_json_alone_makes_a_page(tmp_path: pathlib.Path) -> None:
    RunStore(tmp_path, create=True).write_json("run", {"task": "edges"})
    text = write_page(tmp_path).read_text("utf-8")
    for said in (
        "In progress: 0 of 0 cuts",
        "when the run has ended",
        "No trial has been decided yet",
        "has no recorded masks",
        "has not recorded the cost of its network",
        "it has not ended yet",
        "Not recorded",
    ):
        assert said in text, said
    assert 'id="samples"' not in text


def test_a_run_in_progress_shows_what_was_removed_so_far(tmp_path: pathlib.Path) -> None:
    run = write_run(tmp_path / "run", summary=None, cost_after=None, removed=None, stopped="")
    text = write_page(run).read_text("utf-8")
    accepted = [trial for trial in some_trials() if trial.accepted]
    assert f"In progress: {len(accepted)} of 9 cuts tried so far kept" in text
    assert text.count("<em>removed</em>") == 3 * len(accepted) + 1  # masks in three states, and one feature map


def test_feature_maps_are_drawn_layer_by_layer_and_state_by_state(page_of_a_run: pathlib.Path) -> None:
    text = page_of_a_run.read_text("utf-8").partition('<section id="maps">')[2].partition('<section id="samples">')[0]
    assert text.count("feature map before the activation") == 3 * 11 - 1
    assert text.count("conv1[2] at the end: removed") == text.count("<em>removed</em>") == 1
    assert [text.count(f"output {state}") for state in ("after a few steps", "after warm-up", "at the end")] == [1] * 3


def test_a_damaged_picture_file_is_reported_on_the_page(tmp_path: pathlib.Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("kernels.npz", "samples.npz", "pictures.npz"):
        data = bytearray((run / name).read_bytes())
        data[len(data) // 2] ^= 1
        (run / name).write_bytes(data)
    text = write_page(run).read_text("utf-8")
    assert all(f"{name}.npz is damaged" in text for name in ("kernels", "samples", "pictures")) and "<img" not in text


def test_folders_that_are_not_runs_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        write_page(tmp_path)
    run = write_run(tmp_path / "run", summary={"before": {"colour": 1}, "after": {}, "notes": []})
    with pytest.raises(RunError, match=r"run\.json cannot be interpreted"):
        write_page(run)


HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">&\"'{braces}\ud800"


def a_hostile_run(folder: pathlib.Path) -> pathlib.Path:
    """Every text from the run tries to inject markup into the page."""
    layer = "conv1" + HOSTILE
    trials = tuple(Trial(**{**trial_fields(trial), "filters": (Filter(layer, 1),)}) for trial in some_trials(3))
    facts = some_facts(trials)
    summary = {**facts["summary"], "notes": [HOSTILE], "stopped": HOSTILE}
    cost = {**facts["cost_before"]}
    cost["layers"] = [{**entry, "layer": layer, "kind": HOSTILE} for entry in cost["layers"]]
    samples = {**some_samples(), "names": np.array([HOSTILE, HOSTILE])}
    samples["names"] = np.array([HOSTILE[:-1]] * 2)  # NumPy strings cannot contain half a character
    return write_run(
        folder, trials, kernels={f"before/{HOSTILE[:-1]}": some_kernels()["before/conv1"]}, samples=samples,
        task=HOSTILE, config={HOSTILE: HOSTILE, "threshold": 0.98}, environment={HOSTILE: [HOSTILE]}, summary=summary,
        score={"name": HOSTILE, "higher_is_better": True}, cost_before=cost, cost_after=cost, removed={layer: [1]},
        stopped=HOSTILE,
    )  # fmt: skip


def trial_fields(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in Trial.__dataclass_fields__}


def test_no_text_of_a_run_becomes_part_of_the_page(tmp_path: pathlib.Path) -> None:
    text = write_page(a_hostile_run(tmp_path / "run")).read_text("utf-8")
    assert "&lt;script&gt;" in text and "{braces}" in text
    assert "<script" not in text and "<img src=x" not in text


def test_a_score_that_should_fall_and_one_that_is_missing(tmp_path: pathlib.Path) -> None:
    trials = (
        Trial(1, (Filter("conv1", 0),), 0.5, 0.48, 0.96, False, filters_left=10, parameters=886, multiply_adds=10**7),
        Trial(2, (Filter("conv1", 1),), math.nan, 0.48, math.nan, False, split=True, filters_left=10, parameters=886),
    )
    score = {"name": "mean_squared_error", "higher_is_better": False}
    text = write_page(write_run(tmp_path / "run", trials, score=score, baseline=0.48)).read_text("utf-8")
    assert "lower is better" in text and "not finite" in text and "rejected, tried again in parts" in text
    facts = read_facts(RunStore(tmp_path / "run"))
    assert needed(facts, trials[0]) == pytest.approx(0.48 / 0.98)


def test_many_filters_layers_and_trials_are_cut_short_with_a_note(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shrinknet.report.trials.MAX_ROWS", 5)
    names = tuple(Filter("conv1", index) for index in range(40))
    trials = tuple(Trial(number, names, 0.4, 0.4, 1.0, True) for number in range(1, 9))
    kernels = {f"before/layer{place}": np.zeros((3, 3, 20, 30), "float32") for place in range(14)}
    kernels["before/odd"] = np.zeros(3, "float32")  # nothing that could be drawn
    samples = some_samples(count=13, size=4)
    text = write_page(write_run(tmp_path / "run", trials, kernels=kernels, samples=samples,
                                pictures=None)).read_text("utf-8")  # fmt: skip
    for said in (
        "The first 5 of 8 trials",
        "conv1[5] and 34 more",
        "The first 12 of 14 layers",
        "first 24 of 30 filters",
        "The first 16 of 20 channels in",
        "The first 12 of 13 samples",
    ):
        assert said in text, said


# -- pictures


def test_masks_are_laid_out_by_their_kernel_axes() -> None:
    kernel = np.arange(5 * 4 * 3, dtype="float32").reshape(5, 4, 3)
    planes = slices(kernel)
    assert len(planes) == 3
    np.testing.assert_array_equal(planes[1], kernel[:, :, 1])
    np.testing.assert_array_equal(slices(kernel[:, 0])[0], kernel[:, 0].T)  # one axis: one line per channel
    (dense,) = slices(np.arange(5, dtype="float32"))
    np.testing.assert_array_equal(dense, [[0, 1, 2], [3, 4, np.nan]])
    np.testing.assert_array_equal(slices(np.arange(5, dtype="float32").reshape(1, 1, 5))[0], dense)


def test_masks_are_red_below_zero_green_above_and_black_at_zero() -> None:
    picture = mosaic([np.array([[-1.0, 0.0]]), np.array([[0.5, np.nan]])], limit=1.0, columns=1)
    colours = [tuple(map(int, picture[row, column])) for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    assert colours == [(255, 0, 0), (0, 0, 0), (0, 128, 0), (112, 112, 112)]


def test_outputs_share_the_range_of_the_truth() -> None:
    truth, output = np.array([[[[0.0], [80.0]]]]), np.array([[[[40.0], [160.0]]]])
    drawn = ranges({"input": truth / 80, "truth": truth, "before": output})
    assert drawn == {"input": (0, 1), "truth": (0, 80), "before": (0, 80)}
    assert sample_picture(output[0], *drawn["before"]).tolist() == [[128, 255]]
    assert sample_picture(np.full((2, 2, 3), np.nan), 0, 1, colour=True).tolist() == np.zeros((2, 2, 3)).tolist()
    assert max(sample_picture(np.zeros((2000, 10, 1)), 0, 1).shape) <= 512


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (Axis("", 0, 10.6, whole=True), ["0", "5", "10"]),
        (Axis("", 0.395, 0.447), ["0.40", "0.42", "0.44"]),
        (Axis("", 0, 15.2e6, unit=1e6), ["0", "5", "10", "15"]),
        (Axis("", -1, 1), ["\u22121.0", "\u22120.5", "0.0", "0.5", "1.0"]),
        (Axis("", 0, 1.02), ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (Axis("", 0.9, 1.1, whole=True), ["1"]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, labels: list[str]) -> None:
    ticks = axis.ticks(4)
    assert [axis.label(tick, ticks) for tick in ticks] == labels


# -- how it looks: opened in a browser

PHONE, DESK = 390, 1280
SECTIONS = ["summary", "charts", "network", "masks", "maps", "samples", "trials", "setup"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on this machine: the page cannot be opened")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def look(browser: Any, page: pathlib.Path, width: int, scheme: str = "light") -> None:
    browser.get_log("browser"), browser.get_log("performance")
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.absolute().as_uri())
    # On a busy machine the page may not be laid out yet when it is loaded.
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


@pytest.fixture(scope="module")
def a_wide_network(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Long names, wide layers, many trials, large numbers."""
    long = "backbone/stage_with_a_long_name/residual_block_11/expansion_convolution"
    wide = Cost(
        tuple(LayerCost(f"{long}_{n}", "SeparableConv2D", (512, 512, 640), 640, 10**7, 10**11, 10**8) for n in range(3))
    )
    names = tuple(Filter(f"{long}_1", index) for index in range(40))
    trials = tuple(
        Trial(n, names[: n % 40 + 1], 0.4 + 0.001 * (n % 7), 0.4, 1.0, n % 3 > 0, n % 6 == 0, filters_left=1920 - n,
              parameters=3 * 10**7 - n * 10**5, multiply_adds=10**11 - n * 10**8)
        for n in range(1, 181)
    )  # fmt: skip
    kernels = {f"before/{long}_{n}": np.ones((3, 3, 9, 30), "float32") for n in range(2)}
    folder = tmp_path_factory.mktemp("wide") / "run"
    cost = wide.to_dict()
    return write_page(write_run(folder, trials, cost_before=cost, cost_after=cost, kernels=kernels,
                                removed={f"{long}_0": [1]}, task="x" * 300, config={"k" * 90: "v" * 900}))  # fmt: skip


@pytest.mark.parametrize("width", [360, *map(slow, (PHONE, 600, 768, 980)), DESK])
@pytest.mark.parametrize("run", ["page_of_a_run", slow("a_wide_network")])
def test_it_fits_the_window_and_its_text_is_legible(
    browser: Any, request: pytest.FixtureRequest, run: str, width: int
) -> None:
    look(browser, request.getfixturevalue(run), width)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return [...document.querySelectorAll('main > section')].map(e => e.id)") == SECTIONS
    unfit = browser.execute_script("""
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), unfit = [];
        while (walker.nextNode()) {
            const node = walker.currentNode, element = node.parentElement;
            if (!node.textContent.trim() || element.closest('title') || !element.getClientRects().length) continue;
            const zoom = element instanceof SVGElement ? element.getScreenCTM().a : 1;
            const size = parseFloat(getComputedStyle(element).fontSize) * zoom;
            if (size < 8 * 96 / 72 || (zoom != 1 && size > 24)) unfit.push([node.textContent, size]);
        }
        return unfit""")
    assert unfit == []


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("run", ["page_of_a_run", "a_wide_network"])
def test_labels_stay_inside_their_chart_and_off_each_other(
    browser: Any, request: pytest.FixtureRequest, run: str, width: int
) -> None:
    look(browser, request.getfixturevalue(run), width)
    charts, faults = browser.execute_script("""
        const charts = [...document.querySelectorAll('svg.chart')].filter(c => c.getClientRects().length), faults = [];
        for (const chart of charts) {
            const frame = chart.getBoundingClientRect(), boxes = [];
            for (const text of chart.querySelectorAll('text')) {
                const box = text.getBoundingClientRect();
                if (box.left < frame.left - 1 || box.right > frame.right + 1) faults.push('out: ' + text.textContent);
                for (const [other, name] of boxes)
                    if (box.left < other.right && other.left < box.right && box.top + 2 < other.bottom
                        && other.top + 2 < box.bottom) faults.push(name + ' on ' + text.textContent);
                boxes.push([box, text.textContent]);
            }
            if (chart.querySelectorAll('.name').length != 2) faults.push('unnamed axis');
            if (chart.querySelectorAll('.tick').length < 4) faults.push('few ticks');
        }
        return [charts.length, faults]""")
    assert faults == []
    assert charts == 8  # score; three costs over the trials; score against three costs; warm-up


def test_the_table_before_and_after_fits_a_phone(browser: Any, page_of_a_run: pathlib.Path) -> None:
    look(browser, page_of_a_run, PHONE)
    script = "const box = document.querySelector('#summary .scroll'); return box.scrollWidth <= box.clientWidth"
    assert browser.execute_script(script)


def test_it_makes_no_requests_and_logs_no_errors(browser: Any, page_of_a_run: pathlib.Path) -> None:
    look(browser, page_of_a_run, DESK)
    images = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    assert len(images) == 3 * (5 + 5 + 1) + 3 * (5 + 5 + 1) + 3 + 2 * 4  # masks, maps, outputs, samples
    assert all(complete and width > 0 and alt for complete, width, alt in images)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert page_of_a_run.absolute().as_uri() in asked
    assert {url for url in asked if not url.startswith("data:")} == {page_of_a_run.absolute().as_uri()}
    assert browser.execute_script("return document.scripts.length") == 0


def test_accepted_and_rejected_differ_by_shape_and_by_colour(browser: Any, page_of_a_run: pathlib.Path) -> None:
    look(browser, page_of_a_run, DESK)
    seen = {}
    for kind in ("accepted", "rejected"):
        seen[kind] = browser.execute_script(
            """
            const marks = [...document.querySelectorAll('svg.chart.wide .mark.' + arguments[0])];
            const style = getComputedStyle(marks[0]), ink = style.fill == 'none' ? style.stroke : style.fill;
            return [marks.length, marks[0].firstChild.tagName, ink]""",
            kind,
        )
    accepted = sum(trial.accepted for trial in some_trials())
    assert [seen["accepted"][0], seen["rejected"][0]] == [accepted, 9 - accepted]
    assert seen["accepted"][1] != seen["rejected"][1] and seen["accepted"][2] != seen["rejected"][2]


def test_removed_filters_are_crossed_out_dimmed_and_labelled(browser: Any, page_of_a_run: pathlib.Path) -> None:
    look(browser, page_of_a_run, PHONE)
    masks = browser.execute_script("""
        return [...document.querySelectorAll('#masks .strip li')].map(li => [li.querySelector('img').alt,
            !!li.querySelector('.cross'), getComputedStyle(li.querySelector('img')).opacity])""")
    removed = {(f"conv{layer}", index) for layer in (1, 2) for index in range(5)} & {
        (filter.layer, filter.index) for trial in some_trials() if trial.accepted for filter in trial.filters
    }
    assert len(masks) == 33 and removed
    for alt, crossed, opacity in masks:
        layer, _, rest = alt.partition("[")
        gone = (layer, int(rest[0])) in removed
        assert (alt.endswith("removed"), crossed, float(opacity) < 0.5) == (gone, gone, gone), alt
    cells = browser.execute_script("return document.querySelectorAll('.network .gone').length")
    assert cells == len(removed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark_mode(
    browser: Any, page_of_a_run: pathlib.Path, scheme: str
) -> None:
    look(browser, page_of_a_run, DESK, scheme)
    paper, *inks = browser.execute_script("""
        const colour = name => getComputedStyle(document.querySelector(name)).color.match(/[0-9.]+/g).map(Number);
        return [getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number), colour('h1'),
                colour('.note'), colour('a'), colour('.verdict.accepted'), colour('.verdict.rejected')]""")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    for ink in inks:
        light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, ink  # WCAG 2.2, level AA


def luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour with values from 0 to 255."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_hostile_run_changes_nothing_in_the_browser(browser: Any, tmp_path: pathlib.Path) -> None:
    look(browser, write_page(a_hostile_run(tmp_path / "run")), PHONE)
    assert browser.title != "taken"
    assert browser.execute_script("return document.querySelectorAll('script, [onerror]').length") == 0
    assert browser.get_log("browser") == []
