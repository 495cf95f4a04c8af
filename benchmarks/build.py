"""Measures speed and memory of building the datasets, each in its own process.

    python -m benchmarks.build [--beam]

Each tree has the layout and number of pictures of the official one. All files are links to one synthetic picture of the
official size, so that decoding, drawing and writing cost the same.
"""

import argparse
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

GTEA_FRAMES = 165  # per subject, of four


def _picture(path: pathlib.Path, width: int, height: int, content: str) -> pathlib.Path:
    """Writes a photograph-like picture (smooth, with some noise), or a mask with a disc."""
    rows, columns = np.mgrid[:height, :width]
    if content == "mask":
        disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 5) ** 2
        image = Image.fromarray(np.where(disc, 255, 0).astype(np.uint8))
    else:
        noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
        smooth = np.stack([rows * 255 / height, columns * 255 / width, rows * 0 + 128], -1)
        image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
    image.save(path, quality=90)
    return path


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def egohands(root: pathlib.Path) -> None:
    from tfds_builders.egohands import dummy, labeled_samples

    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    circle = 85 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centers = {"myleft": (400, 500), "myright": (800, 500), "yourleft": (500, 200), "yourright": (700, 200)}
    hands = {name: center + circle for name, center in centers.items()}
    dummy.write_polygons(root / "polygons", [hands] * 100)
    picture = _picture(root / "picture.jpg", 1280, 720, "photograph")
    for video in labeled_samples.VIDEOS:
        folder = root / labeled_samples.FOLDER / video
        _link(root / "polygons", folder / "polygons.mat")
        for index in range(100):
            _link(picture, folder / f"frame_{27 * index:04d}.jpg")


def eyth(root: pathlib.Path) -> None:
    tree = root / "eyth_dataset"
    picture = _picture(root / "picture.jpg", 384, 216, "photograph")
    mask = _picture(root / "mask.png", 384, 216, "mask")
    names = [f"vid{(4, 6, 9)[index % 3]}/frame{5 * (index // 3)}" for index in range(1290)]
    for name in names:
        _link(picture, tree / "images" / f"{name}.jpg")
        _link(mask, tree / "masks" / name)
    lists = tree / "train-val-test-split"
    lists.mkdir()
    for name, start, stop in (("train", 0, 774), ("val", 774, 1032), ("test", 1032, 1290)):
        (lists / f"{name}.txt").write_text("".join(f"{frame}.jpg\n" for frame in names[start:stop]))


def gtea(root: pathlib.Path) -> None:
    picture = _picture(root / "picture.jpg", 720, 405, "photograph")
    mask = _picture(root / "mask.jpg", 720, 405, "mask")
    for subject in (1, 2, 3, 4):
        for index in range(GTEA_FRAMES):
            activity = ("cheese", "coffee", "cofhoney", "hotdog", "pealate", "peanut", "tea")[index % 7]
            name = f"s{subject}_{activity}_{20 + 40 * index:010d}.jpg"
            _link(picture, root / "GTEA" / "Images" / name)
            split = "test" if subject == 2 else "train"
            _link(mask, root / "gtea_cropped" / f"gtea_{split}_cropped" / name)


def hof(root: pathlib.Path) -> None:
    tree = root / "hand_over_face"
    picture = _picture(root / "picture.jpg", 384, 216, "photograph")
    mask = _picture(root / "mask.png", 384, 216, "mask")
    for number in range(1, 301):
        _link(picture, tree / "images_resized" / f"{number}.jpg")
        _link(mask, tree / "masks" / f"{number}.png")


def person_parts(root: pathlib.Path) -> None:
    """Writes PASCAL-Part's .mat files with two persons each: the slower of the two sources of masks."""
    from tfds_builders.person_parts import dummy

    def enlarge(mask: np.ndarray) -> np.ndarray:
        return np.kron(mask, np.ones((8, 8), np.uint8))

    objects = [
        (kind, enlarge(mask), {name: enlarge(part) for name, part in parts.items()})
        for kind, mask, parts in (dummy.person(4, 2), dummy.person(40, 3))
    ]
    dummy.write_mat(root / "annotation", objects)
    picture = _picture(root / "picture.jpg", 512, 384, "photograph")
    names = [f"2010_{index:06d}" for index in range(3533)]
    lists = root / "VOCdevkit" / "VOC2010" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:1716]))
    (lists / "val.txt").write_text("\n".join(names[1716:]))
    for name in names:
        _link(picture, root / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{name}.jpg")
        _link(root / "annotation", root / "Annotations_Part" / f"{name}.mat")


DATASETS = {
    "egohands/hands": egohands,
    "eyth/hands": eyth,
    "gtea/wrist": gtea,
    "hof/resized": hof,
    "person_parts/parts": person_parts,
}


def measure(name: str, beam: bool) -> dict:
    """Builds one dataset in this process and returns a row of the table."""
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    dataset, _, config = name.partition("/")
    module = importlib.import_module(f"tfds_builders.{dataset}.{dataset}_dataset_builder")
    options = None
    if beam:
        from apache_beam.options.pipeline_options import PipelineOptions

        options = PipelineOptions(["--runner=DirectRunner"])
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "tree"
        tree.mkdir()
        DATASETS[name](tree)
        builder = module.Builder(data_dir=folder, config=config, file_format="array_record")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=tree, beam_options=options)
        )
        seconds = time.perf_counter() - start
        images = builder.info.splits.total_num_examples
        stored = sum(split.num_bytes for split in builder.info.splits.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "dataset": name,
        "images": images,
        "images/s": images / seconds,
        "MB stored": stored / 1e6,
        "peak MB": peak / 1e3,
        "MB before": before / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beam", action="store_true", help="use Apache Beam's direct runner")
    parser.add_argument("--one", choices=DATASETS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.beam)))
        return
    print("| dataset | images | images/s | MB stored | peak MB | MB before building |\n|---|---|---|---|---|---|")
    for name in DATASETS:
        command = [sys.executable, "-m", "benchmarks.build", "--one", name, *(["--beam"] if args.beam else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {row['dataset']} | {row['images']:,} | {row['images/s']:.0f} | {row['MB stored']:.0f} | "
            f"{row['peak MB']:.0f} | {row['MB before']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
