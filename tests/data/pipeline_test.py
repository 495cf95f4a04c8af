"""Tests of refinenet_jax.data.pipeline: which examples come, when, where and how augmented."""

import itertools

import cv2
import folders
import numpy as np
import pytest

from refinenet_jax.data import pipeline
from refinenet_jax.data.augment import Augmentation
from refinenet_jax.data.images import Picture
from refinenet_jax.data.paste import CopyPaste
from refinenet_jax.data.sources import DataError, DatasetInfo, open_source

AUGMENTATION = Augmentation(crop_size=16, short_edge=None)


class Numbers:
    """Example i is a 24 x 32 picture of different noise."""

    def __init__(self, length, name="numbers"):
        self.info = DatasetInfo(name, ("background", "left", "right"), ((1, 2),))
        self.length = length
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        rng = np.random.default_rng(index)
        return {
            "image": rng.integers(0, 256, (24, 32, 3), np.uint8),
            "mask": rng.integers(0, 3, (24, 32), np.uint8),
            "id": f"number-{index}",
        }


def _take(count, *sources, **settings):
    """The first batches of a source, or of (source, weight) pairs."""
    mix = [part if isinstance(part, tuple) else (part, 1.0) for part in sources or [Numbers(10)]]
    batches = pipeline.train_batches(mix, AUGMENTATION, **{"batch_size": 4, "seed": 1, **settings})
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def _assert_equal(these, those):
    assert len(these) == len(those)
    for this, that in zip(these, those, strict=True):
        assert this.keys() == that.keys()
        for key in this:
            np.testing.assert_array_equal(this[key], that[key])


def test_batch_has_the_agreed_form():
    (batch,) = _take(1)
    assert {
        key: (value.shape, value.dtype.kind, value.itemsize) for key, value in batch.items() if value.dtype.kind != "U"
    } == {
        "image": ((4, 16, 16, 3), "u", 1),
        "mask": ((4, 16, 16), "u", 1),
        "weight": ((4,), "f", 4),
    }
    assert batch["weight"].tolist() == [1.0] * 4
    assert batch["fault"].tolist() == [""] * 4
    assert all(name.startswith("number-") for name in batch["id"].tolist())


def test_epoch_shows_every_example_once_in_a_new_order():
    """10 examples in batches of 4: epochs end in the middle of a batch."""
    ids = np.concatenate([batch["id"] for batch in _take(10)]).reshape(4, 10)
    assert {tuple(sorted(epoch)) for epoch in ids.tolist()} == {tuple(sorted(f"number-{i}" for i in range(10)))}
    assert len({tuple(epoch) for epoch in ids.tolist()}) == 4
    assert ids[0].tolist() != [f"number-{i}" for i in range(10)]


def test_example_is_augmented_differently_in_each_epoch_and_batch():
    """The same picture in every place: of 40 crops hardly two are alike, by chance."""
    crops = np.concatenate([batch["image"] for batch in _take(10, Numbers(1))])
    assert len(np.unique(crops.reshape(40, -1), axis=0)) >= 38


def test_same_seed_same_run_and_other_seed_another():
    _assert_equal(_take(5), _take(5))
    first, other = _take(1)[0], _take(1, seed=2)[0]
    assert first["id"].tolist() != other["id"].tolist()
    seeds = [tuple(np.concatenate([batch["id"] for batch in _take(5, seed=seed)])) for seed in range(3)]
    # No seed's run is another's, started an epoch later.
    assert len({ids[start : start + 10] for ids in seeds for start in (0, 10)}) == 6


@pytest.mark.parametrize("step", [1, 7])
def test_resumed_run_is_the_unbroken_run(step):
    _assert_equal(_take(step + 3)[step:], _take(3, start_step=step))


def test_resuming_reads_none_of_the_skipped_examples():
    source = Numbers(1000)
    _take(1, source, start_step=10**6, batch_size=2)
    threads_ahead = 2 * 16 + 1
    assert len(source.reads) <= 2 * threads_ahead


@pytest.mark.parametrize("process_count", [2, 4])
def test_batches_of_all_hosts_make_up_the_batch_of_one(process_count):
    whole = _take(6, start_step=2)
    shares = [_take(6, start_step=2, process_index=i, process_count=process_count) for i in range(process_count)]
    assert shares[0][0]["image"].shape[0] == 4 // process_count
    joined = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} for parts in zip(*shares, strict=True)
    ]
    _assert_equal(whole, joined)


def test_worker_processes_give_the_same_batches():
    _assert_equal(_take(5, start_step=3), _take(5, start_step=3, num_workers=2))


def test_unexpected_error_in_an_example_reaches_the_caller():
    class Broken(Numbers):
        def __getitem__(self, index):
            raise ValueError(f"example {index} is broken")

    with pytest.raises(ValueError, match=r"example \d is broken"):
        _take(1, Broken(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size=5 must be a positive multiple of the 2 processes"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"process_index": 2, "process_count": 2}, "process_index=2 must be from 0 to 1"),
    ],
)
def test_impossible_shares_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        _take(1, **settings)


def _mix(*parts):
    return [(Numbers(length, f"set{i}"), weight) for i, (length, weight) in enumerate(parts)]


def test_a_mix_takes_from_each_dataset_by_its_weight_and_each_epoch_whole():
    ids = np.concatenate([batch["id"] for batch in _take(20, *_mix((6, 3), (100, 1)))]).tolist()
    first = [name for name in ids if name.startswith("set0: ")]
    assert len(first) == 60
    assert all(len(set(first[start : start + 6])) == 6 for start in range(0, 60, 6))
    second = [name for name in ids if name.startswith("set1: ")]
    assert len(set(second)) == len(second) == 20
    # Spread evenly: no batch goes without the rarer.
    assert all(sum(name.startswith("set1") for name in ids[start : start + 4]) == 1 for start in range(0, 80, 4))


