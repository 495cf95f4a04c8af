"""Writes the folders for configs/pretrained.py from folders of hand pictures and masks.

    python -m launch.pretrained_data HANDS OUTPUT [--egohands DATA_DIR] [--forearms=background|void|hand]

HANDS has a folder for each source, with images/ID.jpg and masks/ID.png (0 background, 1 hand, 255 void). Pictures are linked or
cropped, and new masks are written:

- forearms: masks that include the forearm become hand, void around the wrist, and background beyond it (`cut_at_wrist`);
  for comparison, --forearms=void makes the whole forearm void, and --forearms=hand keeps the masks
- street: skin of unknown body parts stays void, but faces, found by a rule, become background (`faces_and_legs_to_background`)
- cut-outs: cropped so that the wrist lies at the edge of the picture, where pasting extends it by an arm

With --egohands, the development video of EgoHands is written from the dataset `egohands/hands_available` built in DATA_DIR.
"""

import argparse
import os
from pathlib import Path

import cv2
import numpy as np

HAND, VOID = 1, 255
FOREARMS = ("gtea_pseudo", "tshirt_pseudo", "hgr_piv", "minghuam79", "wong_coco_hands")
PLAIN = ("senz3d_reg", "ut_hrc10", "ksu_arsl30", "hands11k_cut")
DEVELOPMENT = "CHESS_COURTYARD_B_T"  # the video on which all choices are made
# Pictures for which the rule fails, found by inspection; their skin becomes void.
UNCERTAIN = {
    "gtea_pseudo": tuple(f"0000000{frame}" for frame in (161, 181, 391, 401, 411, 431, 441, 701)),
    "hgr_piv": ("hgr1_id05_1", "hgr1_id05_2", "hgr1_id06_3"),  # both arms in view
}

_WORKING_SIDE = 320  # longest side in pixels at which wrists are searched
_SETTINGS = "classes: [background, hand]\nsplit: {{validation: {validation}, test: 0}}\n"


