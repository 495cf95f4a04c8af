"""Writes regions as COCO JSON, for `pycocotools.COCO` and other tools.

During prediction each picture adds one line of JSON to a journal in a hidden folder, which survives if the run is killed.
`assemble` creates the file from the journals of all processes. In all of these, kinds other than FORMS are ignored.
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

FORMS = ("polygons", "rle")  # kinds of `--save`; each is written to FORM.json
_JOURNALS = ".journals"


def paths(root: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Returns the file of each requested form."""
    return {form: root / f"{form}.json" for form in FORMS if form in kinds}


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

    def __init__(self, root: Path, kinds: Sequence[str], process: str, min_area: int = 1):
        """Opens the journals.

        Args:
          root: folder for the results.
          kinds: kinds of results; without any of FORMS, nothing is written.
          process: unique name of the process among all that write.
          min_area: see `annotations`.
        """
        self._min_area = min_area
        self._lock = threading.Lock()
        self._files: dict[str, IO[str]] = {}
        for form in paths(root, kinds):
            path = root / _JOURNALS / f"{form}.{process}.jsonl"
            prepare_folder(path.parent, root)
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
                    file.write(f"\n{json.dumps(line)}\n")  # a killed run may have left half a line
                    file.flush()
            except OSError as error:
                raise cannot_write(Path(file.name), error) from error


def begin(root: Path, kinds: Sequence[str], resume: bool) -> set[str]:
    """Prepares the folder of the journals, before any process opens one.

    Args:
      root: folder for the results.
      kinds: requested kinds of results.
      resume: whether to continue journals and files of an earlier run; otherwise they are removed.

    Returns:
      The file names of pictures that are already in all forms.
    """
    folder = root / _JOURNALS
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        return set()
    done = []
    for form, path in paths(root, kinds).items():
        if path.exists() and not list(folder.glob(f"{form}.*.jsonl")):
            _to_journal(path, root, form)
        done.append(set(_lines(folder, form)))
    return set.intersection(*done) if done else set()


def assemble(root: Path, kinds: Sequence[str], class_names: Sequence[str]) -> None:
    """Writes ROOT/FORM.json from all journals, with pictures sorted by name, and removes the journals.

    Raises:
      UsageError: a file cannot be written.
    """
    for form, path in paths(root, kinds).items():
        write_whole(path, root, lambda partial, form=form: _write(partial, root / _JOURNALS, form, class_names))
    if paths(root, kinds):
        shutil.rmtree(root / _JOURNALS, ignore_errors=True)


def _write(path: Path, folder: Path, form: str, class_names: Sequence[str]) -> None:
    lines = sorted(_lines(folder, form).items())
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


def _lines(folder: Path, form: str) -> dict[str, bytes]:
    """Returns the last complete line of every picture by name, encoded, which needs less memory than its objects."""
    lines = {}
    for path in sorted(folder.glob(f"{form}.*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):  # the incomplete line of a killed process
                    lines[json.loads(line)["file_name"]] = line
    return lines


def _to_journal(final: Path, root: Path, form: str) -> None:
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


def _run_lengths(size: tuple[int, int], box: tuple[int, int, int, int], inside: np.ndarray) -> dict:
    left, top, width, height = box
    whole = np.zeros(size, np.uint8, order="F")
    whole[top : top + height, left : left + width] = inside
    encoded = coco_mask.encode(whole)
    return {"size": list(size), "counts": encoded["counts"].decode("ascii")}
