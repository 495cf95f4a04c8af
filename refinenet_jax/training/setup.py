"""Creates and checks everything that a training run needs, before anything is compiled or written."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import optax
from ml_collections import ConfigDict

from refinenet_jax import checkpoint, models, parallel, processes
from refinenet_jax.data import sources
from refinenet_jax.data.augment import Augmentation
from refinenet_jax.data.examples import DatasetInfo, Source
from refinenet_jax.data.mix import Mix, open_mix, require_same_classes
from refinenet_jax.data.paste import CopyPaste
from refinenet_jax.errors import UsageError, require
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.training import init, losses, optim, step
from refinenet_jax.weights.recognize import Network

# Entries of model.json that define what the parameters mean: runs that differ in them need different folders.
IDENTITY = ("variant", "class_names", "flip_pairs", "input_scale", *models.OPTIONS)


@dataclass(frozen=True)
class Setup:
    """A run that is ready to start.

    Attributes:
      mix: training datasets with weights.
      eval_source: evaluation dataset.
      augmentation: augmentation of training examples.
      paste: augmentation that pastes objects onto training crops, or None.
      network: the weights file that the run starts from, or None.
      model: the network.
      schedule: learning rate by step.
      optimizer: result of `create_optimizer`.
      train_step: function (state, batch) -> (state, figures) for one device, under a mapped axis; see `parallel_step`.
      description: content of model.json.
      position: values that must not change for a run to resume exactly, as JSON: those that define the examples of each step
        and the structure of the state.
    """

    mix: Mix
    eval_source: Source
    augmentation: Augmentation
    paste: CopyPaste | None
    network: Network | None
    model: models.RefineNet
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    train_step: Callable
    description: dict
    position: dict

    def create_state(self, variables: dict) -> step.TrainState:
        """Returns the state before the first step."""
        return step.create_state(variables, self.optimizer, self.position["ema"])


def prepare(config: ConfigDict, workdir: str | os.PathLike) -> Setup:
    """Creates a run from its config.

    Raises:
      UsageError: the config, the data or the folder is invalid.
    """
    parallel.check_batch_size(config.batch_size, "config.batch_size")
    if config.deterministic and processes.DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise UsageError(
            "config.deterministic has no effect once JAX runs: python -m refinenet_jax.main sets it in time; elsewhere set "
            f"XLA_FLAGS={processes.DETERMINISTIC} before the program starts."
        )
    _check_numbers(config)
    require(config.parallel, parallel.KINDS, "config.parallel")
    require(config.loss_resolution, step.RESOLUTIONS, "config.loss_resolution")
    require(config.model.variant, models.VARIANTS, "variant")
    network = init.read_file(workdir, config.init_from)
    init.check_batch_norm(config.model.batch_norm, workdir, config.init_from, network)
    augmentation = Augmentation(**config.augment)
    schedule = optim.create_schedule(num_steps=config.num_steps, **config.schedule)
    optimizer = optim.create_optimizer(schedule=schedule, **config.optimizer)
    eval_source = sources.open_source(config.data.name, config.data.eval_split, config.data.dir)
    mix = open_mix(config.data.mix or ((config.data.name, 1.0),), config.data.train_split, config.data.dir)
    info = eval_source.info
    require_same_classes(info, mix[0][0].info)
    paste = open_paste(config)
    if paste:
        require_same_classes(info, paste.sources[0][0].info)
    loss = config.loss.to_dict()
    losses.check_options(info.num_classes, **loss)
    model = models.create_model(
        config.model.variant,
        info.num_classes,
        batch_norm=config.model.batch_norm,
        dropout=config.model.dropout,
        dtype=config.model.dtype,
        remat=config.model.remat,
        input_scale=config.model.input_scale,
        precision=config.model.precision,
        **init.options(workdir, config.init_from, network),
    )
    train_step = partial(
        step.train_step,
        model=model,
        optimizer=optimizer,
        seed=config.seed,
        loss=loss,
        loss_resolution=config.loss_resolution,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
    )
    for source, _ in mix:
        sources.check_masks(source, tolerant=config.data.max_faults > 0)
    for source, _ in paste.sources if paste else ():
        sources.check_masks(source, negatives=False)
    sources.check_masks(eval_source)
    description = describe(config, info, model)
    checkpoint.check_description(workdir, description, IDENTITY)
    return Setup(
        mix=mix,
        eval_source=eval_source,
        augmentation=augmentation,
        paste=paste,
        network=network,
        model=model,
        schedule=schedule,
        optimizer=optimizer,
        train_step=train_step,
        description=description,
        position={
            "seed": config.seed,
            "batch_size": config.batch_size,
            "overfit_batches": config.overfit_batches,
            "optimizer": config.optimizer.name,
            "ema": config.ema_decay > 0,
            "examples": _contents(mix),
            **({"paste": _contents(paste.sources)} if paste else {}),
        },
    )


def open_paste(config: ConfigDict) -> CopyPaste | None:
    """Opens the sources of pasted objects, if the config has any.

    Raises:
      UsageError: a setting or a source is invalid.
    """
    options = config.paste.to_dict()
    sources = options.pop("sources")
    if not sources:
        return None
    return CopyPaste(open_mix(sources, config.data.train_split, config.data.dir), **options)


def _contents(mix: Mix) -> list[list]:
    """Returns name, weight and number of examples of each source, as JSON."""
    return [[source.info.name, weight, len(source)] for source, weight in mix]


def create_segmenter(config: ConfigDict, setup: Setup) -> Segmenter:
    """Returns the segmenter for evaluation, still without weights."""
    info = setup.eval_source.info
    scales = tuple(config.evaluate.scales)
    side = config.evaluate.longest_side
    return Segmenter(
        setup.model, {}, info.class_names, info.flip_pairs, scales, config.evaluate.flip, longest_side=side
    )


def describe(config: ConfigDict, info: DatasetInfo, model: models.RefineNet) -> dict:
    """Returns the content of model.json: everything that defines the network and the meaning of its output."""
    return {
        "variant": config.model.variant,
        "class_names": list(info.class_names),
        "flip_pairs": [list(pair) for pair in info.flip_pairs],
        **{name: getattr(model, name) for name in (*models.OPTIONS, "input_scale")},
        "dtype": config.model.dtype,
        "precision": config.model.precision,
        "scales": list(config.evaluate.scales),
        "longest_side": config.evaluate.longest_side,
        "flip": config.evaluate.flip,
        "dataset": info.name,
    }


def _check_numbers(config: ConfigDict) -> None:
    if config.num_steps < 1:
        raise UsageError(f"config.num_steps is {config.num_steps}. Set --config.num_steps to the length of the run.")
    for name in ("log_every", "eval_every", "checkpoint_every", "accumulate", "keep_checkpoints"):
        if config[name] < 1:
            raise UsageError(f"config.{name} is {config[name]}; it must be at least 1.")
    for name in ("overfit_batches", "early_stopping", "max_skipped_steps"):
        if config[name] < 0:
            raise UsageError(f"config.{name} is {config[name]}; it must not be negative.")
    if not 0 <= config.ema_decay < 1:
        raise UsageError(
            f"config.ema_decay is {config.ema_decay}. Choose 0 to disable it, or a number below 1 such as 0.999."
        )
    share = config.batch_size // jax.device_count()
    if share % config.accumulate:
        raise UsageError(
            f"config.accumulate is {config.accumulate}, which does not divide the {share} examples of each device. "
            "Choose another --config.accumulate or --config.batch_size."
        )
