"""Sources on the command line: the files that they select, and the names of the results."""

import os
import re
from pathlib import Path

import clips
import pytest
from PIL import Image

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.sources import find


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a.jpg", "sub/b.PNG", "sub/deep/c.mp4", "sub/notes.md", ".hidden.jpg", "with space.gif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


def names(items: list[Item]) -> dict[str, str]:
    return {item.relative: item.kind for item in items}


def test_folder_keeps_its_tree(tree):
    expected = {"a.jpg": "image", "sub/b.PNG": "image", "sub/deep/c.mp4": "video", "with space.gif": "image"}
    assert names(find([tree])) == expected
    assert [item.name for item in find([tree])] == ["a", "sub/b", "sub/deep/c", "with space"]
    assert all(Path(item.path).exists() for item in find([tree]))


def test_patterns_links_and_repeated_files(tree):
    assert names(find(["in/**/*.[Pj]*"])) == {"a.jpg": "image", "sub/b.PNG": "image"}
    assert names(find([f"{tree}/su*/b.PNG"])) == {"sub/b.PNG": "image"}
    (tree / "x[1].jpg").write_bytes(b"x")
    assert names(find([tree / "x[1].jpg"])) == {"x[1].jpg": "image"}
    (tree / "sub" / "up").symlink_to(tree)
    assert len(find([tree, tree / "a.jpg", "in/a.jpg"])) == 5


def test_list_is_named_from_the_folder_in_common(tree):
    """Names need not be UTF-8."""
    name = os.fsdecode(b"latin\xe9.jpg")
    (tree / name).write_bytes(b"x")
    Path("list.txt").write_bytes(b"in/a.jpg\r\n\n  in/sub/b.PNG \nin/sub/deep\nin/latin\xe9.jpg\n")
    assert names(find(["@list.txt"])) == {
        "a.jpg": "image",
        "sub/b.PNG": "image",
        "sub/deep/c.mp4": "video",
        name: "image",
    }
    Path("one.txt").write_text("in/sub/b.PNG\n")
    assert names(find(["@one.txt"])) == {"b.PNG": "image"}


def test_results_among_the_pictures_are_skipped(tree):
    (tree / "out").mkdir()
    (tree / "out" / "a_mask.png").write_bytes(b"x")
    assert len(find([tree], leave_out=tree / "out")) == 4
    assert len(find(["in/**/*.[Pjp]*"], leave_out=tree / "out")) == 2
    assert len(find(["in/**/*.[Pjp]*"], leave_out=tree.parent)) == 3
    assert len(find([tree], leave_out=tree.parent)) == 5  # pictures below the folder of results
    with pytest.raises(UsageError, match="another --output"):
        find([tree], leave_out=tree)


