"""One set of pictures and hands, written as a folder in each layout."""

import base64
import io
import json
import zlib

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
    """images/ and masks/; some masks have no ending."""
    for index, item_id in enumerate(PICTURES):
        put(root / "masks" / f"{item_id}{'.png' if index % 2 else ''}", png(mask(item_id)))
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


def cvat(root):
    """annotations.xml: the first rectangle of each picture as a polygon, the others as masks."""
    pictures = ""
    for item_id, shapes in PICTURES.items():
        inner = ""
        for number, (label, left, right, top, bottom) in enumerate(shapes):
            if number == 0:
                points = ";".join(f"{x + 0.5},{y + 0.5}" for x, y in _corners(left, right, top, bottom))
                inner += (
                    f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="0"></polygon>'
                )
            else:
                width, height = right - left + 1, bottom - top + 1
                place = f'left="{left}" top="{top}" width="{width}" height="{height}" z_order="1"'
                inner = f'<mask label="{label}" rle="0, {width * height}" {place}></mask>{inner}'
        pictures += f'<image id="0" name="{item_id}.png" width="{WIDTH}" height="{HEIGHT}">{inner}</image>'
    put(root / "annotations.xml", f"<annotations><version>1.1</version>{pictures}</annotations>")
    return put_images(root / "images")


def supervisely(root):
    """meta.json and ds/: the first rectangle of each picture as a polygon, the others as bitmaps."""
    put(root / "meta.json", "{}")
    for item_id, shapes in PICTURES.items():
        objects = []
        for number, (label, left, right, top, bottom) in enumerate(shapes):
            if number == 0:
                corners = [[x + 0.5, y + 0.5] for x, y in _corners(left, right, top, bottom)]
                shape = {"geometryType": "polygon", "points": {"exterior": corners, "interior": []}}
            else:
                opaque = np.full((bottom - top + 1, right - left + 1, 4), 255, np.uint8)
                data = base64.b64encode(zlib.compress(cv2.imencode(".png", opaque)[1].tobytes())).decode()
                shape = {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [left, top]}}
            objects.append({"classTitle": label, **shape})
        content = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
        name = item_id.replace("/", "_")  # a dataset has no sub-folders
        put(root / "ds" / "ann" / f"{name}.png.json", json.dumps(content))
        put(root / "ds" / "img" / f"{name}.png", png(image(item_id)))
    return root


def via(root):
    """via_project.json in the form of a project."""
    pictures = {}
    for item_id, shapes in PICTURES.items():
        regions = []
        for label, *box in shapes:
            x, y = ([n + 0.5 for n in axis] for axis in zip(*_corners(*box), strict=True))
            shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
            regions.append({"shape_attributes": shape, "region_attributes": {"side": label}})
        pictures[f"{item_id}.png123"] = {"filename": f"{item_id}.png", "size": 123, "regions": regions}
    put(root / "via_project.json", json.dumps({"_via_settings": {}, "_via_img_metadata": pictures}))
    return put_images(root / "images")


def runs(region: np.ndarray) -> list[int]:
    """Lengths of runs outside and inside by turns, down the columns."""
    flat = np.concatenate([[False], region.T.ravel()])
    ends = np.flatnonzero(np.diff(flat)).tolist()
    return np.diff([0, *ends, flat.size - 1]).tolist()


def _corners(left, right, top, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
