"""Makes `dummy_data/`: nine made-up frames and what belongs to none, in the official layout, small enough to commit.

    python tfds_builders/eyth/make_dummy_data.py

The pictures are flat colours with a hand filled in; none of it is from EYTH. It has the faults that the true archives have:
masks without an ending, coloured ones, a JPEG among them, stray files, pictures that no list names.
"""

import pathlib
import shutil

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 384, 216
# The lists. With Windows' line ends, a blank line and a blank at the end, as hands leave them.
LISTS = {
    "train.txt": "vid4/frame25.jpg\nvid4/frame30.jpg\nvid6/frame5.jpg\nvid9/frame120.jpg\nvid9/frame125.jpg\n",
    "val.txt": "vid6/frame10.jpg\r\nvid9/frame130.jpg \r\n\r\n",
    "test.txt": "vid4/frame35.jpg\nvid6/frame15.jpg",
}
UNLISTED = ["vid6/frame20"]
# Of all the frames, one that shows no hand, and those with an odd mask.
WITHOUT_HAND = "vid9/frame125"
JPEG_MASK = "vid6/frame15"
COLOUR_MASKS = ("vid6/frame5", "vid9/frame130")
STRAY = ["masks/.DS_Store", "masks/vid6/Thumbs.db", "images/.DS_Store", "images/vid4/._frame25.jpg"]


def draw(rng: np.random.Generator, with_hand: bool) -> tuple[Image.Image, Image.Image]:
    """Makes a picture and its mask, black and white."""
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(c) for c in rng.integers(0, 90, 3)))
    mask = Image.new("L", (WIDTH, HEIGHT))
    if with_hand:
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        radius = rng.uniform(30, 50, 12)
        centre = rng.uniform((80, 80), (WIDTH - 80, HEIGHT - 80))
        corners = (centre + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, np.newaxis]).ravel().tolist()
        ImageDraw.Draw(image).polygon(corners, fill="peru")
        ImageDraw.Draw(mask).polygon(corners, fill=255)
    return image, mask


def main() -> None:
    """Writes dummy_data/eyth_dataset beside this file, in place of what was there."""
    root = pathlib.Path(__file__).parent / "dummy_data" / "eyth_dataset"
    shutil.rmtree(root, ignore_errors=True)
    rng = np.random.default_rng(0)
    (root / "train-val-test-split").mkdir(parents=True)
    for name, text in LISTS.items():
        (root / "train-val-test-split" / name).write_bytes(text.encode())
    listed = [line.strip().removesuffix(".jpg") for text in LISTS.values() for line in text.split()]
    for name in [*listed, *UNLISTED]:
        image, mask = draw(rng, name != WITHOUT_HAND)
        for kind in ("images", "masks"):
            (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / "images" / f"{name}.jpg", quality=50)
        # As in the true archive only the masks of vid6 have an ending, which says PNG even where an old one is a JPEG.
        ending = ".png" if name.startswith("vid6") else ""
        mask = mask.convert("RGB") if name in COLOUR_MASKS else mask
        mask.save(root / "masks" / f"{name}{ending}", "JPEG" if name == JPEG_MASK else "PNG")
    for name in STRAY:
        (root / name).write_bytes(b"\0\0\0\1Bud1")


if __name__ == "__main__":
    main()
