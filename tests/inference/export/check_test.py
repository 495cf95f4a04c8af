"""The comparison of an export with its network: figures computed by hand, and faults."""

import numpy as np
import pytest
import tiny

from refinenet_jax.inference.export import check, pictures
from refinenet_jax.inference.export.network import Network

SIZE = (32, 40)


@pytest.fixture(scope="module")
def network():
    return Network.of(tiny.segmenter(tiny.SQUARES), SIZE)


@pytest.fixture(scope="module")
def examples():
    return [(picture["image"], picture["mask"]) for picture in tiny.Pictures([SIZE] * 3)]


def compare(network, examples, change=lambda mask, scores: (mask, scores)):
    """Compares the network with itself, changed."""

    def run(image):
        result = network.segmenter(image[0])
        return tuple(array[None] for array in change(result.mask.copy(), result.scores.copy()))

    return check.compare(run, network, examples)


def test_a_network_agrees_with_itself(network, examples):
    found = compare(network, examples)
    assert (found.pictures, found.agreement, found.difference, found.iou) == (3, 1.0, 0.0, 1.0)
    assert found.truth_iou[0] == found.truth_iou[1]
    assert found.faults(check.FLOAT32) == []


def test_figures_over_all_pixels_of_all_pictures(network, examples):
    def change(mask, scores):
        mask[0, :10] = (mask[0, :10] == 0).astype(np.uint8)
        scores[3, 4, 1] += 0.25
        return mask, scores

    found = compare(network, examples, change)
    assert found.agreement == pytest.approx(1 - 10 / (32 * 40))
    assert found.difference == pytest.approx(0.25)
    assert [fault.split()[0] for fault in found.faults(check.FLOAT32)] == ["99.219%", "a"]
    assert found.faults(check.INT8) == []


def test_void_in_the_truth_is_not_counted(network):
    image = tiny.Pictures([SIZE])[0]["image"]
    mask = network.segmenter(image).mask
    truth = np.where(np.arange(40) < 20, (mask > 0).astype(np.uint8), 255).astype(np.uint8)
    truth[0, 0] = mask[0, 0] == 0
    foreground = int((mask[:, :20] > 0).sum())
    found = compare(network, [(image, truth)])
    wrong_hit = mask[0, 0] > 0
    expected = (foreground - 1) / foreground if wrong_hit else foreground / (foreground + 1)
    assert found.truth_iou == pytest.approx((expected, expected))


def test_nan_is_a_fault(network, examples):
    calls = []

    def change(mask, scores):
        calls.append(1)
        scores[0, 0] = np.nan if len(calls) == 2 else scores[0, 0]
        return mask, scores

    found = compare(network, examples, change)
    assert np.isnan(found.difference)
    assert found.faults(check.FLOAT32)
    assert found.faults(check.INT8)


def test_pictures_are_cropped():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 200
    mask = np.where(image[..., 0] > 0, 7, 0).astype(np.uint8)
    assert (pictures.fit(image, (20, 20)) == 200).all()
    assert (pictures.fit(mask, (20, 20)) == 7).all()
    wide = pictures.fit(mask, (30, 60))
    assert wide.shape == (30, 60)
    assert set(np.unique(wide)) == {0, 7}
    assert abs(int((wide > 0).sum()) - 30 * 30) <= 30
