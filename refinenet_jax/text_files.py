"""Text files that are replaced completely or not at all."""

from pathlib import Path

from etils import epath


def replace(path: Path | epath.Path, text: str) -> Path | epath.Path:
    """Writes a text file as UTF-8, with ? for what UTF-8 cannot encode (unpaired surrogates of JSON); returns its path.

    A killed process leaves the earlier file, if there was one.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(text.encode("utf-8", "replace"))
    partial.replace(path)
    return path
