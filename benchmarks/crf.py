"""What the dense CRF costs and gains: seconds per frame, hand IoU and boundary F-score without and with it.

    python -m benchmarks.crf --dataset=egohands/hands_available [--data-dir=DIR] [--split=test] [--checkpoint=DIR] \
        [--parameters=crf.json] [--images=20]

Without a checkpoint the scores are made from the truth: its outline bent by up to some 10 pixels, blurred, with blobs of doubt;
what the CRF then gains tells that it works, not what it is worth behind a network. Prints a Markdown table.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from absl import logging

from refinenet_jax import visualize
from refinenet_jax.data.examples import VOID
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.data.sources import open_source
from refinenet_jax.evaluation import tune_crf
from refinenet_jax.inference.crf import CrfParameters, crf, read_parameters
from refinenet_jax.inference.segmenter import Segmenter


def spoilt(mask: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Scores as of a network that is not quite sure of the outline; float32 [h, w, classes]."""
    rng = np.random.default_rng(seed)
    height, width = mask.shape
    unit = float(np.hypot(height, width)) / 1469  # 1 at 1280x720

    def field(stddev: float) -> np.ndarray:
        """Smooth noise of standard deviation 1."""
        size = (max(int(width / stddev / unit), 2), max(int(height / stddev / unit), 2))
        return cv2.resize(
            rng.normal(size=size[::-1]).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )

    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    truth = np.where(mask == VOID, 0, mask)
    bent = cv2.remap(truth, columns + 5 * unit * field(40), rows + 5 * unit * field(40), cv2.INTER_NEAREST)
    likely = cv2.GaussianBlur(np.eye(classes, dtype=np.float32)[bent], (0, 0), 6 * unit).reshape(height, width, classes)
    logits = 6 * likely + np.stack([1.2 * field(25) for _ in range(classes)], -1)
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def write_picture(path: str, examples: list[tune_crf.Example], parameters: CrfParameters) -> None:
    """Overlays of a few examples, around their hands: truth, without the CRF, with it."""
    rows = []
    for example in examples:
        scores = example.probabilities.astype(np.float32)
        masks = (example.mask, scores.argmax(-1), crf(example.image, scores, parameters).argmax(-1))
        left, top, across, down = cv2.boundingRect(((example.mask > 0) & (example.mask < VOID)).astype(np.uint8))
        near = np.s_[max(top - 60, 0) : top + down + 60, max(left - 60, 0) : left + across + 60]
        rows.append([visualize.overlay(example.image[near], mask[near].astype(np.uint8)) for mask in masks])
    captions = [f"example {i}" for i in range(len(rows))]
    visualize.write(path, visualize.gallery(rows, captions, ("truth", "without CRF", "with CRF"), width=640))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--split", default="test")
    parser.add_argument("--checkpoint")
    parser.add_argument("--parameters", help="JSON file of `refinenet-jax tune-crf`; DeepLab's without")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--picture", help="PNG file for overlays of the first three")
    args = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file

    source = open_source(args.dataset, args.split, args.data_dir)
    segmenter = Segmenter.from_checkpoint(args.checkpoint) if args.checkpoint else None
    examples, network_seconds = [], []
    indices = np.unique(np.linspace(0, len(source) - 1, args.images).round().astype(int)).tolist()
    for index, given in zip(indices, read_ahead(source.__getitem__, indices), strict=True):
        start = time.perf_counter()
        scores = (
            segmenter(given["image"]).scores if segmenter else spoilt(given["mask"], source.info.num_classes, index)
        )
        network_seconds.append(time.perf_counter() - start)
        examples.append(tune_crf.Example(given["image"], scores.astype(np.float16), given["mask"]))

    settings = [("DeepLab's", CrfParameters())]
    if args.parameters:
        settings.append((Path(args.parameters).name, read_parameters(args.parameters)))
    alone = tune_crf.measure(examples, None, lambda: None)
    what = "network alone" if segmenter else "truth spoilt, alone"
    print("| scores | hand IoU, all pixels | boundary F | median seconds per frame | processor seconds |")
    print("|---|---|---|---|---|")
    seconds = f"{np.median(network_seconds):.2f}" if segmenter else "-"
    print(f"| {what} | {alone.hand_iou:.4f} | {alone.boundary_f:.4f} | {seconds} | |", flush=True)
    for name, parameters in settings:
        first = examples[0]
        crf(first.image, first.probabilities.astype(np.float32), parameters)  # compiles
        ends, work = [time.perf_counter()], time.process_time()
        trial = tune_crf.measure(examples, parameters, lambda ends=ends: ends.append(time.perf_counter()))
        work = (time.process_time() - work) / len(examples)
        median = np.median(np.diff(ends))
        print(
            f"| with the CRF, {name} | {trial.hand_iou:.4f} | {trial.boundary_f:.4f} | {median:.2f} | {work:.2f} |",
            flush=True,
        )
    sizes = sorted({"x".join(map(str, example.image.shape[1::-1])) for example in examples})
    print(
        f"\n{len(examples)} images of {source.info.name} [{args.split}], {', '.join(sizes)}; seconds hold the scoring, too."
    )
    if args.picture:
        write_picture(args.picture, examples[:: max(len(examples) // 3, 1)][:3], settings[-1][1])


if __name__ == "__main__":
    main()
