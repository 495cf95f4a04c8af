"""Tests of unpacking: a good archive is unpacked completely, a bad one is refused with its name and leaves nothing."""

import io
import re
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


def _write_tar(path, members, mode="w:gz"):
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


def _refused(tmp_path, archive, match, **limits):
    with pytest.raises(UnsafeArchiveError, match=rf"{archive.name}.*{match}"):
        safe_extract(archive, tmp_path / "out" / "tree", **{**_LIMITS, **limits})
    assert not list((tmp_path / "out").iterdir())


def _files(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_unpacks_a_zip(tmp_path):
    members = [("top/", ""), ("top/a.txt", "one"), ("b/c.txt", "two"), ("d..e", "three")]
    out = safe_extract(_write_zip(tmp_path / "a.zip", members), tmp_path / "deep" / "tree", **_LIMITS)
    assert _files(out) == {"top/a.txt": b"one", "b/c.txt": b"two", "d..e": b"three"}
    assert [p.name for p in out.parent.iterdir()] == ["tree"]
    with pytest.raises(FileExistsError):
        safe_extract(tmp_path / "a.zip", out, **_LIMITS)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_unpacks_a_tar_whatever_its_name(tmp_path, mode):
    folder = _tar_info("./top", type=tarfile.DIRTYPE, mode=0o755)
    members = [_tar_info(".", type=tarfile.DIRTYPE), folder, ("./top/a.txt", b"one"), ("b" * 150 + "/c", b"two")]
    out = safe_extract(_write_tar(tmp_path / "a.zip", members, mode), tmp_path / "tree", **_LIMITS)
    assert _files(out) == {"top/a.txt": b"one", "b" * 150 + "/c": b"two"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//x", "./x", "..\\x", "C:/x", "fine", "fine/below"])
def test_refuses_names_that_leave_the_folder_or_occur_twice(tmp_path, name):
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [("fine", ""), (name, "bad")]), re.escape(repr(name)))
    if name != "./x":
        _refused(tmp_path, _write_tar(tmp_path / "a.tar", [("fine", b""), (name, b"bad")]), re.escape(repr(name)))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO])
def test_refuses_links_and_special_files_of_a_zip(tmp_path, mode):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [(info, "/etc/passwd")]), "'link'")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_refuses_links_and_special_files_of_a_tar(tmp_path, kind):
    link = _tar_info("link", type=kind, linkname="fine")
    _refused(tmp_path, _write_tar(tmp_path / "a.tar", [("fine", b""), link]), "'link'")


def test_refuses_too_many_members_and_bytes(tmp_path):
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [(str(i), "") for i in range(11)]), "more than 10 members")
    archive = _write_zip(tmp_path / "a.zip", [("a", b"x" * 600), ("b", b"x" * 600)], zipfile.ZIP_STORED)
    _refused(tmp_path, archive, "more than 1000 bytes", max_bytes=1000)
    assert safe_extract(archive, tmp_path / "out" / "tree", **{**_LIMITS, "max_bytes": 1200}).is_dir()


def test_refuses_a_bomb(tmp_path):
    _refused(tmp_path, _write_zip(tmp_path / "a.zip", [("a", bytes(900_000))]), "more than .* bytes")
    _refused(tmp_path, _write_tar(tmp_path / "a.tar", [("a", bytes(900_000))]), "more than .* bytes")
    # Headers are no file, and are read all the same.
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        for _ in range(9):
            archive.fileobj.write(_tar_info("x", type=tarfile.GNUTYPE_LONGNAME, size=1 << 20).tobuf() + bytes(1 << 20))
    _refused(tmp_path, tmp_path / "b.tar.gz", "more than .* bytes", max_bytes=10_000, max_ratio=1e9)


def test_refuses_false_sizes(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", b"x" * 5000)], zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 5000), struct.pack("<L", 10)))
    _refused(tmp_path, archive, "cannot be read")
    for size in (1 << 30, 1 << 62):
        with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            header = _tar_info("x", type=tarfile.XHDTYPE, size=size).tobuf(tarfile.GNU_FORMAT)
            tar.fileobj.write(header + bytes(2048))
        _refused(tmp_path, tmp_path / "a.tar", "cannot be read", max_bytes=1 << 40, max_ratio=1e9)


def test_refuses_damaged_and_cut_archives(tmp_path):
    archive = _write_zip(tmp_path / "a.zip", [("a", b"hello world")], zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    for content in (whole.replace(b"hello world", b"hellO world", 1), whole[: len(whole) // 2], b"", b"x" * 5000):
        archive.write_bytes(content)
        _refused(tmp_path, archive, "cannot be read")
    for mode in ("w", "w:gz"):
        archive = _write_tar(tmp_path / "a.tar", [("a", b"x" * 50_000), ("b", bytes(range(256)) * 300)], mode)
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
        _refused(tmp_path, archive, "cannot be read", max_ratio=1e4)
