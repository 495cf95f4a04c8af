"""Corruptions are reproducible, become worse with strength, and keep the outline; masks change only by occlusion."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.evaluation import boundary, metrics
from refinenet_jax.evaluation.analysis import corruptions
from refinenet_jax.evaluation.analysis.corruptions import CORRUPTIONS, STRENGTHS, Corrupted, corrupt, curves
from refinenet_jax.evaluation.analysis.slices import figures
from refinenet_jax.evaluation.scores import Scores

KINDS = sorted(CORRUPTIONS)


def scene(height=240, width=320, seed=0):
    """Two bright hands, left and right, in front of a textured wall; a strip of void."""
    grain = np.random.default_rng(seed).random((height // 8, width // 8, 3), np.float32)
    image = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC) * 120
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 4, height // 2), height // 5, 1, -1)
    cv2.circle(mask, (3 * width // 4, height // 2), height // 4, 2, -1)
    image[mask > 0] += 110
    mask[: height // 20] = 255
    return {"image": np.clip(image, 0, 255).astype(np.uint8), "mask": mask, "id": f"video/{seed}", "video": "video"}


class Scenes:
    """Three scenes as a source."""

    info = DatasetInfo("scenes", ("background", "left", "right"), ((1, 2),))

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return scene(seed=index)


@pytest.mark.parametrize("kind", KINDS)
def test_reproducible_and_worse_with_every_strength(kind):
    example, quality = scene(), []
    for strength in STRENGTHS:
        first, second = corrupt(example, kind, strength), corrupt(scene(), kind, strength)
        for key in ("image", "mask"):
            assert first[key].shape == example[key].shape
            assert first[key].dtype == np.uint8
            np.testing.assert_array_equal(first[key], second[key])
            np.testing.assert_array_equal(example[key], scene()[key])
        assert (first["id"], first["video"]) == ("video/0", "video")
        quality.append(cv2.PSNR(first["image"], example["image"]))
        if kind != "occlusion":
            np.testing.assert_array_equal(first["mask"], example["mask"])
    assert all(a > b + 0.4 for a, b in pairwise(quality)), quality
    if kind not in ("defocus", "jpeg"):  # random
        assert (corrupt({**example, "id": "video/1"}, kind, 5)["image"] != first["image"]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strength_means_the_same_at_any_size(kind):
    """From 480 lines: no grain or block can be finer than a pixel."""
    small = scene(480, 640)
    arrays = {key: cv2.resize(small[key], (1280, 960), interpolation=cv2.INTER_NEAREST) for key in ("image", "mask")}
    large = {**small, **arrays}
    small_psnr, large_psnr = (cv2.PSNR(corrupt(x, kind, 3)["image"], x["image"]) for x in (small, large))
    assert large_psnr == pytest.approx(small_psnr, abs=1.5)


def test_hidden_pixels_are_background():
    example = scene()
    hidden_before = np.zeros(example["mask"].shape, bool)
    for strength in STRENGTHS:
        result = corrupt(example, "occlusion", strength)
        hidden = result["mask"] != example["mask"]
        assert (result["mask"][hidden] == 0).all()
        for hand in (1, 2):
            share = hidden[example["mask"] == hand].mean()
            assert strength / 10 <= share <= strength / 10 + 0.12
        assert hidden[hidden_before].all()  # the object grows
        # The object is drawn wherever the mask changes; hands elsewhere are unchanged.
        assert (result["image"][hidden] != example["image"][hidden]).any(-1).mean() > 0.98
        seen = (result["mask"] != 0) & (result["mask"] != 255)
        np.testing.assert_array_equal(result["image"][seen], example["image"][seen])
        hidden_before = hidden
    empty = {**example, "mask": np.zeros((240, 320), np.uint8)}
    np.testing.assert_array_equal(corrupt(empty, "occlusion", 5)["image"], example["image"])


@pytest.mark.parametrize("kind", ["motion_blur", "defocus"])
@pytest.mark.parametrize("strength", [1, 5])
def test_blur_keeps_the_light_and_its_place(kind, strength):
    """A point stays at its position, so that the true outline is still the center of the visible edge."""
    image = np.zeros((481, 481, 3), np.uint8)
    image[236:245, 236:245] = 200
    blurred = corrupt({"image": image, "mask": image[..., 0], "id": "x"}, kind, strength)["image"]
    before, after = (((x[..., 1] / 255 + 0.055) / 1.055) ** 2.4 * (x[..., 1] > 10) for x in (image, blurred))
    rows, columns = np.indices(after.shape)
    assert (rows * after).sum() / after.sum() == pytest.approx(240, abs=0.2)
    assert (columns * after).sum() / after.sum() == pytest.approx(240, abs=0.2)
    assert after.sum() == pytest.approx(before.sum(), rel=0.1)


def test_low_light_is_darker_by_half_the_stops():
    """Mid-gray is 0.2159 of full light; 1.5 stops less, half of it compensated: 0.2159 / 2^0.75 = 0.1284, which is 100."""
    image = np.full((480, 480, 3), 128, np.uint8)
    dark = corrupt({"image": image, "mask": image[..., 0], "id": "x"}, "low_light", 1)["image"]
    assert dark.mean() == pytest.approx(100.4, abs=1)
    # Shot noise of 0.2159 * 2000 / 2^1.5 = 152.6 electrons and read noise: 12.7 of 152.6 or 8.3 % of the light, times the
    # slope of sRGB there, 255 * 1.055 / 2.4 * 0.1284^(1 / 2.4) = 47.6.
    assert dark.std() == pytest.approx(0.083 * 47.6, rel=0.1)


def test_noise_has_the_stated_deviation():
    image = np.full((480, 480, 3), 128, np.uint8)
    noisy = corrupt({"image": image, "mask": image[..., 0], "id": "x"}, "noise", 3)["image"].astype(float)
    assert noisy.std() == pytest.approx(32, rel=0.02)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.01


def score(source):
    """Scores of a segmenter whose hands are the bright pixels."""
    examples = [source[i] for i in range(len(source))]
    predictions = [(x["image"].mean(-1) > 125).astype(np.uint8) for x in examples]
    pairs = [(x["mask"], prediction) for x, prediction in zip(examples, predictions, strict=True)]
    return Scores(
        class_names=source.info.class_names,
        ids=tuple(x["id"] for x in examples),
        videos=tuple(x["video"] for x in examples),
        counts=np.stack([metrics.count(t, p, 3) for t, p in pairs]),
        boundary=np.stack([boundary.counts(t, p) for t, p in pairs]),
    )


def test_curves(monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", {kind: CORRUPTIONS[kind] for kind in ("low_light", "defocus")})
    monkeypatch.setattr(corruptions, "STRENGTHS", (1, 5))
    table = curves(Scenes(), score(Scenes()), score)
    assert list(table) == ["low_light", "defocus", "mean"]
    assert all(list(row) == [0, 1, 5] for row in table.values())
    assert table["low_light"][0] == table["defocus"][0] == figures(score(Scenes()))
    assert table["defocus"][5] == figures(score(Corrupted(Scenes(), "defocus", 5)))
    iou = {kind: [row[s]["hand_iou"] for s in (0, 1, 5)] for kind, row in table.items()}
    assert iou["low_light"][0] > 0.9 > iou["low_light"][1] >= iou["low_light"][2] == 0
    assert iou["mean"] == pytest.approx([(a + b) / 2 for a, b in zip(iou["low_light"], iou["defocus"], strict=True)])
