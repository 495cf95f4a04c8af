"""Tests of unpacking: the good archive lands whole, each bad one is refused by name and leaves nothing behind."""

import io
import stat
import struct
import tarfile
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
    _refused(tmp_path, archive, "more than 10 members, the limit")


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


def _write_tar(path, members, mode="w"):
    """`members` are (name, content) or a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            info, content = (
                (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _tar_info(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_unpacks_tar_whatever_its_name_says(tmp_path, mode):
    folder = _tar_info("./top", type=tarfile.DIRTYPE, mode=0o755)
    members = [_tar_info(".", type=tarfile.DIRTYPE), folder, ("./top/a.txt", b"one"), ("b" * 150 + "/c", b"two")]
    out = safe_extract(_write_tar(tmp_path / "a.zip", members, mode), tmp_path / "tree", **_LIMITS)
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert files == {"top/a.txt": b"one", "b" * 150 + "/c": b"two"}


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (("/etc/x", b""), "'/etc/x': an absolute name"),
        (("a/../../x", b""), r"'a/\.\./\.\./x'"),
        (_tar_info("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "'link': a symbolic link"),
        (_tar_info("link", type=tarfile.LNKTYPE, linkname="fine"), "'link': a hard link"),
        (_tar_info("pipe", type=tarfile.FIFOTYPE), "'pipe': a special file"),
        (("fine", b"again"), "'fine' twice"),
        (("fine/below", b""), "'fine' both"),
    ],
)
def test_refuses_bad_members_of_a_tar(tmp_path, member, match):
    _refused(tmp_path, _write_tar(tmp_path / "a.tar.gz", [("fine", b""), member], "w:gz"), match)


def test_a_tar_may_not_grow_beyond_the_limits(tmp_path):
    bomb = _write_tar(tmp_path / "a.tar.gz", [("a", bytes(900_000))], "w:gz")
    _refused(tmp_path, bomb, "100 for each byte.*stopped in 'a'")
    # Headers are no file, and are read all the same.
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        for _ in range(9):
            archive.fileobj.write(_tar_info("x", type=tarfile.GNUTYPE_LONGNAME, size=1 << 20).tobuf() + bytes(1 << 20))
    _refused(tmp_path, tmp_path / "b.tar.gz", "more than 10000 bytes, the limit", max_bytes=10_000, max_ratio=1e9)


def test_a_header_may_not_claim_the_memory(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.fileobj.write(_tar_info("x", type=tarfile.XHDTYPE, size=1 << 30).tobuf() + bytes(2048))
    _refused(tmp_path, tmp_path / "a.tar", "claims 1073741824 bytes", max_bytes=1 << 40, max_ratio=1e9)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_refuses_a_cut_tar(tmp_path, mode):
    archive = _write_tar(tmp_path / "a.tar", [("a", b"x" * 50_000), ("b", bytes(range(256)) * 300)], mode)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    _refused(tmp_path, archive, "a.tar cannot be read as a zip or tar.*get it again", max_ratio=1e4)


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>quota", "\n <HTML><head>"])
def test_a_web_page_is_recognised(tmp_path, page):
    (tmp_path / "a.zip").write_text(page)
    _refused(tmp_path, tmp_path / "a.zip", "a.zip is a web page, not an archive. Google Drive answers so")


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"x" * 5000):
        (tmp_path / "a.zip").write_bytes(content)
        _refused(tmp_path, tmp_path / "a.zip", "a.zip cannot be read as a zip or tar")
