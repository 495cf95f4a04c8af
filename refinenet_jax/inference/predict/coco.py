"""Writes regions as COCO JSON, for `pycocotools.COCO` and other tools.

During prediction each picture adds one line of JSON to a journal in a hidden folder, which survives if the run is killed.
`assemble` creates the file from the journals of all processes. Memory does not grow with the number of pictures.
"""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from pycocotools import mask as coco_mask

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.outputs import cannot_write, prepare_folder, write_whole
from refinenet_jax.inference.segmentation import Segmentation

FORMS = ("polygons", "rle")  # kinds of `--save`; each is written to FORM.json
_JOURNALS = ".journals"


def annotations(result: Segmentation, form: str, min_area: int = 1) -> list[dict]:
    """Returns one annotation per region, without `id` and `image_id`.

    Args:
      result: result of one picture.
      form: polygons or rle (compressed). With polygons, regions with holes are also RLEs, because COCO's polygons have no
        holes.
      min_area: minimum area of a region in pixels; smaller ones are omitted.

    Returns:
      Annotations with `category_id` (class id), `segmentation`, `bbox` (left, top, width, height), `area` in pixels, `score`
      (mean probability) and `iscrowd` (0).
    """
    regions = []
    for region, polygon, place in zip(result.regions(), result.polygons(), result._regions(), strict=True):
        if region.area < min_area:
            continue
        if form == "polygons" and not polygon.holes:
            segmentation = [polygon.outer.ravel().tolist()]
        else:
            segmentation = _run_lengths(result.mask.shape, region.box, place[2])
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


class Journals:
    """The journals of one process, one for each form; a context manager."""

    def __init__(self, root: Path, forms: Sequence[str], process: str, min_area: int = 1):
        """Opens the journals.

        Args:
          root: folder for the results.
          forms: names from FORMS; none writes nothing.
          process: unique name of the process among all that write.
          min_area: see `annotations`.
        """
        self._min_area = min_area
        self._lock = threading.Lock()
        self._files: dict[str, IO[str]] = {}
        for form in forms:
            path = root / _JOURNALS / f"{form}.{process}.jsonl"
            prepare_folder(path.parent, root)
            _end_torn_line(path)
            self._files[form] = path.open("a", encoding="utf-8")

    def __enter__(self) -> "Journals":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # reported when writing
                file.close()

    def add(self, result: Segmentation, file_name: str) -> None:
        """Adds a picture; its lines are on disk when this returns. Threads may share the journals.

        Raises:
          UsageError: the disk is full.
        """
        height, width = result.mask.shape
        for form, file in self._files.items():
            regions = annotations(result, form, self._min_area)
            line = {"file_name": file_name, "height": height, "width": width, "annotations": regions}
            try:
                with self._lock:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
            except OSError as error:
                raise cannot_write(Path(file.name), error) from error


def begin(root: Path, forms: Sequence[str], resume: bool) -> set[str]:
    """Prepares the folder of the journals, before any process opens one.

    Args:
      root: folder for the results.
      forms: requested forms.
      resume: whether to continue journals and files of an earlier run; otherwise they are removed.

    Returns:
      The file names of pictures that are already in all forms.
    """
    folder = root / _JOURNALS
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        return set()
    done = []
    for form in forms:
        final = root / f"{form}.json"
        if final.exists() and not list(folder.glob(f"{form}.*.jsonl")):
            _take_apart(final, root, form)
        done.append({line["file_name"] for line in _lines(folder, form)})
    return set.intersection(*done) if done else set()


def assemble(root: Path, forms: Sequence[str], class_names: Sequence[str]) -> list[Path]:
    """Writes ROOT/FORM.json from all journals, with pictures sorted by name, and removes the journals.

    Returns:
      The paths of the files.

    Raises:
      UsageError: a file cannot be written.
    """
    made = []
    for form in forms:
        path = root / f"{form}.json"
        write_whole(path, root, lambda partial, form=form: _write(partial, root / _JOURNALS, form, class_names))
        made.append(path)
    if forms:
        shutil.rmtree(root / _JOURNALS, ignore_errors=True)
    return made


def _write(path: Path, folder: Path, form: str, class_names: Sequence[str]) -> None:
    last = {line["file_name"]: place for place, line in _placed_lines(folder, form)}  # later lines replace earlier ones
    order = [last[name] for name in sorted(last)]
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names) if i]
    with path.open("x", encoding="utf-8") as file:
        file.write('{"info": {"description": "Found by refinenet_jax"},\n"categories": ' + json.dumps(categories))
        file.write(',\n"images": [')
        for image_id, line in enumerate(_at(order), 1):
            image = {"id": image_id} | {key: line[key] for key in ("file_name", "height", "width")}
            file.write(f"{',' if image_id > 1 else ''}\n{json.dumps(image)}")
        file.write('],\n"annotations": [')
        count = 0
        for image_id, line in enumerate(_at(order), 1):
            for annotation in line["annotations"]:
                count += 1
                file.write(
                    f"{',' if count > 1 else ''}\n{json.dumps({'id': count, 'image_id': image_id} | annotation)}"
                )
        file.write("]}\n")


def _placed_lines(folder: Path, form: str) -> Iterator[tuple[tuple[Path, int], dict]]:
    """Yields every complete line with its file and offset; incomplete lines of a killed process are skipped."""
    for path in sorted(folder.glob(f"{form}.*.jsonl")):
        with path.open("rb") as file:
            offset = 0
            for encoded in file:
                with contextlib.suppress(ValueError):
                    yield (path, offset), json.loads(encoded)
                offset += len(encoded)


def _lines(folder: Path, form: str) -> Iterator[dict]:
    return (line for _, line in _placed_lines(folder, form))


def _at(places: Sequence[tuple[Path, int]]) -> Iterator[dict]:
    with contextlib.ExitStack() as stack:
        files = {path: stack.enter_context(path.open("rb")) for path in {path for path, _ in places}}
        for path, offset in places:
            files[path].seek(offset)
            yield json.loads(files[path].readline())


def _take_apart(final: Path, root: Path, form: str) -> None:
    """Converts a finished file to a journal that can be continued."""
    try:
        whole = json.loads(final.read_bytes())
        lines = {image.pop("id"): image | {"annotations": []} for image in whole["images"]}
        for annotation in whole["annotations"]:
            del annotation["id"]
            lines[annotation.pop("image_id")]["annotations"].append(annotation)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{final} is damaged ({error!r}). Give --overwrite to replace it.") from error
    path = root / _JOURNALS / f"{form}.-earlier.jsonl"  # sorts first: later lines count
    text = "".join(json.dumps(line) + "\n" for line in lines.values())
    write_whole(path, root, lambda partial: partial.write_text(text, encoding="utf-8"))


def _end_torn_line(path: Path) -> None:
    """Ends an incomplete last line, so that the next entry starts on a new line."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _run_lengths(size: tuple[int, int], box: tuple[int, int, int, int], inside: np.ndarray) -> dict:
    left, top, width, height = box
    whole = np.zeros(size, np.uint8, order="F")
    whole[top : top + height, left : left + width] = inside
    encoded = coco_mask.encode(whole)
    return {"size": list(size), "counts": encoded["counts"].decode("ascii")}
