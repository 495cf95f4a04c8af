"""Writes regions as COCO JSON, for `pycocotools.COCO` and other tools.

During prediction each picture adds one line of JSON to a journal in a hidden folder, which survives if the run is killed.
`assemble` creates the file from the journals of all processes. Without KIND among the kinds of results, all of these do
nothing.
"""

import contextlib
import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from pycocotools import mask as coco_mask

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.outputs import cannot_write, prepare_folder, write_whole
from refinenet_jax.inference.segmentation import Segmentation

KIND = "coco"  # of `--save`; written to coco.json
_JOURNALS = ".journals"


def path(root: Path) -> Path:
    """Returns the file of a folder of results."""
    return root / f"{KIND}.json"


def annotations(result: Segmentation) -> list[dict]:
    """Returns one annotation per region, without `id` and `image_id`.

    Regions are polygons; those with holes, which COCO's polygons do not have, are compressed run lengths (RLE).

    Returns:
      Annotations with `category_id` (class id), `segmentation`, `bbox` (left, top, width, height), `area` in pixels, `score`
      (mean probability) and `iscrowd` (0).
    """
    regions = []
    for region, polygon, place in zip(result.regions(), result.polygons(), result._regions(), strict=True):
        if polygon.holes:
            segmentation = _run_lengths(result.mask.shape, region.box, place[2])
        else:
            segmentation = [polygon.outer.ravel().tolist()]
        regions.append(
            {
                "category_id": region.class_id,
                "segmentation": segmentation,
                "bbox": [float(side) for side in region.box],
                "area": float(region.area),
                "score": round(region.score, 4),
                "iscrowd": 0,
            }
        )
    return regions


class Journal:
    """The journal of one process; a context manager."""

    def __init__(self, root: Path, kinds: Sequence[str], process: str):
        """Opens the journal.

        Args:
          root: folder for the results.
          kinds: kinds of results; without KIND, nothing is written.
          process: unique name of the process among all that write.
        """
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        if KIND in kinds:
            prepare_folder(root / _JOURNALS, root)
            self._file = (root / _JOURNALS / f"{process}.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            with contextlib.suppress(OSError):  # reported when writing
                self._file.close()

    def add(self, result: Segmentation, file_name: str) -> None:
        """Adds a picture; its lines are on disk when this returns. Threads may share the journal.

        Raises:
          UsageError: the disk is full.
        """
        if not self._file:
            return
        height, width = result.mask.shape
        line = {"file_name": file_name, "height": height, "width": width, "annotations": annotations(result)}
        try:
            with self._lock:
                self._file.write(f"\n{json.dumps(line)}\n")  # a killed run may have left half a line
                self._file.flush()
        except OSError as error:
            raise cannot_write(Path(self._file.name), error) from error


def begin(root: Path, kinds: Sequence[str], resume: bool) -> set[str]:
    """Prepares the folder of the journals, before any process opens one.

    Args:
      root: folder for the results.
      kinds: requested kinds of results.
      resume: whether to continue the journals and file of an earlier run; otherwise the journals are removed.

    Returns:
      The file names of pictures that are already done.
    """
    folder = root / _JOURNALS
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    if not resume or KIND not in kinds:
        return set()
    if path(root).exists() and not list(folder.glob("*.jsonl")):
        _to_journal(root)
    return set(_lines(folder))


def assemble(root: Path, kinds: Sequence[str], class_names: Sequence[str]) -> None:
    """Writes ROOT/coco.json from all journals, with pictures sorted by name, and removes the journals.

    Raises:
      UsageError: a file cannot be written.
    """
    if KIND in kinds:
        write_whole(path(root), root, lambda partial: _write(partial, root / _JOURNALS, class_names))
        shutil.rmtree(root / _JOURNALS, ignore_errors=True)


def _write(path: Path, folder: Path, class_names: Sequence[str]) -> None:
    lines = sorted(_lines(folder).items())
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names) if i]
    with path.open("x", encoding="utf-8") as file:
        file.write('{"info": {"description": "Found by refinenet_jax"},\n"categories": ' + json.dumps(categories))
        file.write(',\n"images": [')
        for image_id, (_, encoded) in enumerate(lines, 1):
            line = json.loads(encoded)
            image = {"id": image_id} | {key: line[key] for key in ("file_name", "height", "width")}
            file.write(f"{',' if image_id > 1 else ''}\n{json.dumps(image)}")
        file.write('],\n"annotations": [')
        count = 0
        for image_id, (_, encoded) in enumerate(lines, 1):
            for annotation in json.loads(encoded)["annotations"]:
                count += 1
                annotation = {"id": count, "image_id": image_id} | annotation
                file.write(f"{',' if count > 1 else ''}\n{json.dumps(annotation)}")
        file.write("]}\n")


def _lines(folder: Path) -> dict[str, bytes]:
    """Returns the last complete line of every picture by name, encoded, which needs less memory than its objects."""
    lines = {}
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):  # the incomplete line of a killed process
                    lines[json.loads(line)["file_name"]] = line
    return lines


def _to_journal(root: Path) -> None:
    """Converts a finished file to a journal that can be continued."""
    final = path(root)
    try:
        whole = json.loads(final.read_bytes())
        lines = {image.pop("id"): image | {"annotations": []} for image in whole["images"]}
        for annotation in whole["annotations"]:
            del annotation["id"]
            lines[annotation.pop("image_id")]["annotations"].append(annotation)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{final} is damaged ({error!r}). Give --overwrite to replace it.") from error
    journal = root / _JOURNALS / "-earlier.jsonl"  # sorts first: later lines count
    text = "".join(json.dumps(line) + "\n" for line in lines.values())
    write_whole(journal, root, lambda partial: partial.write_text(text, encoding="utf-8"))


def _run_lengths(size: tuple[int, int], box: tuple[int, int, int, int], inside: np.ndarray) -> dict:
    left, top, width, height = box
    whole = np.zeros(size, np.uint8, order="F")
    whole[top : top + height, left : left + width] = inside
    encoded = coco_mask.encode(whole)
    return {"size": list(size), "counts": encoded["counts"].decode("ascii")}
