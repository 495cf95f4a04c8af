"""Tests of unpacking: the good archive lands whole, each bad one is refused by name and leaves nothing behind."""

import stat
import struct
import zipfile

import pytest

from tfds_builders.archives import UnsafeArchiveError, safe_extract

_LIMITS = {"max_members": 10, "max_bytes": 1 << 20, "max_ratio": 100}


def _write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def _refused(tmp_path, archive, match, **limits):
    with pytest.raises(UnsafeArchiveError, match=match):
        safe_extract(archive, tmp_path / "out" / "tree", **{**_LIMITS, **limits})
    assert not list((tmp_path / "out").iterdir())


def test_unpacks_files_and_folders(tmp_path):
    members = [("top/", ""), ("top/a.txt", "one"), ("b/c.txt", "two"), ("d..e", "three")]
    archive = _write_zip(tmp_path / "a.zip", members)
    out = safe_extract(archive, tmp_path / "deep" / "tree", **_LIMITS)
    assert out == tmp_path / "deep" / "tree"
    assert {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()} == {
        "top/a.txt": "one",
        "b/c.txt": "two",
        "d..e": "three",
    }
    assert [p.name for p in out.parent.iterdir()] == ["tree"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//x", "./x", "..\\x", "C:/x"])
def test_refuses_a_name_that_leaves_the_folder(tmp_path, name):
    archive = _write_zip(tmp_path / "a.zip", [("fine.txt", ""), (name, "bad")])
    with pytest.raises(UnsafeArchiveError) as error:
        safe_extract(archive, tmp_path / "out" / "tree", **_LIMITS)
    assert repr(name) in str(error.value)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("mode", "kind"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file")])
def test_refuses_links_and_special_files(tmp_path, mode, kind):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [(info, "/etc/passwd")]), f"'link': a {kind}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a/x.txt", "A/x.txt"])
def test_refuses_duplicates(tmp_path, second):
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [("a/x.txt", "1"), (second, "2")]), f"'{second}' twice")


def test_refuses_a_file_that_is_also_a_folder(tmp_path):
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [("a", "1"), ("a/b", "2")]), "'a' both")


def test_refuses_too_many_members(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [(str(i), "") for i in range(11)])
    _refused(tmp_path, archive, "11 members; the limit is 10")


def test_refuses_too_many_bytes(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", b"x" * 600), ("b", b"x" * 600)], zipfile.ZIP_STORED)
    _refused(tmp_path, archive, "more than 1000 bytes.*stopped in 'b'", max_bytes=1000)
    assert safe_extract(archive, tmp_path / "out" / "tree", **{**_LIMITS, "max_bytes": 1200}).is_dir()


def test_refuses_a_bomb(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", bytes(900_000))])
    _refused(tmp_path, archive, "100 for each byte")


def test_a_false_size_in_the_header_is_noticed(tmp_path):
    """The header says 10 bytes, 5000 are there: what comes out does not match its checksum."""
    archive = _write_zip(tmp_path / "a.zip", [("a", b"x" * 5000)], zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 5000), struct.pack("<L", 10)))
    _refused(tmp_path, archive, "a.zip cannot be read")


def test_refuses_damaged_and_cut_archives(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", b"hello world")], zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(b"hello world", b"hellO world", 1))
    _refused(tmp_path, archive, "CRC")
    archive.write_bytes(whole[: len(whole) // 2])
    _refused(tmp_path, archive, "a.zip cannot be read as a zip")


def test_never_writes_into_an_existing_folder(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", "1")])
    (tmp_path / "tree").mkdir()
    with pytest.raises(FileExistsError, match="exists"):
        safe_extract(archive, tmp_path / "tree", **_LIMITS)