@pytest.mark.parametrize(
    ("source", "path", "kind", "name"),
    [
        ("0", "0", "camera", "camera0"),
        ("/dev/video2", "/dev/video2", "camera", "camera2"),
        ("rtsp://user:secret@10.0.0.5:554/live/main", None, "camera", "camera_10.0.0.5_main"),  # without the password
        ("https://example.org/x/photo%201.jpg?size=2", None, "image", "photo_1"),
        ("http://example.org/..%2f..%2fetc%2fpasswd", None, "image", "passwd"),
        ("http://example.org/", None, "image", "example"),
    ],
)
def test_cameras_and_addresses(source, path, kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (item,) = find([source])
    assert (item.path, item.kind, item.name) == (path or source, kind, name)


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("in/missing.jpg", "in/missing.jpg"),
        ("in/*.webp", "in/*.webp"),
        ("https://example.org/a.mp4", "a.mp4 is a video"),
        ("ftp://example.org/a.jpg", "ftp://example.org/a.jpg"),
        ("in/list.txt", "@in/list.txt"),
        ("@in/nested.txt", "@in/list.txt"),
        ("@in/zero.txt", "zero.txt is not UTF-8"),
        ("@in/binary.txt", "binary.txt is not UTF-8"),
        ("@in/none.txt", "in/none.txt"),
        ("in/pipe.jpg", "pipe.jpg is not a regular file"),
        ("in/empty", "in/empty"),
        ("in/sub/notes.md", "1 .md"),
    ],
)
def test_errors_name_the_source(tree, source, fact):
    (tree / "list.txt").write_text("a.jpg\n")
    (tree / "nested.txt").write_text("@in/list.txt\n")
    (tree / "zero.txt").write_bytes(b"in/a\0.jpg\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tree / "empty").mkdir()
    os.mkfifo(tree / "pipe.jpg")
    with pytest.raises(UsageError, match=re.escape(fact)):
        find([source])


def test_equal_stems_keep_their_endings(tree):
    """The pictures a.jpg and a.png; the video a.mp4 is no conflict."""
    for name in ("a.png", "a.mp4"):
        (tree / name).write_bytes(b"x")
    kept = {"a.jpg", "a.png"}
    stems = {"sub/b", "with space", "sub/deep/c", "a"}
    assert {item.name for item in find([tree])} == kept | stems
    (tree / "other").mkdir()
    (tree / "other" / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"in/a\.jpg and in/other/a\.jpg"):
        find(["in/a.jpg", "in/other/a.jpg"])


def test_names_near_the_limit_of_file_systems_are_shortened():
    names = ["x" * 240 + ".jpg", "x" * 245 + ".jpg", "x" * 245 + "y.jpg", "\u00e9" * 124 + ".jpg"]
    found = [Item(name, f"sub/{name}", "image").name for name in names]
    assert found[0] == "sub/" + "x" * 240
    assert len(set(found)) == 4
    assert all(len(os.fsencode(Path(name).name)) <= 240 for name in found)


def test_skipped_files_are_counted_by_ending(tree, capsys):
    for name in ("x.txt", "y.txt", "README", "old/a_mask.png", "old/predict.json"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "gone.jpg").symlink_to(tree / "nowhere")
    assert len(find([tree])) == 4
    (line,) = capsys.readouterr().err.splitlines()
    facts = ("7 files", "2 .txt", "1 .md", "1 without an ending", "1 broken link", "2 of earlier results")
    assert all(fact in line for fact in facts)
    assert len(find([tree / "old"])) == 1  # given directly


def test_content_decides_for_a_file_given_directly(tree):
    Image.new("RGB", (8, 8)).save(tree / "picture.dat", format="PNG")
    clips.write(tree / "clip.mp4", clips.pictures(2)).rename(tree / "clip")
    assert names(find([tree / "picture.dat"])) == {"picture.dat": "image"}
    assert names(find(["in/*.dat"])) == {"picture.dat": "image"}
    assert names(find([tree / "clip"])) == {"clip": "video"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_all_systems(tree, encoding):
    (tree / "caf\u00e9.jpg").write_bytes(b"x")
    lines = ["in/a.jpg", '"in/with space.gif"', "in\\sub\\b.PNG", "in/caf\u00e9.jpg"]
    Path("list.txt").write_bytes("\r\n".join(lines).encode(encoding))
    assert set(names(find(["@list.txt"]))) == {"a.jpg", "with space.gif", "sub/b.PNG", "caf\u00e9.jpg"}


def test_home_is_expanded_in_every_form_of_source(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    Path("list.txt").write_text("~/a.jpg\n")
    (tree / "list.txt").write_text("~/a.jpg\n")
    for source in ("~/a.jpg", "~/a*.jpg", "@list.txt", "@~/list.txt", "~"):
        assert "a.jpg" in names(find([source]))


def test_endings_in_the_docs_are_those_of_folders(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "predict.md").read_text(encoding="utf-8")
    endings = [ending for line in text.splitlines() if line.startswith("    .") for ending in line.split()]
    for ending in endings:
        (tmp_path / f"a{ending}").write_bytes(b"x")
    assert [Path(item.path).suffix for item in find([tmp_path])] == sorted(endings)
