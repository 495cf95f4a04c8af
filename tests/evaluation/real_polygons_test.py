"""The official outlines of EgoHands compared with shifted copies; expected values by sets of pixels."""

import numpy as np
import pytest
from conftest import SHARED
from etils import epath
from ml_collections import ConfigDict

from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.evaluation import predictions, protocols
from tfds_builders.egohands import labeled_samples

OPTIONS = ConfigDict({"protocols": ("strict", "cvpr18", "seed")})
VIDEOS, FRAMES = slice(None, None, 8), (0, 55)  # of 48 videos and 100 frames
SHIFT = 9, 14  # pixels down and to the right


class Truth(list):
    """Left and right hands of several videos; the pictures are not used."""

    info = DatasetInfo("egohands/left_right", ("background", "left", "right"))


@pytest.fixture(scope="module")
def source():
    folder = SHARED / "realdata" / "egohands_annotations"
    files = sorted(folder.rglob("polygons.mat"))[VIDEOS]
    if not files:
        pytest.skip("the outlines of EgoHands (../shared/realdata) are not on this machine")
    truth = Truth()
    for path in files:
        frames = labeled_samples.read_polygons(epath.Path(path))
        for number in FRAMES:
            identities = labeled_samples.draw_identities(frames[number])
            mask = np.array([0, 1, 2, 1, 2], np.uint8)[identities]
            image = np.zeros((*mask.shape, 3), np.uint8)
            video = path.parent.name
            truth.append({"id": f"{video}/{number}", "video": video, "image": image, "mask": mask})
    assert len(truth) == 12
    return truth


def _shifted(mask):
    moved = np.zeros_like(mask)
    moved[SHIFT[0] :, SHIFT[1] :] = mask[: -SHIFT[0], : -SHIFT[1]]
    return moved


def _sets(truth, moved, *classes):
    """Numbers of the pixels in both, in either, in the truth and in the copy."""
    a, b = (np.isin(mask, classes) for mask in (truth, moved))
    return tuple(int(np.count_nonzero(pixels)) for pixels in (a & b, a | b, a, b))


def test_shifted_copies_by_set_arithmetic(source, tmp_path):
    for example in source:
        predictions.write(tmp_path, example["id"], _shifted(example["mask"]))
    scores = predictions.score(predictions.Predictions(tmp_path, source.info), source, OPTIONS)
    figures = protocols.figures(scores, source.info.name, OPTIONS.protocols)
    masks = [(example["mask"], _shifted(example["mask"])) for example in source]
    ious, precisions, recalls, inside, around, total = [], [], [], 0, 0, 0
    by_class = {}
    for truth, moved in masks:
        both, either, there, found = _sets(truth, moved, 1, 2)
        ious.append(both / either)
        precisions.append(both / found)
        recalls.append(both / there)
        inside, around, total = inside + both, around + either, total + truth.size
        for name, class_id in (("background", 0), ("left", 1), ("right", 2)):
            both, either, *_ = _sets(truth, moved, class_id)
            sums = by_class.get(name, (0, 0))
            by_class[name] = sums[0] + both, sums[1] + either
    strict, published, seed = (figures[name] for name in ("strict", "cvpr18", "seed"))
    assert strict["per_image_iou"] == pytest.approx(np.mean(ious), abs=1e-12)
    assert strict["per_image_precision"] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert strict["per_image_recall"] == pytest.approx(np.mean(recalls), abs=1e-12)
    assert strict["hand_iou"] == pytest.approx(inside / around, abs=1e-12)
    assert strict["iou"] == pytest.approx({name: a / b for name, (a, b) in by_class.items()}, abs=1e-12)
    assert published["per_image_iou"] == pytest.approx(sum(ious) / 800, abs=1e-12)
    assert published["per_image_recall"] == pytest.approx(sum(recalls) / 800, abs=1e-12)
    # Neither set of hands lies outside `around`: the rest is background in both.
    background = (total - around) / (total - inside)
    assert seed["mean_iou"] == pytest.approx((background + inside / around) / 2, abs=1e-12)
    assert 0.3 < strict["per_image_iou"] < 0.95
