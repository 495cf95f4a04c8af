"""Patterns have the detail they are for, stay where they belong, and leave masks alone."""

import hashlib

import numpy as np
import pytest

from tfds_builders.synthetic_hands import background, printed_tabletop, prints, scene, tabletop

# Split, index, SHA-256 of the mask, mean of the picture.
PINNED = (
    ("train", 0, "573cc881133e2aec275fe5ad33ac2b2eddee88431753471a22760d83ef5ec543", 80.16),
    ("train", 600, "31729f43f9f9608709e561b53893a58772ad7fab81a4644291aaf2f779780307", 129.04),
    ("validation", 5, "1d30645b0319241c0485dcc5f04e0d53b670014568092ef29348e7e2f2adf634", 151.36),
    ("test", 12, "82a47971fc9315f64c30aeebba84d819aa60d4ed65d10fa1cffc6a347d967d08", 98.93),
)


@pytest.mark.parametrize(("split", "index", "digest", "mean"), PINNED)
def test_same_on_every_machine(split, index, digest, mean):
    image, mask = printed_tabletop.generate(split, index)
    assert hashlib.sha256(mask.tobytes()).hexdigest() == digest
    assert image.mean() == pytest.approx(mean, abs=0.3)  # JPEG libraries differ a little


def test_no_stream_is_one_of_the_other_configs():
    draws = [
        pictures.make_rng(split, index).integers(2**63)
        for pictures in (scene, tabletop, printed_tabletop)
        for split, count in pictures.NUM_EXAMPLES.items()
        for index in range(count)
    ]
    assert len(set(draws)) == len(draws)


def _detail(image: np.ndarray) -> float:
    """Mean step between neighbours, in grey levels."""
    return float(np.abs(np.diff(image.astype(np.float64), axis=1)).mean())


def test_background_has_more_detail_than_without_prints():
    def detail_behind_hands(pictures):
        steps = []
        for index in range(8):
            image, mask = pictures.generate("train", index)
            change = np.abs(np.diff(image.astype(float).mean(-1), axis=1))
            steps.append(change[(mask[:, 1:] == 0) & (mask[:, :-1] == 0)].mean())
        return np.mean(steps)

    assert detail_behind_hands(printed_tabletop) > 1.3 * detail_behind_hands(tabletop)


def test_prints_are_in_range_and_detailed():
    rng = np.random.default_rng(0)
    pictures = [prints.draw_print(rng, (90, 120), 3.0) for _ in range(30)]
    for picture in pictures:
        assert picture.shape == (90, 120, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 256
    plain = [background.surface(rng, (90, 120)) for _ in range(30)]
    assert np.median([_detail(p) for p in pictures]) > 2 * np.median([_detail(p) for p in plain])


def _layer() -> scene.Layer:
    rng = np.random.default_rng(1)
    cover = np.zeros((40, 60), bool)
    cover[10:30, 15:45] = True
    colour = rng.uniform(0.2, 0.9, (40, 60, 3)).astype(np.float32) * cover[..., None]
    return scene.Layer(colour, cover, cover.copy(), (0, 0), 4.0)


def test_a_print_stays_within_its_layer():
    layer = _layer()
    before = layer.colour.copy()
    prints.print_on(np.random.default_rng(0), layer)
    assert (layer.colour[~layer.cover] == 0).all()
    assert np.abs(layer.colour - before)[layer.cover].mean() > 0.05


def test_softening_keeps_outline_and_brightness():
    layer = _layer()
    before = layer.colour.copy()
    prints.soften(layer, 3.0)
    assert (layer.colour[~layer.cover] == 0).all()
    assert layer.colour[layer.cover].mean() == pytest.approx(before[layer.cover].mean(), rel=0.03)
    assert layer.colour[layer.cover].std() < 0.3 * before[layer.cover].std()
    edge = layer.colour[10, 15:45]  # as bright as the middle: nothing of the empty outside comes in
    assert edge.mean() == pytest.approx(before[layer.cover].mean(), rel=0.1)
