"""Makes `dummy_data/`: twelve made-up pictures in the official layout, small enough to commit.

    python tfds_builders/hof/make_dummy_data.py

Flat colours with the outlines filled in; none of it is from HandOverFace. What the official files are known for is here: GIFs
named .jpg, grey JPEGs, masks of one and of three channels, annotations without a size, a body beside the hands, deleted
objects; and what any archive may bring along, hidden files of Finder and Explorer.
"""

import pathlib
import shutil

import numpy as np
from PIL import Image, ImageDraw

# The four faulty ones, and enough others for each split.
NUMBERS = (1, 2, 3, 4, 5, 9, 10, 100, 216, 221, 225, 300)
GIFS = {216, 221}
GREY = {5, 216}
THREE_CHANNELS = {2, 10, 300}
WITHOUT_SIZE = {3, 10, 221}
RESIZED = (384, 216)
# Label and attributes, taken in turn: ways to tell a side.
LEFT = [("left hand", ""), ("Left_Hand", ""), ("hand", "left"), ("lhand 2", "left,resting,_")]
RIGHT = [("right hand", ""), ("hand-right", ""), ("Hand", "right"), ("RightHand", "")]
STRAYS = (
    *(".DS_Store", "._masks", "masks/.DS_Store", "masks/._7.png", "images_resized/._1.jpg", "images_resized/Thumbs.db"),
    *("images_original_size/Thumbs.db", "annotations/.7.xml.swp"),
)


def make_hand(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Makes a blob for a hand: int [9,2] of x, y in pixels."""
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    radii = radius * rng.uniform(0.7, 1.2, (9, 1))
    return np.rint(np.array(centre) + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(int)


def draw(size: tuple[int, int], hands: list[np.ndarray], background: tuple[int, ...]) -> Image.Image:
    """Draws a face with the hands over it."""
    image = Image.new("RGB", size, background)
    canvas = ImageDraw.Draw(image)
    width, height = size
    canvas.ellipse([width * 0.3, height * 0.1, width * 0.7, height * 0.9], fill="tan")
    for hand in hands:
        canvas.polygon(hand.ravel().tolist(), fill="sienna", outline="black")
    return image


def describe(name: str, attributes: str, points: np.ndarray, deleted: bool = False) -> str:
    """Writes an object as LabelMe does: user name first, everything between line breaks."""
    corners = "\n".join(f"<pt>\n<x>\n{x}\n</x>\n<y>\n{y}\n</y>\n</pt>" for x, y in points)
    return (
        f"<object>\n<name>\n{name}\n</name>\n<deleted>\n{int(deleted)}\n</deleted>\n<verified>\n0\n</verified>\n"
        f"<attributes>{attributes}</attributes>\n<polygon>\n<username>\nmade_up\n</username>\n{corners}\n</polygon>\n</object>\n"
    )


def write_annotation(path: pathlib.Path, objects: list[str], size: tuple[int, int] | None) -> None:
    """Writes a LabelMe file, with the size of its picture or without."""
    imagesize = f"<imagesize>\n<nrows>{size[1]}</nrows>\n<ncols>{size[0]}</ncols>\n</imagesize>\n" if size else ""
    path.write_text(
        f"<annotation>\n<filename>{path.stem}.jpg</filename>\n<folder>hands_over_face</folder>\n"
        f"{''.join(objects)}{imagesize}</annotation>\n"
    )


def write_picture(root: pathlib.Path, number: int, index: int) -> None:
    """Writes the four files of a picture; every third shows both hands, the others one."""
    rng = np.random.default_rng(number)
    size = width, height = int(rng.integers(120, 260)), int(rng.integers(90, 200))
    background = tuple(int(c) for c in rng.integers(0, 90, 3))
    left = make_hand(rng, (width * 0.62, height * 0.55), height * 0.25)
    right = make_hand(rng, (width * 0.35, height * 0.6), height * 0.25)
    told = [(left, LEFT[index % 4]), (right, RIGHT[index % 4])]
    told = told if index % 3 == 0 else told[index % 2 :][:1]
    hands = [points for points, _ in told]
    image = draw(size, hands, background)
    resized = image.resize(RESIZED)
    if number in GREY:
        image, resized = image.convert("L"), resized.convert("L")
    resized.save(root / "images_resized" / f"{number}.jpg", quality=60, optimize=True)
    kind = {"format": "GIF"} if number in GIFS else {"format": "JPEG", "quality": 60, "optimize": True}
    image.save(root / "images_original_size" / f"{number}.jpg", **kind)

    scale = np.array(RESIZED) / size
    mask = Image.new("L", RESIZED)
    for hand in hands:
        ImageDraw.Draw(mask).polygon((hand * scale).ravel().tolist(), fill=255)
    mask.convert("RGB" if number in THREE_CHANNELS else "L").save(root / "masks" / f"{number}.png", optimize=True)

    objects = [describe(*words, points) for points, words in told]
    if number == 225:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        objects.append(describe("body", "", corners))
    if index % 4 == 0:
        objects.insert(0, describe("hand", "", make_hand(rng, (20, 20), 15), deleted=True))
    write_annotation(root / "annotations" / f"{number}.xml", objects, None if number in WITHOUT_SIZE else size)


def main() -> None:
    """Writes dummy_data/hand_over_face beside this file, in place of what was there."""
    root = pathlib.Path(__file__).parent / "dummy_data" / "hand_over_face"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("images_original_size", "images_resized", "masks", "annotations"):
        (root / folder).mkdir(parents=True)
    for index, number in enumerate(NUMBERS):
        write_picture(root, number, index)
    for stray in STRAYS:
        (root / stray).write_bytes(b"\0stray\0")


if __name__ == "__main__":
    main()
