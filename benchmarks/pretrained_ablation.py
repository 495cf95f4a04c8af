"""Measures the effect of each ingredient of configs/pretrained.py on the development video, with the same number of steps.

    for kind in background void hand; do python -m launch.pretrained_data HANDS data/forearms_$kind --forearms=$kind; done
    python -m benchmarks.pretrained_ablation OUTPUT --init-from=TRUNK --steps=300 [--data-dir=DIR] [--only NAME ...]

Trains each variation into OUTPUT/NAME and prints a Markdown table: IoU, precision and recall of hands over all pixels of the
development video, from `Segmenter` at one scale. Complete runs are not trained again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import pretrained
from launch.pretrained_data import FOREARMS
from refinenet_jax import Segmenter
from refinenet_jax.data.examples import Source
from refinenet_jax.data.sources import open_source
from refinenet_jax.evaluation import metrics
from refinenet_jax.training.loop import train


def _without(part: str) -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        config.data.mix = tuple((name, weight) for name, weight in config.data.mix if part not in name)

    return change


def _forearms(kind: str) -> Callable[[ConfigDict], None]:
    """Uses data/forearms_KIND for the sources with forearms; omits them if `kind` is empty."""

    def change(config: ConfigDict) -> None:
        config.data.mix = tuple(
            (f"./data/forearms_{kind}/{Path(name).name}" if Path(name).name in FOREARMS else name, weight)
            for name, weight in config.data.mix
            if kind or Path(name).name not in FOREARMS
        )

    return change


def _from_nothing(config: ConfigDict) -> None:
    config.init_from = ""
    config.model.batch_norm = "local"  # there are no statistics to freeze


def _no_pastes(config: ConfigDict) -> None:
    config.paste.sources = ()
    _without("ccp_skin")(config)  # without pastes, its pictures are only background


VARIATIONS: dict[str, Callable[[ConfigDict], None]] = {
    "recipe": _forearms("background"),
    "no_trunk": _from_nothing,
    "no_pastes": _no_pastes,
    "no_arms": lambda config: config.paste.update(arm=0.0),
    "forearms_void": _forearms("void"),
    "forearms_hand": _forearms("hand"),
    "no_forearm_sources": _forearms(""),
    "no_drawn_hands": _without("synthetic_hands"),
}


def score(workdir: Path, source: Source) -> dict[str, float]:
    """Returns hand IoU, precision and recall over all pixels."""
    segmenter = Segmenter.from_checkpoint(workdir)
    counts = np.zeros((2, 2), np.int64)
    for index in range(len(source)):
        example = source[index]
        counts += metrics.count(example["mask"], segmenter(example["image"]).mask, 2)
    return {name: float(value) for name, value in metrics.hand_scores(counts).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--init-from", required=True, help="weights of the trunk")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data-dir", default="", help="folder of the built datasets (default: that of TFDS)")
    parser.add_argument("--only", nargs="+", choices=VARIATIONS, default=list(VARIATIONS))
    args = parser.parse_args()
    print("| variation | hand IoU | precision | recall |\n|---|---|---|---|", flush=True)
    for name in args.only:
        config = pretrained.get_config()
        config.init_from = args.init_from
        config.data.dir = args.data_dir
        config.num_steps = config.eval_every = args.steps
        config.ema_decay = 0.99
        VARIATIONS[name](config)
        train(config, args.output / name)
        source = open_source(config.data.name, config.data.eval_split)
        print(
            "| {} | {iou:.3f} | {precision:.3f} | {recall:.3f} |".format(name, **score(args.output / name, source)),
            flush=True,
        )


if __name__ == "__main__":
    main()
