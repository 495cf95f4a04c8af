"""Copies are recognized whatever was done to them, and different pictures are not taken for copies."""

import cv2
import numpy as np
import pytest
from planted import encode, picture

from refinenet_jax.data.doctor.fingerprints import ALIKE, earlier_lookalikes, fingerprint

BIG = (240, 320)


def _recompressed(image):
    return cv2.imdecode(np.frombuffer(encode(image, ".jpg", 20), np.uint8), cv2.IMREAD_COLOR_RGB)


COPIES = {
    "recompressed": _recompressed,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "enlarged": lambda image: cv2.resize(image, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
    "of another shape": lambda image: cv2.resize(image, (216, 216), interpolation=cv2.INTER_LINEAR),
    "brightened": lambda image: (image * 1.2 + 15.0).clip(0, 255).astype(np.uint8),
    "darkened": lambda image: (255 * (image / 255.0) ** 1.5).astype(np.uint8),
    "noisy": lambda image: (image + np.random.default_rng(0).normal(0, 15, image.shape)).clip(0, 255).astype(np.uint8),
    "without color": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, -1),
    "shifted by a pixel": lambda image: np.roll(image, 1, axis=(0, 1)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copy_is_alike(kind):
    for seed in range(10):
        image = picture(seed, BIG)
        assert fingerprint(image) @ fingerprint(COPIES[kind](image)) > ALIKE


def test_different_pictures_are_not_alike():
    prints = np.stack([fingerprint(picture(seed, (60, 80))) for seed in range(400)])
    np.testing.assert_allclose(np.linalg.norm(prints, axis=1), 1, atol=1e-5)
    similarity = prints @ prints.T - np.eye(len(prints))
    assert similarity.max() < 0.7


def test_dark_and_flat_pictures_are_not_taken_for_copies():
    """They have nothing in common but the falling-off of light towards the corners, and noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:240j, -1:1:320j]
    light = 1 - 0.4 * (rows**2 + columns**2)
    frames = [(12 * light[..., None] + rng.normal(0, 3, (*BIG, 3))).clip(0, 255).astype(np.uint8) for _ in range(10)]
    frames += [np.full((*BIG, 3), gray, np.uint8) for gray in (0, 1, 128, 255)]
    prints = np.stack([fingerprint(frame) for frame in frames])
    assert (prints @ prints.T).max() < ALIKE


def test_lookalikes_are_those_of_all_pairs():
    """Against the plain comparison of all with all, over more than a block."""
    rng = np.random.default_rng(0)
    lengths = [1500, 0, 700, 1]
    prints = rng.normal(size=(sum(lengths), 16)).astype(np.float32)
    copies = rng.integers(0, len(prints), 600)
    prints[rng.permutation(len(prints))[:600]] = prints[copies] + rng.normal(0, 0.1, (600, 16))
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    earlier = earlier_lookalikes(prints, lengths)

    split = np.repeat(np.arange(len(lengths)), lengths)
    similarity = prints @ prints.T
    for i in range(len(prints)):
        candidates = np.where(split < split[i], similarity[i], -1)
        assert (earlier[i] >= 0) == (candidates.max() >= ALIKE)
        assert earlier[i] < 0 or candidates[earlier[i]] == pytest.approx(candidates.max(), abs=1e-6)
    assert (earlier >= 0).sum() > 50
