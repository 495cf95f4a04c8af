"""Resolves command-line sources to items: pictures, videos, folders, patterns, lists, addresses, cameras and streams."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from refinenet_jax.data.folders.listing import all_files
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading
from refinenet_jax.inference.predict.items import Item, with_distinct_names
from refinenet_jax.inference.video.reader import is_video
from refinenet_jax.progress import say

SETTINGS = "predict.json"  # marks a folder of results

# Endings of files in folders; those of files that are given directly may be others.
_PICTURES = "avif bmp gif heic heif hif jfif jpe jpeg jpg mpo png tif tiff webp"
_VIDEOS = "3g2 3gp asf avi dv f4v flv h264 h265 hevc m2ts m2v m4v mkv mod mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_EARLIER = "of earlier results"


def find(sources: Sequence[str | os.PathLike], leave_out: str | os.PathLike | None = None) -> list[Item]:
    """Returns the items to predict, each file once, and reports how many files with which endings were skipped.

    Args:
      sources: sources of these kinds:
        a file: a picture or video, according to its content if the ending is unknown.
        a folder: all pictures and videos in it and its subfolders, by their endings, except hidden files.
        a pattern such as 'photos/**/*.jpg': files are named relative to the part before the first * ? or [.
        '@list.txt': the sources in a text file, one per line, relative to the working directory; not further lists. Files are
          named relative to their common folder.
        'https://host/a.jpg': a picture to download.
        '0', '1', ..., '/dev/video0', 'rtsp://host/stream': a camera.
      leave_out: folder of results, which is excluded, as are results of earlier runs in subfolders.

    Raises:
      UsageError: a source does not exist or cannot be read, two have the same name, or nothing is found.
    """
    search = _Search(Path(leave_out).resolve() if leave_out is not None else None)
    items: dict[str, Item] = {}
    for source in sources:
        for item in search.items(os.fspath(source)):
            key = item.path if item.kind == "camera" or reading.is_address(item.path) else os.path.abspath(item.path)
            items.setdefault(key, item)
    skipped = [f"{place}: skipped {_count(endings)}" for place, endings in search.skipped.items()]
    if not items:
        lists = [place for place in search.skipped if place.endswith(".txt")]
        advice = f" If it is a list of paths, write @{lists[0]}" if lists else " Convert other files to .png or .mp4"
        raise UsageError(
            ". ".join([f"No pictures or videos in {', '.join(map(str, sources))}", *skipped]) + f".{advice}."
        )
    for line in skipped:
        say(line)
    return with_distinct_names(list(items.values()))


class _Search:
    """Resolves sources one after the other.

    Attributes:
      skipped: for each source, the number of files with each ending that were neither pictures nor videos.
    """

    def __init__(self, results: Path | None):
        self._results = results
        self.skipped: dict[str, Counter[str]] = {}

    def items(self, source: str) -> Iterator[Item]:
        if source.startswith("@") and not os.path.exists(source):
            lines = _lines(Path(source[1:]).expanduser())
            yield from _below_common_folder([item for line in lines for item in self._items_of_path(line)])
        else:
            yield from self._items_of_path(source)

    def _items_of_path(self, source: str) -> Iterator[Item]:
        """Resolves a source other than a list."""
        if not os.path.exists(source):  # lists from elsewhere have quotes, and backslashes between folders
            source = os.path.expanduser(source.strip("\"'"))
            slashes = source.replace("\\", "/")
            source = slashes if os.path.exists(slashes) else source
        path = Path(source)
        try:
            if "://" in source and not os.path.exists(source):
                yield _remote(source)
            elif (source.isdecimal() and not os.path.exists(source)) or source.startswith("/dev/video"):
                yield Item(source, f"camera{''.join(filter(str.isdigit, source))}", "camera")
            elif path.is_dir():
                yield from self._in_folder(path)
            elif path.is_file():
                yield from self._file(source, path, path.name)
            elif path.exists():
                raise UsageError(f"{source} is not a regular file. Give a file or folder.")
            elif glob.has_magic(source):
                yield from self._matching(source)
            elif source.startswith("@"):
                raise UsageError(f"{source}: a list cannot name another list. Insert its lines.")
            else:
                raise UsageError(f"{source} does not exist. Check the path.")
        except OSError as error:
            raise UsageError(
                f"{error.filename or source} cannot be read ({error.strerror}). Check its permissions."
            ) from error

    def _in_folder(self, folder: Path) -> Iterator[Item]:
        for name in self._without_results(str(folder), folder, all_files(folder)):
            path = folder / name
            kind = _kind_by_ending(path)
            if kind and path.is_file():
                yield Item(str(path), name, kind)
            else:
                self._skip(str(folder), _ending(path))

    def _matching(self, pattern: str) -> Iterator[Item]:
        parts = Path(pattern).parts
        folder = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        paths = [path for path in map(Path, sorted(glob.iglob(pattern, recursive=True))) if path.is_file()]
        if not paths:
            raise UsageError(f"{pattern} matches no file. Check the pattern.")
        names = [path.relative_to(folder).as_posix() for path in paths]
        for name in self._without_results(pattern, folder, names):
            yield from self._file(pattern, folder / name, name)

    def _file(self, source: str, path: Path, relative: str) -> Iterator[Item]:
        """Resolves a file that was given directly: its content decides if the ending is unknown."""
        kind = _kind_by_ending(path)
        kind = kind or ("image" if reading.is_picture(path) else "video" if is_video(path) else None)
        if kind:
            yield Item(str(path), relative, kind)
        else:
            self._skip(source, _ending(path))

    def _without_results(self, source: str, folder: Path, names: Iterable[str]) -> Iterator[str]:
        """Yields the names of files in a folder, except those of results."""
        here = folder.resolve()
        if self._results == here:
            raise UsageError(
                f"{folder} contains the pictures, and results there would be predicted next time. Give another --output."
            )

        @cache
        def is_of_results(inner: Path) -> bool:
            if inner == Path():
                return False
            path = here / inner
            return path == self._results or (path / SETTINGS).is_file() or is_of_results(inner.parent)

        for name in names:
            if is_of_results(Path(name).parent):
                self._skip(source, _EARLIER)
            else:
                yield name

    def _skip(self, source: str, what: str) -> None:
        self.skipped.setdefault(source, Counter())[what] += 1


def _kind_by_ending(path: Path) -> str | None:
    ending = path.suffix.lower().removeprefix(".")
    return "image" if ending in _PICTURES.split() else "video" if ending in _VIDEOS.split() else None


def _ending(path: Path) -> str:
    if not path.is_file():
        return "broken links" if path.is_symlink() else "not regular files"
    return path.suffix.lower() or "without an ending"


def _count(endings: Counter[str]) -> str:
    total = sum(endings.values())
    return f"{total:,} file{'s' * (total > 1)}: {', '.join(f'{n:,} {what}' for what, n in endings.most_common())}"


def _below_common_folder(items: Sequence[Item]) -> Iterator[Item]:
    local = [item for item in items if item.kind != "camera" and not reading.is_address(item.path)]
    common = os.path.commonpath([os.path.dirname(os.path.abspath(item.path)) for item in local]) if local else ""
    for item in items:
        relative = os.path.relpath(os.path.abspath(item.path), common) if item in local else item.relative
        yield Item(item.path, relative, item.kind)


def _lines(path: Path) -> list[str]:
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise UsageError(f"The list {path} cannot be read ({error.strerror}). Check the path.") from error
    utf16 = encoded.startswith((b"\xff\xfe", b"\xfe\xff"))  # as written by PowerShell's >
    # File names need not be UTF-8.
    text = encoded.decode("utf-16", "replace") if utf16 else os.fsdecode(encoded.removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text or (utf16 and "\ufffd" in text):
        raise UsageError(f"{path} is not UTF-8 or UTF-16 text. Give a list of paths.")
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def _remote(source: str) -> Item:
    """Returns the item of a picture to download, or of a stream.

    Raises:
      UsageError: the address is of another kind.
    """
    url = urlsplit(source)
    last = Path(unquote(url.path)).name
    if url.scheme in ("rtsp", "rtsps"):
        return Item(source, f"camera_{_safe(f'{url.hostname}_{last}')}", "camera")
    if not reading.is_address(source):
        raise UsageError(f"{source} cannot be read. Give a path, or an address with http://, https:// or rtsp://.")
    if _kind_by_ending(Path(last)) == "video":
        raise UsageError(f"{source} is a video, and only pictures are downloaded. Download the video first.")
    return Item(source, _safe(last or url.hostname or ""), "image")


def _safe(name: str) -> str:
    """Returns a name that is neither a hidden file nor a path with folders."""
    return re.sub(r"[^\w.-]", "_", name).strip("._") or "picture"
