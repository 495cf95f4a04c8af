"""What the pictures of the `tabletop` config promise."""

import hashlib

import numpy as np
import pytest

from tfds_builders.synthetic_hands import hand, scene, skeleton, tabletop

# Split, index, SHA-256 of the mask, mean of the picture: masks are the same to the bit, pictures up to rounding.
PINNED = (
    ("train", 0, "b74f870839ba73317336c12c01a28d9e2a10a80dc275605b0b417cecce7302dd", 70.30),
    ("train", 7, "4dc779620d7490fc4f63f46abee908cd5d4e3e7f07278bdef05acf433dbd4956", 141.53),
    ("train", 1500, "e3de644d126805706a8298b52fdc9e69421ee238cd8a9ab326d541e916f39fd3", 130.29),
    ("validation", 5, "e9b77e2711f15f970056b548b3db92f9e329529daed57aaf3a79963a8cef38d6", 149.34),
    ("test", 12, "51f2911ffea648805cfad0da0297685aabfaf3dc51d49e24a3b7344e827f95c8", 130.96),
)


@pytest.fixture(scope="module")
def examples() -> list[tuple[np.ndarray, np.ndarray]]:
    return [tabletop.generate("train", index) for index in range(32)]


@pytest.mark.parametrize(("split", "index", "digest", "mean"), PINNED)
def test_same_on_every_machine(split, index, digest, mean):
    image, mask = tabletop.generate(split, index)
    assert hashlib.sha256(mask.tobytes()).hexdigest() == digest
    assert image.mean() == pytest.approx(mean, abs=0.3)  # JPEG libraries differ a little


def test_call_order_does_not_matter(examples):
    for expected, actual in zip(examples[5], tabletop.generate("train", 5), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_no_stream_is_drawn_twice():
    draws = [
        pictures.make_rng(split, index).integers(2**63)
        for pictures in (scene, tabletop)
        for split, count in pictures.NUM_EXAMPLES.items()
        for index in range(count)
    ]
    assert len(set(draws)) == len(draws)


def test_shapes_and_classes(examples):
    for image, mask in examples:
        assert image.shape == (scene.HEIGHT, scene.WIDTH, 3)
        assert image.dtype == mask.dtype == np.uint8
        assert mask.shape == (scene.HEIGHT, scene.WIDTH)
        assert set(np.unique(mask)) <= {scene.BACKGROUND, scene.LEFT, scene.RIGHT}


def test_hands_are_smaller_than_in_the_other_configs(examples):
    share = np.array([(mask > 0).mean() for _, mask in examples])
    assert share.max() < 0.35
    assert 0.02 < np.median(share) < np.median([(scene.generate("train", i)[1] > 0).mean() for i in range(16)])
    assert (share == 0).mean() < 0.3


def test_pictures_are_well_exposed(examples):
    means = np.array([image.mean() for image, _ in examples])
    assert means.min() > 12
    assert means.max() < 240


@pytest.mark.parametrize("is_left", [False, True])
def test_arm_of_a_person_opposite_reaches_from_the_elbow_to_the_hand(is_left):
    head = hand.View(np.eye(3), np.eye(3), (256.0, 60.0), 5.0, False)
    for seed in range(20):
        view, elbow, forearm = tabletop.opposite_view(np.random.default_rng(seed), head, is_left, False)
        assert view.is_left == is_left
        assert (elbow[0] > 256) == is_left  # who faces us has the left hand on our right
        assert 16 <= forearm < 80
        end = view.project((0.0, -forearm, 0.0), is_arm=True)[:2]
        # Perspective and the slack in the pitch leave a few centimetres.
        assert np.linalg.norm(end - elbow) < 12 * head.scale


def test_cards_cover_the_palm_they_lie_in():
    rng = np.random.default_rng(3)
    pose, cards, _ = tabletop.draw_cards(rng)
    assert 1 <= len(cards) <= hand.FINGER - hand.HELD  # so many part ids are for what is held
    bones = skeleton.forward_kinematics(pose)
    view = hand.View(hand.rotation(1, np.pi), np.eye(3), (128.0, 220.0), 7.0, False)
    things = [tabletop.props.place(shape, view, hand.HELD + i) for i, (shape, _) in enumerate(cards)]
    build = hand.Build(1.0, None, False)
    free, hidden = (hand.build_surface(bones, view, build, held, (256, 256)).labeled for held in ([], things))
    assert not (hidden & ~free).any()
    assert hidden.sum() < 0.9 * free.sum()


def test_camera_keeps_the_picture_recognizable():
    rng = np.random.default_rng(0)
    image, _ = scene.generate("train", 0)
    for _ in range(10):
        poor = tabletop.degrade(rng, image)
        assert poor.shape == image.shape
        assert poor.dtype == np.uint8
        assert np.corrcoef(poor.ravel(), image.ravel())[0, 1] > 0.85
