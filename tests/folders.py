"""One set of pictures and hands, written as a folder in each layout."""

import io
import json

import cv2
import numpy as np
from PIL import Image

from refinenet_jax.data import sources

HEIGHT, WIDTH = 24, 32
CLASSES = ("background", "left hand", "right hand")

# id -> rectangles, in the order of painting: class, first and last column, first and last row.
PICTURES = {
    "kitchen/001": [("left hand", 2, 9, 3, 7), ("right hand", 8, 20, 5, 15)],
    "kitchen/002": [("right hand", 0, 31, 10, 23)],
    "office/frame.1": [],
    "office/frame.2 ü": [("left hand", 4, 4, 4, 4)],
    "street/001": [("left hand", 10, 12, 1, 20), ("left hand", 14, 16, 1, 20)],
}


def image(item_id: str) -> np.ndarray:
    """RGB noise, different for each picture."""
    return np.random.default_rng(list(item_id.encode())).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def mask(item_id: str) -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, left, right, top, bottom in PICTURES[item_id]:
        ids[top : bottom + 1, left : right + 1] = CLASSES.index(label)
    return ids


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def rotated(pixels: np.ndarray, file_format: str = "JPEG") -> bytes:
    """The picture stored on its side, with EXIF data by which viewers rotate it back."""
    exif = Image.Exif()
    exif[0x0112] = 6  # clockwise by 90 degrees
    file = io.BytesIO()
    quality = {"quality": 100} if file_format == "JPEG" else {}
    Image.fromarray(np.rot90(pixels)).save(file, file_format, exif=exif, **quality)
    return file.getvalue()


def put(path, content: bytes | str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def open_all(root, yaml: str | None = None, split: str | None = None) -> sources.FolderSource:
    """Opens a split of a folder, by default all pictures, with this dataset.yaml."""
    if yaml is not None:
        put(root / "dataset.yaml", yaml)
    return sources.open_source(str(root), split or "+".join(sources.splits(str(root))))


def put_images(folder, ids=PICTURES):
    for item_id in ids:
        put(folder / f"{item_id}.png", png(image(item_id)))
    return folder.parent


def masks(root):
    """images/ and masks/."""
    for item_id in PICTURES:
        put(root / "masks" / f"{item_id}.png", png(mask(item_id)))
    return put_images(root / "images")


def voc(root, lists=None):
    for item_id in PICTURES:
        put(root / "SegmentationClass" / f"{item_id}.png", png(mask(item_id)))
    for name, ids in (lists or {}).items():
        put(root / "ImageSets/Segmentation" / f"{name}.txt", "\n".join(ids))
    return put_images(root / "JPEGImages")


def labelme_xml(root):
    for item_id, shapes in PICTURES.items():
        objects = ""
        for label, *box in shapes:
            # PIL takes the pixel that a corner lies in: its middle, to be sure.
            points = "".join(f"<pt><x>{x + 0.5}</x><y>{y + 0.5}</y></pt>" for x, y in _corners(*box))
            objects += f"<object><name>{label}</name><polygon>{points}</polygon></object>"
        put(root / "Annotations" / f"{item_id}.xml", f"<annotation>{objects}</annotation>")
    return put_images(root / "images")


def labelme_json(root):
    """Next to the pictures; rectangles have two points, and labels are spelled differently."""
    for item_id, shapes in PICTURES.items():
        items = [
            {
                "label": label.upper().replace(" ", "_"),
                "points": [[left + 0.5, top + 0.5], [right + 0.5, bottom + 0.5]],
                "shape_type": "rectangle",
            }
            for label, left, right, top, bottom in shapes
        ]
        root_object = {"shapes": items, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
        put(root / "images" / f"{item_id}.json", json.dumps(root_object))
    return put_images(root / "images")


def coco(root, name="annotations.json", ids=tuple(PICTURES)):
    put(root / name, json.dumps(coco_object(ids)))
    return put_images(root / "images")


def coco_object(ids) -> dict:
    """The first rectangle of each picture as a polygon, the others as run lengths."""
    images, annotations = [], []
    for image_id, item_id in enumerate(ids, 7):
        images.append({"id": image_id, "file_name": f"{item_id}.png", "height": HEIGHT, "width": WIDTH})
        for number, (label, left, right, top, bottom) in enumerate(PICTURES[item_id]):
            region = np.zeros((HEIGHT, WIDTH), bool)
            region[top : bottom + 1, left : right + 1] = True
            # COCO's polygons run along the edges of pixels.
            polygon = [float(number) for corner in _corners(left, right + 1, top, bottom + 1) for number in corner]
            counts = {"size": [HEIGHT, WIDTH], "counts": runs(region)}
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image_id,
                    "category_id": 10 * CLASSES.index(label),
                    "segmentation": [polygon] if number == 0 else counts,
                }
            )
    categories = [{"id": 10 * index, "name": name} for index, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def yolo(root):
    """data.yaml, images/train/ and labels/train/; pictures without hands have no file."""
    for item_id, shapes in PICTURES.items():
        lines = []
        for label, *box in shapes:
            shares = [share for x, y in _corners(*box) for share in ((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT)]
            lines.append(" ".join(map(str, [CLASSES.index(label) - 1, *shares])))
        if lines:
            put(root / "labels" / "train" / f"{item_id}.txt", "\n".join(lines))
    put(root / "data.yaml", "path: ../datasets/hands\ntrain: images/train\nnames:\n  0: left hand\n  1: right hand\n")
    put_images(root / "images" / "train")
    return root


def runs(region: np.ndarray) -> list[int]:
    """Lengths of runs outside and inside by turns, down the columns."""
    flat = np.concatenate([[False], region.T.ravel()])
    ends = np.flatnonzero(np.diff(flat)).tolist()
    return np.diff([0, *ends, flat.size - 1]).tolist()


def _corners(left, right, top, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
