"""Tests of the official lists, of reading polygons.mat, and of drawing masks."""

import pathlib
import struct
from collections import Counter

import numpy as np
import pytest
import scipy.io
from etils import epath

from tfds_builders.egohands import labelled_samples, make_dummy_data
from tfds_builders.egohands.labelled_samples import draw_identities, read_polygons, read_video

ANNOTATIONS = pathlib.Path(__file__).parents[3] / "shared" / "realdata" / "egohands_annotations"
VIDEO = epath.Path(__file__).parent / "dummy_data" / labelled_samples.FOLDER / "CARDS_COURTYARD_H_S"


def _square(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _hands(**polygons):
    return {name: np.empty((0, 2)) for name in labelled_samples.IDENTITIES} | polygons


def test_official_split():
    assert {split: len(videos) for split, videos in labelled_samples.SPLITS.items()} == {
        "train": 36,
        "validation": 4,
        "test": 8,
    }
    assert len(set(labelled_samples.VIDEOS)) == 48
    # README.txt: each of four people does each of four activities at each of three places.
    assert len({video.rpartition("_")[0] for video in labelled_samples.VIDEOS}) == 48


def test_a_video_is_its_frames_by_name_with_their_polygons():
    frames = read_video(VIDEO)
    assert [frame.number for frame in frames] == [3, 40, 2105]
    sizes = [{name: len(polygon) for name, polygon in frame.polygons.items()} for frame in frames]
    assert sizes == [
        {"yourleft": 12, "yourright": 12, "myleft": 12, "myright": 12},
        {"yourleft": 0, "yourright": 12, "myleft": 0, "myright": 0},
        {"yourleft": 0, "yourright": 0, "myleft": 0, "myright": 0},
    ]


def test_both_kinds_of_absent_hand_are_in_the_dummy_data():
    polygons = scipy.io.loadmat(VIDEO / "polygons.mat")["polygons"]
    assert polygons.shape == (1, 3)
    assert {polygons[0, 2][name].shape for name in labelled_samples.IDENTITIES} == {(1, 0), (0, 0)}


def test_a_corner_fills_the_pixel_it_lies_in():
    mask = draw_identities(_hands(myleft=_square(10.9, 20.2, 12.1, 21.9)))
    assert mask.shape == (720, 1280)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask).tolist() == [[y, x] for y in (20, 21) for x in (10, 11, 12)]


def test_the_edges_of_the_picture_are_reached():
    mask = draw_identities(_hands(yourright=_square(0, 0, 1280, 720)))
    assert (mask == 4).all()


def test_own_hands_are_painted_over_the_others():
    mask = draw_identities(_hands(**{name: _square(5, 5, 9, 9) for name in labelled_samples.IDENTITIES}))
    assert np.unique(mask[5:10, 5:10]).tolist() == [labelled_samples.IDENTITIES["myright"]]
    mask = draw_identities(_hands(myleft=_square(5, 5, 9, 9), yourright=_square(7, 5, 12, 9)))
    assert mask[7, 4:14].tolist() == [0, 1, 1, 1, 1, 1, 4, 4, 4, 0]


def test_a_stray_picture_is_refused(tmp_path):
    (tmp_path / "frame_0001.jpg").touch()
    (tmp_path / "frame_0001 (copy).jpg").touch()
    with pytest.raises(ValueError, match=r"frame_0001 \(copy\)\.jpg is no frame"):
        read_video(epath.Path(tmp_path))


def test_a_video_without_polygons_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no polygons\.mat"):
        read_video(epath.Path(tmp_path))


def _write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        make_dummy_data.write_polygons(path, [_hands(myleft=content)])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a matlab file" * 20,
        (VIDEO / "polygons.mat").read_bytes()[:700],
        {"polygons": np.zeros((1, 100))},
        {"other": np.zeros(3)},
        np.zeros((5, 3)),
        np.zeros((2, 2)),
        _square(0, 0, 1281, 5),
        np.full((5, 2), np.nan),
    ],
    ids=["empty", "text", "cut", "numbers", "other", "three columns", "two corners", "outside", "nan"],
)
def test_bad_polygons_are_named(tmp_path, content):
    _write(tmp_path / "polygons.mat", content)
    with pytest.raises(ValueError, match=r"polygons\.mat(: myleft of frame 0| cannot be read)"):
        read_polygons(epath.Path(tmp_path / "polygons.mat"))


def test_polygons_that_claim_to_be_many_are_refused(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / "polygons.mat")
    fields = [(name, object) for name in labelled_samples.IDENTITIES]
    scipy.io.savemat(path, {"polygons": np.zeros((1, 3), fields)})
    path.write_bytes(path.read_bytes().replace(struct.pack("<ii", 1, 3), struct.pack("<ii", 1, 1_500_000_000)))
    with pytest.raises(ValueError, match=r"polygons\.mat cannot be read .*more than 50,000 values"):
        read_polygons(path)
    monkeypatch.setattr(labelled_samples, "_MAX_NUMBERS", 100)
    with pytest.raises(ValueError, match=r"polygons\.mat cannot be read .*has 120 numbers, more than any video's"):
        read_polygons(VIDEO / "polygons.mat")
    monkeypatch.setattr(labelled_samples, "_MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match=r"polygons\.mat cannot be read .*bytes, more than any video's"):
        read_polygons(VIDEO / "polygons.mat")


@pytest.mark.skipif(not ANNOTATIONS.exists(), reason=f"no real EgoHands annotations in {ANNOTATIONS}")
def test_real_annotations():
    """All 48 real polygons.mat: README.txt's 15,053 hands, and the 13 frames known to show none."""
    hands, without = Counter(), set()
    for video in labelled_samples.VIDEOS:
        frames = read_polygons(epath.Path(ANNOTATIONS / labelled_samples.FOLDER / video / "polygons.mat"))
        assert len(frames) == 100
        for index, frame in enumerate(frames):
            seen = [name for name, polygon in frame.items() if len(polygon)]
            hands.update(seen)
            if not seen:
                without.add((video, index))
    assert hands == {"yourleft": 4567, "yourright": 4510, "myright": 3416, "myleft": 2560}
    assert hands.total() == 15_053
    assert without == {
        *(("JENGA_COURTYARD_S_T", i) for i in (0, 1)),
        *(("JENGA_LIVINGROOM_B_H", i) for i in (49, 97, 98, 99)),
        ("JENGA_LIVINGROOM_H_B", 32),
        ("JENGA_OFFICE_S_B", 66),
        ("PUZZLE_COURTYARD_S_B", 93),
        *(("PUZZLE_LIVINGROOM_H_S", i) for i in (0, 1, 46, 47)),
    }
    assert {video for video, _ in without} <= set(labelled_samples.SPLITS["train"])