def test_datasets_of_a_mix_have_different_orders():
    ids = np.concatenate([batch["id"] for batch in _take(8, *_mix((16, 1), (16, 1)))]).tolist()
    first, second = ([name.split("-")[1] for name in ids if name.startswith(start)] for start in ("set0", "set1"))
    assert sorted(first) == sorted(second) == sorted(map(str, range(16)))
    assert first != second


def test_a_mix_resumes_and_divides_like_a_dataset():
    parts = _mix((7, 1.5), (5, 1))
    whole = _take(9, *parts)
    _assert_equal(whole[5:], _take(4, *parts, start_step=5))
    shares = [_take(9, *parts, process_index=i, process_count=2) for i in range(2)]
    for batch, parts_of_it in zip(whole, zip(*shares, strict=True), strict=True):
        np.testing.assert_array_equal(batch["image"], np.concatenate([part["image"] for part in parts_of_it]))


def test_unreadable_example_has_weight_zero_and_a_reason():
    class Damaged(Numbers):
        def __getitem__(self, index):
            if index == 3:
                raise DataError("number-3 is cut short; replace it", "undecodable")
            return super().__getitem__(index)

    batches = _take(5, Damaged(10))
    faults = [fault for batch in batches for fault in batch["fault"].tolist() if fault]
    assert faults == ["number-3 is cut short; replace it"] * 2
    for damaged, whole in zip(batches, _take(5), strict=True):
        bad = damaged["fault"] != ""
        assert damaged["weight"].tolist() == (1.0 - bad).tolist()
        assert (damaged["mask"][bad] == 255).all()
        # All others come as they would have come.
        np.testing.assert_array_equal(damaged["image"][~bad], whole["image"][~bad])
        assert damaged["id"][bad].tolist() == ["example 3"] * int(bad.sum())


def test_pictures_in_files_are_decoded_where_their_scale_is_known(tmp_path, monkeypatch):
    """At a reduced size, and one whose pixels are damaged is named as one whose header is."""
    whole = folders.png(np.zeros((64, 64, 3), np.uint8))
    start = whole.index(b"IDAT") - 4
    damaged = whole[:start] + whole[whole.index(b"IEND") - 4 :]
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    folders.put(tmp_path / "dataset.yaml", "classes: [background, hand]\nsplit: {validation: 0, test: 0}\n")
    for name, content in {"a.jpg": jpeg, "b.png": damaged}.items():
        folders.put(tmp_path / "images" / name, content)
        folders.put(tmp_path / "masks" / f"{name[0]}.png", folders.png(np.ones((64, 64), np.uint8)))
    reductions, decode = [], Picture.decode
    monkeypatch.setattr(Picture, "decode", lambda self, by=1: reductions.append(by) or decode(self, by))
    augmentation = Augmentation(crop_size=16, short_edge=None, scales=(0.25,))
    batches = pipeline.train_batches([(open_source(str(tmp_path), "train"), 1.0)], augmentation, batch_size=2, seed=0)
    batch = next(batches)
    batches.close()
    of = dict(zip(batch["id"].tolist(), range(2), strict=True))
    assert set(reductions) == {1, 4}
    assert batch["weight"].tolist() == [float(name == "a") for name in batch["id"].tolist()]
    assert (batch["mask"][of["a"]] == 1).all()
    assert "b.png" in batch["fault"][of["b"]]


def test_overfitting_shows_the_first_batches_again_and_again():
    batches = _take(7, overfit_batches=3)
    _assert_equal(batches[:3], _take(3))
    _assert_equal(batches[3:], (batches[:3] * 2)[:4])
    _assert_equal(_take(2, overfit_batches=3, start_step=4), batches[4:6])


def test_pastes_are_a_function_of_the_step_too():
    paste = CopyPaste(((Numbers(5), 1.0),), probability=1.0, size=(8, 12))
    whole = _take(6, paste=paste)
    _assert_equal(_take(2, paste=paste, start_step=4), whole[4:])
    plain = _take(6)
    assert not any(np.array_equal(a["image"], b["image"]) for a, b in zip(whole, plain, strict=True))


@pytest.mark.parametrize("pasted", [True, False])
def test_a_fault_in_what_is_pasted_or_pasted_onto_is_that_of_the_example(pasted):
    class Broken(Numbers):
        def __getitem__(self, index):
            raise DataError("cut.png is cut short")

    example, cutout = (Numbers(5), Broken(5)) if pasted else (Broken(5), Numbers(5))
    (batch,) = _take(1, example, paste=CopyPaste(((cutout, 1.0),), probability=1.0, size=(8, 12)))
    assert batch["fault"].tolist() == ["cut.png is cut short"] * 4
    assert batch["weight"].tolist() == [0.0] * 4
    assert (batch["mask"] == 255).all()
    assert batch["id"][0].startswith("number-") == pasted


@pytest.mark.parametrize("flip", [True, False])
def test_mirroring_classes_that_may_have_sides_is_announced(flip, tmp_path, capsys):
    source = open_source(str(folders.masks(tmp_path)), "train")
    augmentation = Augmentation(crop_size=8, flip=flip)
    pipeline.train_batches([(source, 1.0)], augmentation, batch_size=1, seed=0).close()
    assert ("flip_pairs: [[hand, class 2]]" in capsys.readouterr().err) == flip