def cut_at_wrist(mask: np.ndarray, forearm: int = 0) -> np.ndarray:
    """Removes forearms from a mask of hands with forearms.

    For each arm, the palm is the first local maximum of the width from the fingertips, and r is the radius of the largest
    circle in it. Pixels less than 1.1 r beyond the palm's center, measured along the arm, are hand; from 2.2 r they are
    forearm, if the arm is narrower in between, as wrists are. An arm without such a palm near its tip becomes void.

    Args:
      mask: uint8 [h, w]; 0, HAND including the forearm, VOID.
      forearm: value that forearms get.

    Returns:
      uint8 [h, w]; 0, HAND, VOID.
    """
    scale = min(1.0, _WORKING_SIDE / max(mask.shape))
    size = tuple(max(1, round(scale * n)) for n in mask.shape[::-1])
    small = cv2.resize((mask == HAND).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    small = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))  # holes of pseudo-labels
    count, labels = cv2.connectedComponents(small)
    part = np.full(small.shape, VOID, np.uint8)
    for label in range(1, count):
        arm = labels == label
        if arm.sum() >= 0.002 * arm.size:
            part[arm] = _parts(arm, forearm)[arm]
    part = cv2.resize(part, mask.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.where(mask == HAND, part, mask)


def _parts(arm: np.ndarray, forearm: int) -> np.ndarray:
    """Returns HAND, VOID or `forearm` for each pixel of one arm, bool [h, w]."""
    margin = max(arm.shape)
    around = cv2.copyMakeBorder(arm.astype(np.uint8), *[margin] * 4, cv2.BORDER_REPLICATE)  # arms continue outside
    radius = cv2.distanceTransform(around, cv2.DIST_L2, 5)[margin:-margin, margin:-margin]
    along = _distance_along(arm, _root(arm))
    tip = along.max()
    widest = np.array([radius[arm & (np.abs(along - step) <= 1)].max(initial=0) for step in range(tip + 1)])
    for palm in range(tip, -1, -1):
        reach, r = round(0.6 * widest[palm]), widest[palm]
        if r >= 0.55 * widest.max() and r >= widest[max(palm - reach, 0) : palm + reach + 1].max():
            if tip - palm > 3.6 * r:
                break
            wrist = widest[max(round(palm - 2.2 * r), 0) : palm + 1].min()
            distance = (palm - along) / r
            beyond = forearm if wrist < 0.85 * r else VOID
            return np.where(distance < 1.1, HAND, np.where(distance < 2.2, VOID, beyond)).astype(np.uint8)
    return np.full(arm.shape, VOID, np.uint8)


def _root(arm: np.ndarray) -> np.ndarray:
    """Returns where an arm, or two arms that touch, begins, bool [h, w]: at the picture's edge, or else at its lower end.

    Among several regions on the edge, those at the upper edge are fingertips.
    """
    edge = np.zeros_like(arm)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    count, labels, stats, _ = cv2.connectedComponentsWithStats((arm & edge).astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count > 1 and areas.max() >= 5:
        pieces = {label for label in range(1, count) if areas[label - 1] >= max(5, 0.4 * areas.max())}
        lower = {label for label in pieces if stats[label, cv2.CC_STAT_TOP] + stats[label, cv2.CC_STAT_HEIGHT] > 2}
        return np.isin(labels, list(lower or pieces))
    ends = [np.argwhere(arm)[0]]
    for _ in range(3):  # the two ends have the largest distance from each other
        start = np.zeros_like(arm)
        start[tuple(ends[-1])] = True
        distance = _distance_along(arm, start)
        ends.append(np.argwhere(distance == distance.max())[0])
    start = np.zeros_like(arm)
    start[tuple(max(ends[-2:], key=lambda end: end[0]))] = True
    return start


def _distance_along(arm: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Returns the number of steps from `start` to each pixel within the arm, int [h, w]; -1 outside."""
    distance = np.where(start, 0, -1)
    cross, square = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), np.ones((3, 3), np.uint8)
    front, inside, step = start.astype(np.uint8), arm.astype(np.uint8), 0
    while True:
        step += 1
        grown = cv2.dilate(front, square if step % 2 else cross) & inside  # octagons approximate circles
        new = (grown == 1) & (distance < 0)
        if not new.any():
            return distance
        distance[new], front = step, grown


def faces_and_legs_to_background(mask: np.ndarray) -> np.ndarray:
    """Sets the face and the legs of a standing person to background, in a mask in which all skin is void.

    The face is the part of the highest skin region near the middle within 0.12 of the picture's height from its top; legs are
    the skin below 0.66 of the height, where no hands are.
    """
    height, width = mask.shape
    mask = mask.copy()
    mask[round(0.66 * height) :] = 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == VOID).astype(np.uint8))
    faces = [
        label
        for label in range(1, count)
        if stats[label, cv2.CC_STAT_AREA] > 2e-4 * mask.size
        and stats[label, cv2.CC_STAT_TOP] < 0.25 * height
        and 0.25 < (stats[label, cv2.CC_STAT_LEFT] + stats[label, cv2.CC_STAT_WIDTH] / 2) / width < 0.75
    ]
    if faces:
        face = min(faces, key=lambda label: stats[label, cv2.CC_STAT_TOP])
        top = stats[face, cv2.CC_STAT_TOP]
        rows = slice(top, top + round(0.12 * height))
        mask[rows][labels[rows] == face] = 0
    return mask


def crop_to_wrist(image: np.ndarray, mask: np.ndarray, edge: str) -> tuple[np.ndarray, np.ndarray]:
    """Crops a cut-out so that the wrist lies at the `bottom` or `right` edge."""
    rows, columns = np.flatnonzero((mask == HAND).any(1)), np.flatnonzero((mask == HAND).any(0))
    if edge == "bottom":
        box = np.s_[: rows[-1] + 1 - round(0.03 * len(rows))]
    else:
        box = np.s_[:, : columns[-1] + 1 - round(0.08 * len(columns))]
    return image[box], mask[box]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hands", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--forearms", default="background", choices=("background", "void", "hand"))
    parser.add_argument("--egohands", type=Path, help="folder in which the dataset egohands/hands_available is built")
    args = parser.parse_args()
    for source in (*FOREARMS, *PLAIN, "ccp_skin", "massey_cut"):
        pairs = [(path, args.hands / source / "masks" / f"{path.stem}.png") for path in _images(args.hands / source)]
        folder = _folder(args.output / source, negatives=source == "ccp_skin")
        for picture, mask_file in pairs:
            mask = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE)
            linked = folder / "images" / picture.name
            if source == "massey_cut":
                sign = picture.stem.split("_")[1]
                if sign == "q":  # fingers point down, and the wrist is at a corner
                    continue
                image, mask = crop_to_wrist(cv2.imread(str(picture)), mask, "right" if sign in "ghp" else "bottom")
                cv2.imwrite(str(linked), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            else:
                linked.unlink(missing_ok=True)
                os.symlink(picture.resolve(), linked)
                if source in FOREARMS and args.forearms != "hand":
                    if picture.stem.endswith(UNCERTAIN.get(source, ())):
                        mask[mask == HAND] = VOID
                    mask = cut_at_wrist(mask, 0 if args.forearms == "background" else VOID)
                elif source == "ccp_skin":
                    mask = faces_and_legs_to_background(mask)
            cv2.imwrite(str(folder / "masks" / mask_file.name), mask)
        print(f"{folder}: {len(pairs)} pictures", flush=True)
    if args.egohands:
        _write_development(args.egohands, args.output / "development")


def _images(folder: Path) -> list[Path]:
    paths = sorted((folder / "images").iterdir())
    if not paths:
        raise SystemExit(f"error: {folder}/images is empty")
    return paths


def _folder(path: Path, validation: float = 0.0, negatives: bool = False) -> Path:
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True, exist_ok=True)
    (path / "dataset.yaml").write_text(
        _SETTINGS.format(validation=validation) + ("negatives: true\n" if negatives else "")
    )
    return path


def _write_development(data_dir: Path, path: Path) -> None:
    from refinenet_jax.data.sources import open_source

    source = open_source("egohands/hands_available", "test", data_dir)
    folder = _folder(path, validation=1.0)
    for index in range(len(source)):
        video, name = source[index]["id"].split("/")
        if video == DEVELOPMENT:
            (folder / "images" / f"{name}.jpg").write_bytes(source.encoded(index)[0])
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), source[index]["mask"])
    print(f"{folder}: {len(list((folder / 'images').iterdir()))} pictures")


if __name__ == "__main__":
    main()
