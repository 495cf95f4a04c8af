"""What a user can name, and what each file is called by it."""

import os
from pathlib import Path

import clips
import pytest
from PIL import Image

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find, find_images


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
    with pytest.raises(UsageError, match="another --output"):
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
        ("https://example.org/a.mp4", "a.mp4 is a video"),
        ("ftp://example.org/a.jpg", "ftp://example.org/a.jpg cannot be read"),
        ("file://elsewhere/a.jpg", "on another machine"),
        ("in/list.txt", "write @in/list.txt"),
        ("@in/nested.txt", "cannot name another list"),
        ("@in/zero.txt", "zero.txt contains zero bytes"),
        ("@in/binary.txt", "binary.txt is not UTF-8"),
        ("@in/none.txt", "cannot be read"),
        ("in/pipe.jpg", "pipe.jpg is not a regular file"),
        ("in/empty", "No pictures or videos in in/empty"),
        ("in/sub/notes.md", "1 .md"),
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


def test_equal_stems_keep_their_endings(tree):
    """The pictures a.jpg and a.png; b.png.jpg, whose stem is what b.png then is called; a video is no picture."""
    for name in ("a.png", "a.mp4", "b.png", "b.gif", "b.png.jpg"):
        (tree / name).write_bytes(b"x")
    kept = {"a.jpg", "a.png", "b.png", "b.gif", "b.png.jpg"}
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


def test_what_a_folder_leaves_out_is_counted_by_ending(tree, capsys):
    for name in ("x.txt", "y.txt", "README", "old/a_mask.png", "old/predict.json"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "gone.jpg").symlink_to(tree / "nowhere")
    assert len(find([tree])) == 4
    (line,) = capsys.readouterr().err.splitlines()
    for fact in (
        f"{tree}: ",
        "7 files",
        "2 .txt",
        "1 .md",
        "1 without an ending",
        "1 broken link",
        "2 of earlier results",
    ):
        assert fact in line
    assert len(find([tree / "old"])) == 1  # named by itself


def test_content_decides_for_a_file_named_by_itself(tree):
    Image.new("RGB", (8, 8)).save(tree / "picture.dat", format="PNG")
    clips.write(tree / "clip.mp4", clips.pictures(2)).rename(tree / "clip.jpg")
    assert names(find([tree / "picture.dat"])) == {"picture.dat": "image"}
    assert names(find(["in/*.dat"])) == {"picture.dat": "image"}
    assert names(find([tree / "clip.jpg"])) == {"clip.jpg": "video"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_as_systems_write_them(tree, encoding):
    (tree / "caf\u00e9.jpg").write_bytes(b"x")
    lines = ["in/a.jpg", '"in/with space.gif"', "in\\sub\\b.PNG", "in/cafe\u0301.jpg"]  # quotes, Windows, macOS
    Path("list.txt").write_bytes("\r\n".join(lines).encode(encoding))
    assert set(names(find(["@list.txt"]))) == {"a.jpg", "with space.gif", "sub/b.PNG", "caf\u00e9.jpg"}


def test_names_that_are_not_utf8(tree):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tree / name).write_bytes(b"x")
    Path("list.txt").write_bytes(b"in/caf\xe9.jpg\n")
    assert set(names(find(["@list.txt"]))) == {name}


def test_home_is_expanded_in_every_form_of_source(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    Path("list.txt").write_text("~/a.jpg\n")
    (tree / "list.txt").write_text("~/a.jpg\n")
    for source in ("~/a.jpg", "~/a*.jpg", "@list.txt", "@~/list.txt", "~"):
        assert "a.jpg" in names(find([source]))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://example.org/x/photo%201.jpg?size=2", "photo_1"),
        ("http://example.org/..%2f..%2fetc%2fpasswd", "passwd"),
        ("http://example.org/", "example"),
    ],
)
def test_addresses_are_pictures_with_a_harmless_name(source, name):
    (item,) = find([source])
    assert (item.kind, item.path, item.name) == ("image", source, name)


def test_streams_are_cameras_and_do_not_show_their_password():
    (item,) = find(["rtsp://user:secret@10.0.0.5:554/live/main"])
    assert (item.kind, item.name) == ("camera", "camera_10.0.0.5_main")


def test_only_pictures(tree):
    assert [path.name for path in find_images([tree])] == ["a.jpg", "b.PNG", "with space.gif"]
    with pytest.raises(UsageError, match="only videos"):
        find_images([tree / "sub" / "deep"])


def test_every_ending_in_the_docs_is_one_that_is_found():
    text = (Path(__file__).parents[3] / "docs" / "predict.md").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line.startswith("    .")]
    assert {ending for line in lines for ending in line} == IMAGE_SUFFIXES | VIDEO_SUFFIXES
