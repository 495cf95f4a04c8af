"""Resolves command-line sources to items: pictures, videos, folders, patterns, lists, addresses, cameras and streams."""

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from refinenet_jax.data.folders.listing import all_files
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading
from refinenet_jax.inference.predict.items import Item, with_distinct_names
from refinenet_jax.inference.video.reader import is_video
from refinenet_jax.progress import say

SETTINGS = "predict.json"  # marks a folder of results

_PICTURES = "apng avif bmp dib gif heic heif hif jfif jpe jpeg jpg mpo pjp pjpeg png tif tiff webp"
_VIDEOS = (
    "264 265 3g2 3gp 3gpp asf avc avi divx dv f4v flv h264 h265 hevc insv ismv ivf lrv m1v m2t m2ts m2v m4v mj2 mjpeg mjpg "
    "mk3d mkv mod mov mp4 mpe mpeg mpg mpv mts mxf nut obu ogm ogv qt rm rmvb tod trp ts vob webm wmv y4m"
)
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _PICTURES.split())
VIDEO_SUFFIXES = frozenset(f".{ending}" for ending in _VIDEOS.split())

_LIST_LIMIT = 1 << 28  # bytes of a list of paths
_EARLIER = "of earlier results"


def find(sources: Sequence[str | os.PathLike], leave_out: str | os.PathLike | None = None) -> list[Item]:
    """Returns the items to predict, each file once, and reports how many files with which endings were skipped.

    Args:
      sources: sources of these kinds:
        a file: a picture or video, according to its content if the ending is not decisive.
        a folder: all pictures and videos in it and its subfolders, by their endings, except hidden files.
        a pattern such as 'photos/**/*.jpg': files are named relative to the part before the first * ? or [.
        '@list.txt': the sources in a text file, one per line, relative to the working directory; not further lists. Files are
          named relative to their common folder.
        'file:///path': a file or folder; 'https://host/a.jpg': a picture to download.
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


def find_images(sources: Sequence[str | os.PathLike]) -> list[Path]:
    """Returns the local pictures found by `find`.

    Raises:
      UsageError: see `find`; or there are only videos or addresses.
    """
    items = find(sources)
    found = [Path(item.path) for item in items if item.kind == "image" and not reading.is_address(item.path)]
    if not found:
        raise UsageError(
            f"No pictures in {', '.join(map(str, sources))}, only videos or addresses. Give picture files."
        )
    if len(found) < len(items):
        say(f"{', '.join(map(str, sources))}: skipped {len(items) - len(found)} videos and addresses")
    return found


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
            yield from _below_common_folder([item for line in lines for item in self._items_of_path(_local(line))])
        else:
            yield from self._items_of_path(_local(source))

    def _items_of_path(self, source: str) -> Iterator[Item]:
        """Resolves a source other than a list."""
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
        """Resolves a file that was given directly: its content decides if the ending is not decisive."""
        kind = _kind_by_ending(path)
        if kind != "video":
            try:
                kind = "image" if reading.is_picture(path) else "video" if is_video(path) else kind
            except OSError as error:
                if kind is None:
                    raise UsageError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
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
        of_results = {".": False}
        for name in names:
            parent = os.path.dirname(name) or "."
            for above in [*reversed(Path(parent).parents), Path(parent)]:
                key = above.as_posix()
                if key not in of_results:
                    of_results[key] = (
                        of_results[above.parent.as_posix()]
                        or here / above == self._results
                        or (here / above / SETTINGS).is_file()
                    )
            if of_results[parent]:
                self._skip(source, _EARLIER)
            else:
                yield name

    def _skip(self, source: str, what: str) -> None:
        self.skipped.setdefault(source, Counter())[what] += 1


def _kind_by_ending(path: Path) -> str | None:
    ending = path.suffix.lower()
    return "image" if ending in IMAGE_SUFFIXES else "video" if ending in VIDEO_SUFFIXES else None


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
        if path.stat().st_size > _LIST_LIMIT:
            raise UsageError(f"{path} is too long for a list of paths ({path.stat().st_size:,} bytes). Split it.")
        encoded = path.read_bytes()
    except OSError as error:
        raise UsageError(f"The list {path} cannot be read ({error.strerror}). Check the path.") from error
    try:
        utf16 = encoded.startswith((b"\xff\xfe", b"\xfe\xff"))  # as written by PowerShell's >
        # File names need not be UTF-8.
        text = encoded.decode("utf-16") if utf16 else os.fsdecode(encoded.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 or UTF-16 text. Give a list of paths.") from error
    named = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if any("\0" in line for line in named):
        raise UsageError(f"{path} contains zero bytes. Give a list of paths.")
    return named


def _local(source: str) -> str:
    """Returns the path of a source; if it does not exist, expands `~`, file URLs, quotes, backslashes and Unicode forms."""
    if os.path.exists(source):
        return source
    url = urlsplit(source) if source.startswith("file://") else None
    if url:
        if url.netloc not in ("", "localhost"):
            raise UsageError(f"{source} is on another machine. Copy it to this machine.")
        return url2pathname(url.path)
    plain = os.path.expanduser(source.strip("\"'"))
    slashes = plain.replace("\\", "/")
    forms = plain, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))
    return next(filter(os.path.exists, forms), plain)


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
        raise UsageError(f"{source} cannot be read. Give a path, http://, https://, rtsp:// or file://.")
    if _kind_by_ending(Path(last)) == "video":
        raise UsageError(f"{source} is a video, and only pictures are downloaded. Download the video first.")
    return Item(source, _safe(last or url.hostname or ""), "image")


def _safe(name: str) -> str:
    """Returns a name that is neither a hidden file nor a path with folders."""
    return re.sub(r"[^\w.-]", "_", name).strip("._") or "picture"
