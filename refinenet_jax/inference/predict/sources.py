"""What a user names, as files: pictures, videos, folders, patterns, lists, file URLs; and a camera."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from refinenet_jax.data.folders.listing import all_files
from refinenet_jax.errors import UsageError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm")

_LIST_LIMIT = 1 << 28  # bytes of a list of paths


@dataclass(frozen=True)
class Item:
    """One picture, video or camera.

    Attributes:
      path: of the file; of a camera its number or device.
      relative: the path that names it, relative to the folder, pattern or list it came from; never leads out of it.
      kind: image, video or camera.
    """

    path: str
    relative: str
    kind: str

    @property
    def name(self) -> str:
        """`relative` without its ending: results are called after it."""
        return self.relative if self.kind == "camera" else str(Path(self.relative).with_suffix(""))


def find(sources: Sequence[str | os.PathLike], leave_out: str | os.PathLike | None = None) -> list[Item]:
    """What there is to predict, each file once.

    Args:
      sources: of these kinds:
        a file: a video by its ending (VIDEO_SUFFIXES), else a picture.
        a folder: all pictures and videos in it and below, by their endings; hidden files are left out.
        a pattern such as 'photos/**/*.jpg': named relative to what stands before the first * ? or [.
        '@list.txt': the sources in a text file, one in a line, relative to the working directory; not further lists. Files
          are named relative to the folder that they have in common.
        'file:///path': a file or folder.
        '0', '1', ... or '/dev/video0': a camera.
      leave_out: folder of results: what lies there is nothing to predict.

    Raises:
      UsageError: a source that does not exist or cannot be read, two that would have the same name, or nothing is found.
    """
    results = Path(leave_out).resolve() if leave_out is not None else None
    found: dict[str, Item] = {}
    for source in sources:
        for item in _items(os.fspath(source), results):
            found.setdefault(os.path.abspath(item.path) if item.kind != "camera" else item.path, item)
    if not found:
        raise UsageError(
            f"No images or videos in {', '.join(map(str, sources))}; looked for "
            f"{' '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)}."
        )
    _refuse_equal_names(found.values())
    return list(found.values())


def find_images(sources: Sequence[str | os.PathLike]) -> list[Path]:
    """The pictures among what `find` finds.

    Raises:
      UsageError: as `find`, or there are videos alone.
    """
    found = [Path(item.path) for item in find(sources) if item.kind == "image"]
    if not found:
        raise UsageError(f"No images in {', '.join(map(str, sources))}; looked for {' '.join(IMAGE_SUFFIXES)}.")
    return found


def _items(source: str, results: Path | None) -> Iterator[Item]:
    if source.startswith("@") and not os.path.exists(source):
        yield from _below_common_folder(
            item for line in _lines(Path(source[1:])) for item in _items_of_path(_local(line), results)
        )
    else:
        yield from _items_of_path(_local(source), results)


def _items_of_path(source: str, results: Path | None) -> Iterator[Item]:
    """Of anything but a list."""
    path = Path(source)
    try:
        if _is_camera(source):
            yield Item(source, f"camera{''.join(filter(str.isdigit, source))}", "camera")
        elif path.is_dir():
            yield from _in_folder(path, results)
        elif path.is_file():
            yield _file(path, path.name)
        elif path.exists():
            raise UsageError(f"{source} is no ordinary file.")
        elif glob.has_magic(source):
            yield from _matching(source, results)
        elif source.startswith("@"):
            raise UsageError(f"{source}: a list cannot name another list; put its lines in.")
        else:
            raise UsageError(f"{source} does not exist.")
    except OSError as error:
        raise UsageError(f"{error.filename or source} cannot be read ({error.strerror}).") from error


def _in_folder(folder: Path, results: Path | None) -> Iterator[Item]:
    below = _results_below(folder, results)
    for name in all_files(folder):
        wanted = Path(name).suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and (folder / name).is_file()
        if wanted and not (below and name.startswith(below)):
            yield _file(folder / name, name)


def _matching(pattern: str, results: Path | None) -> Iterator[Item]:
    parts = Path(pattern).parts
    folder = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    paths = [path for path in map(Path, sorted(glob.iglob(pattern, recursive=True))) if path.is_file()]
    if not paths:
        raise UsageError(f"{pattern} matches no file.")
    below = _results_below(folder, results)
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if not (below and name.startswith(below)):
            yield _file(path, name)


def _results_below(folder: Path, results: Path | None) -> str | None:
    """How names of results begin that lie below a folder of pictures; None where they lie elsewhere."""
    here = folder.resolve()
    if results == here:
        raise UsageError(
            f"{folder} would hold pictures and results, which would be predicted next time; give another --output."
        )
    return f"{results.relative_to(here).as_posix()}/" if results and results.is_relative_to(here) else None


def _file(path: Path, relative: str) -> Item:
    if path.suffix.lower() == ".txt":
        raise UsageError(f"{path} is no picture. If it is a list of paths, write @{path}.")
    return Item(str(path), relative, "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image")


def _below_common_folder(items: Iterable[Item]) -> Iterator[Item]:
    items = list(items)
    folders = [os.path.dirname(os.path.abspath(item.path)) for item in items if item.kind != "camera"]
    common = os.path.commonpath(folders) if folders else ""
    for item in items:
        relative = item.relative if item.kind == "camera" else os.path.relpath(os.path.abspath(item.path), common)
        yield Item(item.path, relative, item.kind)


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _LIST_LIMIT:
            raise UsageError(f"{path} is too long for a list of paths ({path.stat().st_size:,} bytes).")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"The list {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no list of paths: it is no UTF-8 text.") from error
    named = [line.strip() for line in lines if line.strip()]
    if any("\0" in line for line in named):
        raise UsageError(f"{path} is no list of paths: it holds zero bytes.")
    return named


def _local(source: str) -> str:
    """The path of a file URL; anything else as it is.

    Raises:
      UsageError: the URL is of another machine.
    """
    if "://" not in source or os.path.exists(source):
        return source
    url = urlsplit(source)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise UsageError(f"{source} is not on this machine; download it first. Only file:///path is read.")
    return unquote(url.path)


def _is_camera(source: str) -> bool:
    return (source.isdecimal() and not os.path.exists(source)) or source.startswith("/dev/video")


def _refuse_equal_names(items: Iterable[Item]) -> None:
    owner: dict[tuple[bool, str], str] = {}
    for item in items:
        other = owner.setdefault((item.kind == "image", item.name), item.path)
        if other != item.path:
            raise UsageError(
                f"{other} and {item.path} would both be written as {item.name}; predict them apart, or give the folder "
                "that holds both."
            )
