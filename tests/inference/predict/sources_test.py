"""What a user can name, and what each file is called by it."""

import os
from pathlib import Path

import pytest

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.sources import Item, find, find_images


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


def test_pattern_is_named_from_its_fixed_part(tree):
    assert names(find(["in/**/*.[Pj]*"])) == {"a.jpg": "image", "sub/b.PNG": "image"}
    assert names(find([f"{tree}/su*/b.PNG"])) == {"sub/b.PNG": "image"}


def test_file_whose_name_looks_like_a_pattern_is_a_file(tree):
    (tree / "x[1].jpg").write_bytes(b"x")
    assert names(find([tree / "x[1].jpg"])) == {"x[1].jpg": "image"}


def test_list_is_named_from_the_folder_in_common(tree):
    Path("list.txt").write_text("in/a.jpg\n\n  in/sub/b.PNG \nin/sub/deep\n", encoding="utf-8")
    assert names(find(["@list.txt"])) == {"a.jpg": "image", "sub/b.PNG": "image", "sub/deep/c.mp4": "video"}
    Path("one.txt").write_text("in/sub/b.PNG\n")
    assert names(find(["@one.txt"])) == {"b.PNG": "image"}


def test_file_url_is_a_path(tree):
    assert names(find([f"file://{tree}/with%20space.gif"])) == {"with space.gif": "image"}
    assert len(find([f"file://localhost{tree}"])) == 4


def test_file_named_twice_counts_once(tree):
    assert len(find([tree, tree / "a.jpg", "in/a.jpg"])) == 4


def test_results_in_the_folder_of_the_pictures_are_no_pictures(tree):
    (tree / "out").mkdir()
    (tree / "out" / "a_mask.png").write_bytes(b"x")
    assert len(find([tree], leave_out=tree / "out")) == 4
    assert len(find(["in/**/*.[Pjp]*"], leave_out=tree / "out")) == 2
    assert len(find(["in/**/*.[Pjp]*"], leave_out=tree.parent)) == 3
    assert len(find([tree], leave_out=tree.parent)) == 5  # pictures below the folder of results are wanted
    with pytest.raises(UsageError, match="give another --output"):
        find([tree], leave_out=tree)


def test_links_in_a_circle_end(tree):
    (tree / "sub" / "up").symlink_to(tree)
    assert len(find([tree])) == 4


@pytest.mark.parametrize(("source", "path"), [("0", "0"), ("/dev/video2", "/dev/video2")])
def test_cameras(source, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (item,) = find([source])
    assert (item.kind, item.path) == ("camera", path)
    assert item.name == f"camera{source[-1]}"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("in/missing.jpg", "does not exist"),
        ("in/*.webp", "matches no file"),
        ("https://example.org/a.jpg", "not on this machine"),
        ("file://elsewhere/a.jpg", "not on this machine"),
        ("in/list.txt", "write @in/list.txt"),
        ("@in/nested.txt", "cannot name another list"),
        ("@in/zero.txt", "zero bytes"),
        ("@in/binary.txt", "no UTF-8 text"),
        ("@in/none.txt", "cannot be read"),
        ("in/pipe.jpg", "no ordinary file"),
        ("in/empty", "No images or videos"),
    ],
)
def test_what_is_no_source_is_told(tree, source, says):
    (tree / "list.txt").write_text("a.jpg\n")
    (tree / "nested.txt").write_text("@in/list.txt\n")
    (tree / "zero.txt").write_bytes(b"in/a\0.jpg\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tree / "empty").mkdir()
    os.mkfifo(tree / "pipe.jpg")
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        find([source])


def test_pipe_in_a_folder_is_passed_over(tree):
    os.mkfifo(tree / "pipe.jpg")
    assert "pipe.jpg" not in names(find([tree]))


def test_equal_names_are_refused_unless_the_files_differ(tree):
    (tree / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="would both be written as a"):
        find([tree])
    (tree / "a.png").unlink()
    (tree / "a.mp4").write_bytes(b"x")  # a_overlay.jpg and a_overlay.mp4
    assert len(find([tree])) == 5


def test_only_pictures(tree):
    assert [path.name for path in find_images([tree])] == ["a.jpg", "b.PNG", "with space.gif"]
    with pytest.raises(UsageError, match="No images"):
        find_images([tree / "sub" / "deep"])
