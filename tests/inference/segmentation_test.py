"""Regions, outlines and cut-outs of small scores."""

import cv2
import numpy as np
import pytest
from matplotlib.path import Path

from refinenet_jax import visualize
from refinenet_jax.inference.segmentation import Region, Segmentation

NAMES = ("background", "left", "right")


def _segmentation(mask, confidence=0.8):
    """Each pixel has `confidence` in its class; the others share the rest."""
    mask = np.asarray(mask, np.uint8)
    scores = np.full((*mask.shape, 3), (1 - confidence) / 2, np.float32)
    np.put_along_axis(scores, mask[..., None].astype(int), confidence, -1)
    image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)
    return Segmentation(image, scores, NAMES)


def _blobs(size, spread, seed):
    """Smooth shapes of three classes with islands, holes, and contact with every border."""
    noise = np.random.default_rng(seed).normal(size=(*size, 3))
    return cv2.GaussianBlur(noise, (0, 0), spread).argmax(-1) if spread else noise.argmax(-1)


def _filled(polygons, shape):
    """The mask that the polygons enclose, by the centers of the pixels."""
    centers = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), -1).reshape(-1, 2) + 0.5
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        inside = Path(polygon.outer).contains_points(centers)
        for hole in polygon.holes:
            inside &= ~Path(hole).contains_points(centers)
        mask[inside.reshape(shape)] = polygon.class_id
    return mask


def test_regions_of_a_mask_drawn_by_hand():
    mask = [
        [0, 1, 0, 0, 2, 2],
        [1, 0, 0, 0, 2, 2],
        [0, 0, 0, 0, 0, 2],
        [1, 1, 1, 0, 2, 0],
    ]
    result = _segmentation(mask)
    result.scores[3, 0] = (0.1, 0.5, 0.4)  # (0.5 + 0.8 + 0.8) / 3 = 0.7
    assert [(r.class_id, r.area, r.box) for r in result.regions()] == [
        (1, 3, (0, 3, 3, 1)),
        (1, 2, (0, 0, 2, 2)),  # joined by a corner
        (2, 6, (4, 0, 2, 4)),
    ]
    first, *others = result.regions()
    assert first == Region(1, "left", 3, (0, 3, 3, 1), pytest.approx(0.7, abs=1e-6))
    assert [r.score for r in others] == pytest.approx([0.8, 0.8], abs=1e-6)
    assert others[1].class_name == "right"


def test_only_background():
    result = _segmentation(np.zeros((5, 7)))
    assert result.regions() == result.polygons() == []
    np.testing.assert_array_equal(result.contours(), result.image)
    np.testing.assert_array_equal(result.overlay(), result.image)
    assert not result.cutout()[..., 3].any()


def test_polygon_of_a_frame_has_one_hole():
    mask = np.zeros((20, 30))
    mask[4:14, 5:25] = 1
    mask[7:11, 10:20] = 0
    (polygon,) = _segmentation(mask).polygons()
    assert (polygon.class_id, polygon.class_name, len(polygon.holes)) == (1, "left", 1)
    assert polygon.outer.dtype == np.float32
    np.testing.assert_array_equal([polygon.outer.min(0), polygon.outer.max(0)], [(5, 4), (25, 14)])
    (hole,) = polygon.holes
    np.testing.assert_array_equal([hole.min(0), hole.max(0)], [(10, 7), (20, 11)])
    areas = [cv2.contourArea(ring) for ring in (polygon.outer, hole)]
    assert areas == pytest.approx([200, 40], abs=0.5)  # a corner may be cut by 1/8


@pytest.mark.parametrize(
    ("size", "spread", "seed"), [((60, 90), 4, 0), ((90, 60), 2, 1), ((25, 40), 0, 2), ((1, 9), 0, 3)]
)
def test_filled_polygons_are_the_mask(size, spread, seed):
    """Including noise of single pixels, where islands touch at corners and contain lakes."""
    result = _segmentation(_blobs(size, spread, seed))
    np.testing.assert_array_equal(_filled(result.polygons(), size), result.mask)


def test_polygons_are_in_the_order_of_regions():
    result = _segmentation(_blobs((60, 90), 3, 4))
    regions, polygons = result.regions(), result.polygons()
    assert len(regions) > 4
    for region, polygon in zip(regions, polygons, strict=True):
        assert (region.class_id, region.class_name) == (polygon.class_id, polygon.class_name)
        (left, top), (right, bottom) = polygon.outer.min(0), polygon.outer.max(0)
        assert (left, top, right - left, bottom - top) == region.box
    assert sum(region.area for region in regions) == (result.mask > 0).sum()


def test_cutout_has_soft_edges():
    result = _segmentation(np.ones((1, 5)))
    result.scores[0] = [(1, 0, 0), (0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.375, 0.225, 0.4), (0.2, 0.4, 0.4)]
    cutout = result.cutout()
    assert (cutout.shape, cutout.dtype) == ((1, 5, 4), np.uint8)
    np.testing.assert_array_equal(cutout[..., :3], result.image)
    assert cutout[0, :, 3].tolist() == [0, 0, 128, 191, 255]  # 2 p - 1/2 of p = 0, 0.2, 0.5, 0.625, 0.8


def test_cutout_is_written_with_its_transparency(tmp_path):
    cutout = _segmentation(_blobs((30, 40), 3, 0)).cutout()
    visualize.write(str(tmp_path / "cutout.png"), cutout)
    read = cv2.cvtColor(cv2.imread(str(tmp_path / "cutout.png"), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    np.testing.assert_array_equal(read, cutout)


@pytest.mark.parametrize(("size", "shown"), [((30, 40), (30, 40)), ((640, 2560), (320, 1280))])
def test_notebooks_show_the_overlay_at_a_bounded_size(size, shown):
    result = _segmentation(_blobs(size, 3, 0))
    picture = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture.shape == (*shown, 3)
    if size == shown:
        np.testing.assert_array_equal(picture, result.overlay())
