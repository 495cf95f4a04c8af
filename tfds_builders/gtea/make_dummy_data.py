"""Makes `dummy_data/`: eleven made-up frames with their three kinds of label in the official layout, small enough to commit.

    python tfds_builders/gtea/make_dummy_data.py

The pictures are flat colours with two arms filled in; none of it is from GTEA. It has what the true archives have: the names
of objects spelt in many ways, deleted objects, labels without frame and frames without label, JPEG masks, stray files, and
the neighbours of GTEA in hand2K.
"""

import pathlib
import shutil
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 720, 405
NAMES = [
    "s1_cheese_0000000020",
    "s1_tea_0000000140",
    "s1_tea_0000001260",
    "s2_coffee_0000000020",
    "s2_tea_0000000060",
    "s3_cofhoney_0000000300",
    "s3_hotdog_0000000020",
    "s3_peanut_0000000060",
    "s4_coffee_0000000100",
    "s4_peanut_0000000340",
    "s4_tea_0000000020",
]
WITHOUT_WRIST = "s3_cofhoney_0000000300"
WITHOUT_ARM = "s4_peanut_0000000340"  # neither mask nor outlines
WITHOUT_FRAME = "s4_tea_0000000020"
# Left and right arm of one frame, the next frame, and so on.
SPELLINGS = [
    ("Left hand", "Right hand"),
    ("left_hand", "right_hand"),
    ("LEFT HAND ", "Rigth hand"),
    ("Lefthand", "Right-hand 2"),
]
# The true greys are not documented, only that there are three.
LEFT, RIGHT, BOTH = 85, 170, 255


def make_arms(rng: np.random.Generator) -> list[np.ndarray]:
    """Makes left and right arm, from the lower edge up to the fingers: int [8,2] of x, y in pixels each."""
    arms = []
    for side in (-1, 1):
        x, y = 360 + side * rng.integers(40, 160), rng.integers(120, 220)
        foot = 360 + side * 230
        arm = [(foot - 45, 404), (x - 40, y + 70), (x - 70, y + 30), (x - 30, y - 30)]
        arm += [(x + 30, y - 35), (x + 70, y + 20), (x + 40, y + 75), (foot + 45, 404)]
        arms.append(np.clip(arm, 0, (WIDTH - 1, HEIGHT - 1)))
    return arms


def fill(arms: list[np.ndarray], lowest: int = HEIGHT) -> list[np.ndarray]:
    """Fills each arm, down to a row: bool [405,720]."""
    filled = []
    for arm in arms:
        mask = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(mask).polygon(arm.ravel().tolist(), fill=1)
        filled.append((np.asarray(mask) > 0) & (np.arange(HEIGHT)[:, np.newaxis] < lowest))
    return filled


def xml(name: str, objects: list[tuple[str, np.ndarray, int]]) -> str:
    """Writes LabelMe's XML of some outlines, each with its name and whether it is deleted."""
    text = f"<annotation><filename>{name}.jpg</filename><folder>GTEA</folder>"
    for label, corners, deleted in objects:
        points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in corners)
        text += f"<object><name>{escape(label)}</name><deleted>{deleted}</deleted><verified>0</verified>"
        text += f"<polygon><username>anonymous</username>{points}</polygon></object>"
    return text + f"<imagesize><nrows>{HEIGHT}</nrows><ncols>{WIDTH}</ncols></imagesize></annotation>"


def main() -> None:
    """Writes dummy_data beside this file, in place of what was there."""
    root = pathlib.Path(__file__).parent / "dummy_data"
    shutil.rmtree(root, ignore_errors=True)
    folders = ["Images", "Masks", "Annotations", "oldImages", "oldMasks"]
    images, masks, annotations, *others = [root / "GTEA" / folder for folder in folders]
    others.append(root / "GTEA_GAZE_PLUS" / "Images" / "Ahmad_American")
    parts = {part: root / "gtea_cropped" / f"gtea_{part}_cropped" for part in ("train", "test")}
    for folder in (images, masks, annotations, *others, *parts.values()):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for place, name in enumerate(NAMES):
        arms = make_arms(rng)
        left, right = fill(arms)
        if name != WITHOUT_FRAME:
            image = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(c) for c in rng.integers(0, 90, 3)))
            for arm, colour in zip(arms, ("peru", "sienna"), strict=True):
                ImageDraw.Draw(image).polygon(arm.ravel().tolist(), fill=colour)
            image.save(images / f"{name}.jpg", quality=40)
        if name != WITHOUT_ARM:
            grey = np.select([left & right, left, right], [BOTH, LEFT, RIGHT]).astype(np.uint8)
            Image.fromarray(grey).save(masks / f"{name}.png")
            deleted = ("cup", np.array([(1, 1), (9, 1), (9, 9)]), 1)
            labels = zip(SPELLINGS[place % len(SPELLINGS)], arms, (0, 0), strict=True)
            (annotations / f"{name}.xml").write_text(xml(name, [deleted, *labels]))
        if name != WITHOUT_WRIST:
            hands = np.logical_or(*fill(arms, arms[0][1, 1]))
            part = parts["test" if name.startswith("s2") else "train"]
            Image.fromarray(hands.astype(np.uint8) * 255).save(part / f"{name}.jpg", quality=75)
    Image.new("RGB", (96, 72)).save(others[-1] / "Ahmad_American_0000000020.jpg")
    for folder in others[:2]:
        Image.new("L", (72, 40)).save(folder / f"{NAMES[0]}.png")
    for folder in (images, masks, annotations):
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (images / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (root / "Readme.txt").write_text("Made up; see make_dummy_data.py.\n")


if __name__ == "__main__":
    main()
