"""Short training runs of the tiny network on the tiny pictures."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny
from ml_collections import ConfigDict

from configs import common
from refinenet_jax import checkpoint, models
from refinenet_jax.data import mix, sources
from refinenet_jax.data.examples import DataError
from refinenet_jax.training import optim, step

SIZES = [(40, 48), (48, 40), (36, 36)] * 4
TRAIN = tiny.Pictures(SIZES)
EVALUATION = tiny.Pictures([(40, 48), (33, 40), (40, 48)], seed=1)


def use(patch: pytest.MonkeyPatch, train=TRAIN, evaluation=EVALUATION) -> None:
    """Makes every dataset name mean these sources, and every variant the tiny network."""
    patch.setattr(models, "create_model", tiny.create_model)
    open_sources(patch, lambda name, split, folder: train if split == "train" else evaluation)


def open_sources(patch: pytest.MonkeyPatch, open_source) -> None:
    """Makes dataset names mean what `open_source(name, split, folder)` returns."""
    patch.setattr(sources, "open_source", open_source)
    patch.setattr(mix, "open_source", open_source)


def config(**changes) -> ConfigDict:
    """Returns a config of six steps with two evaluations, with changes by dotted name."""
    config = common.get_config()
    config.data.name = "squares"
    config.model.batch_norm = "synchronized"
    config.model.dropout = 0.1
    config.augment.crop_size = 32
    config.augment.short_edge = None
    config.augment.scales = (0.9, 1.0)
    config.augment.crop = "random"
    config.batch_size = 8
    config.num_steps = 6
    config.schedule.learning_rate = 0.1
    config.schedule.warmup_steps = 4  # a schedule that starts again at a resume gives other weights
    config.log_every = 1
    config.eval_every = 3
    config.checkpoint_every = 2
    config.keep_checkpoints = 4
    config.evaluate.scales = (1.0,)
    config.evaluate.batch_size = 8
    config.update_from_flattened_dict(changes)
    return config


def restore(workdir: str | os.PathLike, ema: bool = False) -> tuple[dict, dict, dict]:
    """Returns everything in the latest checkpoint of a run with the optimizer of `config`: model, optimizer, data."""
    options = config()
    schedule = optim.create_schedule(num_steps=options.num_steps, **options.schedule)
    optimizer = optim.create_optimizer(schedule=schedule, **options.optimizer)
    state = step.create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer)
    rest = {"step": state.step, "opt_state": state.opt_state, **(state.variables if ema else {})}
    checkpoints = checkpoint.Checkpoints(workdir)
    restored = checkpoints.restore(state.variables, rest)
    data = checkpoints.restore_data()
    checkpoints.close()
    return *restored, data


class Damaged(tiny.Pictures):
    """Pictures of which one cannot be read."""

    def __init__(self, index: int, sizes=SIZES):
        super().__init__(sizes)
        self._index = index

    def __getitem__(self, index):
        if index == self._index:
            raise DataError(f"picture {index} is cut short", "undecodable")
        return super().__getitem__(index)


def files(folder: Path) -> dict[Path, int]:
    """Returns the modification time in nanoseconds of each file below a folder."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
