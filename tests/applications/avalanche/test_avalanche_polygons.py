"""Outlines, cleaning and scores of boundaries: exact where nothing is smoothed, valid GeoJSON always."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.boundary_scores import boundary, boundary_f1, mean_and_spread_of, outline_scores
from shrinknet.imaging.cleaning import cleaned
from shrinknet.imaging.polygons import Outline, _crosses, filled, outline, ring_area

MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))


def blob(shape: tuple[int, int] = (60, 70), hole: bool = False) -> np.ndarray:
    rows, columns = np.indices(shape)
    away = np.hypot(rows - 30, 0.8 * (columns - 35)) + 3 * np.sin(columns / 3)
    mask = (away < 20).astype(np.uint8)
    return mask & (away > 6) if hole else mask


def valid(found: Outline) -> None:
    """What GeoJSON and the readers demand of polygons (RFC 7946, 3.1.6)."""
    for feature in json.loads(json.dumps(found.to_geojson()))["features"]:
        rings = [np.array(ring) for ring in feature["geometry"]["coordinates"]]
        assert ring_area(rings[0]) > 0  # counterclockwise
        assert all(ring_area(ring) < 0 for ring in rings[1:])
        assert all(len(ring) >= 4 and (ring[0] == ring[-1]).all() for ring in rings)
        assert not any(_crosses(ring, ring) for ring in rings)
        assert not any(_crosses(rings[one], rings[other]) for one in range(len(rings)) for other in range(one))


class TestOutline:
    @given(MASKS)
    @settings(max_examples=60, deadline=None)
    def test_unsmoothed_it_holds_exactly_the_marked_pixels(self, mask: np.ndarray) -> None:
        found = outline(mask, smoothing=0, least=0)
        assert np.array_equal(found.mask(), mask)
        valid(found)

    @given(MASKS, st.floats(0.1, 3))
    @settings(max_examples=25, deadline=None)
    def test_smoothed_it_is_valid(self, mask: np.ndarray, smoothing: float) -> None:
        valid(outline(mask, smoothing=smoothing, least=0))

    def test_smoothing_keeps_the_region(self) -> None:
        mask = blob()
        plain, smooth = outline(mask, smoothing=0), outline(mask)
        assert smooth.area == pytest.approx(mask.sum(), rel=0.02)
        assert smooth.length < plain.length
        again = smooth.mask()
        assert (again & mask).sum() / (again | mask).sum() > 0.95
        points = smooth.polygons[0].exterior
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        assert np.allclose(steps, steps.mean(), rtol=0.1)

    def test_holes_and_several_regions(self) -> None:
        mask = np.pad(blob(hole=True), ((0, 0), (0, 30)))
        mask[5:12, 80:95] = 1
        found = outline(mask, smoothing=0)
        assert [len(one.holes) for one in found.polygons] == [1, 0]
        assert found.polygons[0].area > found.polygons[1].area
        assert found.polygons[1].area == 7 * 15 - 0.5
        assert np.array_equal(found.mask(), mask)

    @given(st.integers(0, 10_000), st.integers(3, 30))
    @settings(max_examples=60, deadline=None)
    def test_filling_finds_what_a_test_of_every_pixel_finds(self, seed: int, points: int) -> None:
        from skimage import draw

        ring = np.random.default_rng(seed).uniform(-5, 25, (points, 2))  # crosses itself, and reaches out of the image
        ring = np.concatenate([ring, ring[:1]])
        assert np.array_equal(filled([ring], (20, 17)), draw.polygon2mask((20, 17), ring[:, ::-1] - 0.5))

    def test_counterclockwise_rings_have_a_positive_area(self) -> None:
        square = np.array([[0, 0], [3, 0], [3, 2], [0, 2], [0, 0]])
        assert (ring_area(square), ring_area(square[::-1])) == (6, -6)

    def test_coordinates_begin_at_the_corner_of_the_image(self) -> None:
        mask = np.ones((4, 6), np.uint8)
        ring = outline(mask, smoothing=0).polygons[0].exterior
        assert (ring.min(0).tolist(), ring.max(0).tolist()) == ([0, 0], [6, 4])

    def test_an_empty_mask(self) -> None:
        found = outline(np.zeros((5, 5), np.uint8))
        assert (found.polygons, found.area, found.length) == ((), 0, 0)
        assert found.to_geojson() == {"type": "FeatureCollection", "features": []}

    def test_properties_say_what_the_numbers_are(self) -> None:
        (feature,) = outline(blob()).to_geojson(image="x.jpg")["features"]
        assert feature["properties"]["image"] == "x.jpg"
        assert feature["properties"]["coordinates"].startswith("pixels of the image, x to the right and y down")
        assert feature["properties"]["area_pixels"] == pytest.approx(blob().sum(), rel=0.02)

    def test_bad_arguments(self) -> None:
        with pytest.raises(DataError, match=r"a mask of 0 and 1; received values from 0.0 to 0.5"):
            outline(np.array([[0.0, 0.5]]))
        with pytest.raises(DataError, match="Expected a mask of shape"):
            outline(np.zeros((2, 2, 2)))
        with pytest.raises(OptionError, match="a spacing above 0"):
            outline(blob(), spacing=0)


class TestCleaning:
    def test_specks_gaps_and_holes(self) -> None:
        mask = blob()
        noisy = mask.copy()
        noisy[2, 2] = noisy[55:57, 60:62] = 1
        noisy[30, 35] = noisy[25:28, 30] = 0
        noisy[:, 40] = 0  # a thin cut
        assert np.mean(cleaned(noisy) != mask) < 0.01

    def test_the_largest_region_alone(self) -> None:
        mask = np.zeros((30, 30), np.uint8)
        mask[2:8, 2:8] = mask[15:28, 15:28] = 1
        assert cleaned(mask, opening=0, closing=0).sum() == 13 * 13
        assert cleaned(mask, opening=0, closing=0, largest=False).sum() == 13 * 13 + 36

    def test_borders_are_not_eaten(self) -> None:
        mask = np.zeros((20, 20), np.uint8)
        mask[:, :10] = 1
        assert np.array_equal(cleaned(mask, opening=3, closing=3), mask)

    def test_holes_by_size(self) -> None:
        mask = np.ones((20, 20), np.uint8)
        mask[3, 3] = mask[10:15, 10:15] = 0
        assert cleaned(mask, opening=0, closing=0).all()
        assert cleaned(mask, opening=0, closing=0, least_hole=10).sum() == 375

    def test_nothing_is_left_of_noise(self) -> None:
        mask = np.eye(10, dtype=np.uint8)
        assert not cleaned(mask, opening=2, closing=0).any()
        with pytest.raises(OptionError, match="radii of 0 or more"):
            cleaned(mask, opening=-1)


class TestBoundaries:
    @given(MASKS, st.integers(0, 3), st.integers(0, 9))
    @settings(max_examples=40, deadline=None)
    def test_by_hand(self, truth: np.ndarray, tolerance: int, seed: int) -> None:
        output = np.where(np.random.default_rng(seed).random(truth.shape) < 0.2, 1 - truth, truth).astype(np.uint8)
        places = [np.argwhere(by_hand(mask)) for mask in (output, truth)]
        if min(map(len, places)) == 0:
            expected = float(len(places[0]) == len(places[1]))
        else:
            away = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
            precision, recall = (away.min(1) <= tolerance).mean(), (away.min(0) <= tolerance).mean()
            expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert boundary_f1(output, truth, tolerance) == pytest.approx(expected)

    def test_it_sees_what_intersection_over_union_hides(self) -> None:
        truth = blob()
        frayed = truth.copy()
        frayed[::3, 45:] = 0
        table = outline_scores([truth, frayed], [truth, truth], ["same", "frayed"], 1.0)
        assert table.loc[0, ["accuracy", "iou", "f1", "boundary_f1"]].tolist() == [1, 1, 1, 1]
        assert table.at[1, "boundary_f1"] < table.at[1, "iou"]

    def test_images_of_several_sizes_and_their_mean(self) -> None:
        blank = np.zeros((5, 6), np.uint8)
        table = outline_scores([blob(), blank, blank], [blob(), blank, blank + 1], ["a", "b", "c"])
        assert table["iou"].tolist() == [1, 1, 0]
        summary = mean_and_spread_of(table).set_index("score")
        assert summary.at["iou", "mean"] == pytest.approx(2 / 3)
        assert summary.at["iou", "spread"] == pytest.approx(np.std([1, 1, 0], ddof=1))
        assert (summary["images"] == 3).all()

    def test_bad_arguments(self) -> None:
        with pytest.raises(DataError, match="of one shape"):
            boundary_f1(blob(), blob().T)
        with pytest.raises(OptionError, match="a tolerance of 0"):
            boundary_f1(blob(), blob(), -1)
        with pytest.raises(DataError, match="The masks of x have the shapes"):
            outline_scores([blob()], [blob().T], ["x"])
        with pytest.raises(DataError, match="received none"):
            outline_scores([], [], [])


def by_hand(mask: np.ndarray) -> np.ndarray:
    """Marked pixels with an unmarked neighbour inside of the image."""
    edge = np.zeros(mask.shape, bool)
    for row, column in np.argwhere(mask):
        for other in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1]
            edge[row, column] |= inside and not mask[other]
    assert np.array_equal(edge, boundary(mask))
    return edge


class TestReaders:
    """A reader that others use opens what is written; it is no dependency, so that the test skips without it."""

    @given(MASKS, st.sampled_from([0.0, 0.5, 2.0]))
    @settings(max_examples=30, deadline=None)
    def test_shapely_finds_valid_polygons_of_the_same_area(self, mask: np.ndarray, smoothing: float) -> None:
        geometry = pytest.importorskip("shapely.geometry", reason="shapely is not installed")
        found = outline(mask, smoothing=smoothing, least=0)
        features = json.loads(json.dumps(found.to_geojson()))["features"]
        shapes = [geometry.shape(feature["geometry"]) for feature in features]
        assert all(one.is_valid and one.geom_type == "Polygon" for one in shapes)
        assert sum(one.area for one in shapes) == pytest.approx(found.area, abs=0.05)
        assert all(one.exterior.is_ccw for one in shapes)
        assert not any(a.overlaps(b) or a.contains(b) for a in shapes for b in shapes if a is not b)
