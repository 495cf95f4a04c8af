"""Figures and pictures of an evaluation: a table for the terminal, metrics.json, a gallery."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data import Source
from refinenet_jax.evaluation.metrics import hand_scores
from refinenet_jax.inference.segmenter import Segmenter


def table(title: str, summary: Mapping) -> str:
    """The figures of `metrics.summarise` as lines of at most 80 columns."""
    rows = [("mean IoU", summary["mean_iou"])]
    rows += [(f"IoU of {name}", value) for name, value in summary["iou"].items()]
    rows += [("pixel accuracy", summary["pixel_accuracy"])]
    rows += [(f"hand {key}, all pixels", summary[f"hand_{key}"]) for key in ("iou", "precision", "recall")]
    rows += [(f"hand {key}, mean per image", summary[f"per_image_{key}"]) for key in ("iou", "precision", "recall")]
    width = max(len(name) for name, _ in rows)
    lines = [title, "-" * min(max(len(title), width + 8), 80)]
    lines += [f"{name:<{width}}  {'absent' if value is None else f'{value:.4f}':>6}" for name, value in rows]
    lines.append(f"{summary['images']} images, {summary['empty_images']} of them without hands in truth and prediction")
    return "\n".join(lines)


def write_metrics(path: Path, key: str, summary: Mapping) -> None:
    """Adds a summary under `key` to a JSON file; what else it holds stays."""
    metrics = json.loads(path.read_text()) if path.exists() else {}
    metrics[key] = summary
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(metrics, indent=2) + "\n")
    partial.replace(path)


def write_gallery(path: Path, segmenter: Segmenter, source: Source, counts: np.ndarray) -> None:
    """Writes a picture of the two best, two median and two worst images, by hand IoU: image, truth, prediction.

    Args:
      path: PNG or JPEG file to write.
      segmenter: that made the counts.
      source: its images.
      counts: confusion of each, integer [n, c, c].
    """
    scores = hand_scores(counts)["iou"]
    order = np.flatnonzero(~np.isnan(scores))
    order = order[np.argsort(scores[order], kind="stable")]
    if not len(order):
        return
    middle = len(order) // 2
    picks = {"best": order[:-3:-1], "median": order[middle : middle + 2], "worst": order[:2]}
    rows, captions = [], []
    for label, indices in picks.items():
        for index in indices:
            example = source[int(index)]
            image = example["image"]
            truth, prediction = visualize.overlay(image, example["mask"]), segmenter(image).overlay()
            rows.append((image, truth, prediction))
            captions.append(f"{label}: {example['id']}   hand IoU {scores[index]:.3f}")
    visualize.write(str(path), visualize.gallery(rows, captions, ("image", "truth", "prediction")))
