"""The training loop; everything numeric is elsewhere."""

import os
from contextlib import closing
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import checkpoint, data, models, parallel, visualize
from refinenet_jax.errors import UsageError, require
from refinenet_jax.evaluation import metrics
from refinenet_jax.evaluation.evaluate import make_evaluate
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say
from refinenet_jax.training import init, meter, optim, step

PICTURES = 4  # on TensorBoard, at each evaluation


def train(config: ConfigDict, workdir: str | os.PathLike) -> dict:
    """Trains as `config` says, or goes on where the run in `workdir` stopped.

    Args:
      config: see `configs/common.py`.
      workdir: folder of the run: checkpoints, model.json, TensorBoard events.

    Returns:
      The summary of the last evaluation (`metrics.summarise`); empty if the run was complete already.

    Raises:
      UsageError: anything wrong with the config, the data or the folder, before anything is compiled or written.
    """
    # ---- Look at all that can be wrong.
    parallel.check_batch_size(config.batch_size, "config.batch_size")
    if config.num_steps < 1:
        raise UsageError(f"config.num_steps is {config.num_steps}; set --config.num_steps to the length of the run.")
    require(config.loss_resolution, step.RESOLUTIONS, "config.loss_resolution")
    require(config.model.variant, models.VARIANTS, "variant")
    augmentation = data.Augmentation(**config.augment)
    schedule = optim.create_schedule(num_steps=config.num_steps, **config.schedule)
    optimizer = optim.create_optimizer(schedule=schedule, **config.optimizer)
    eval_source = data.open_source(config.data.name, config.data.eval_split, config.data.dir)
    mix = data.open_mix(config.data.mix or ((config.data.name, 1.0),), config.data.train_split, config.data.dir)
    info = eval_source.info
    data.require_same_classes(info, mix[0][0].info)
    model = models.create_model(
        config.model.variant,
        info.num_classes,
        batch_norm=config.model.batch_norm,
        dropout=config.model.dropout,
        dtype=config.model.dtype,
    )
    train_step = partial(
        step.train_step,
        model=model,
        optimizer=optimizer,
        seed=config.seed,
        input_scale=config.model.input_scale,
        loss_resolution=config.loss_resolution,
    )
    parallel_step = parallel.parallel_step(train_step, config.parallel)
    for source in (*(source for source, _ in mix), eval_source):
        data.check_masks(source)
    description = describe(config, info)
    checkpoint.check_description(workdir, description)

    # ---- State, and where in the data it stands: batch i is a function of these and of i alone.
    is_new = checkpoint.latest_step(workdir) is None
    variables = init.initial_variables(model, config.seed, config.init_from if is_new else "")
    state = step.create_state(variables, optimizer)
    if parallel.is_main_process():
        checkpoint.write_description(workdir, description)
    checkpoints = checkpoint.Checkpoints(workdir, keep_latest=config.keep_checkpoints)
    examples = [[source.info.name, weight, len(source)] for source, weight in mix]
    position = {"seed": config.seed, "batch_size": config.batch_size, "examples": examples}
    state = parallel.replicate(_resume(state, checkpoints, position))
    first_step = int(state.step)
    if first_step >= config.num_steps:
        say(f"{workdir} is complete: {first_step} steps. Raise --config.num_steps to go on.")
        checkpoints.close()
        return {}
    if first_step:
        say(f"Going on behind step {first_step} of {config.num_steps} in {workdir}")

    # ---- Train.
    segmenter = Segmenter(
        model,
        {},
        info.class_names,
        info.flip_pairs,
        config.model.input_scale,
        tuple(config.evaluate.scales),
        config.evaluate.flip,
    )
    evaluate = make_evaluate(segmenter)
    batches = data.train_batches(
        mix,
        augmentation,
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=first_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.data.num_workers,
    )
    shown = meter.Meter(first_step, config.num_steps, config.batch_size, schedule, info.class_names)
    with closing(batches), closing(checkpoints), closing(meter.create_writer(workdir)) as writer, closing(shown):
        for number in range(first_step + 1, config.num_steps + 1):
            state, sums = parallel_step(state, next(batches))
            shown.add(sums)
            last = number == config.num_steps
            if last or number % config.log_every == 0:
                writer.write_scalars(number, shown.log(number))
            summary = None
            if last or number % config.eval_every == 0:
                counts = evaluate(state.variables, eval_source, config.evaluate.batch_size)
                summary = metrics.summarise(counts, info.class_names)
                shown.evaluated(number, summary)
                writer.write_scalars(number, {f"eval_{k}": v for k, v in summary.items() if isinstance(v, float)})
                pictures = _pictures(segmenter.with_variables(state.variables), eval_source)
                writer.write_images(number, {"image_truth_prediction": pictures[None]})
            if summary or number % config.checkpoint_every == 0:
                checkpoints.save(number, state.variables, _rest(state), position, summary)
    return summary


def describe(config: ConfigDict, info: data.DatasetInfo) -> dict:
    """What model.json says: all that makes the network and gives its output a meaning."""
    return {
        "variant": config.model.variant,
        "class_names": info.class_names,
        "flip_pairs": info.flip_pairs,
        "input_scale": config.model.input_scale,
        "normalisation": "imagenet",
        "dtype": config.model.dtype,
        "scales": tuple(config.evaluate.scales),
        "flip": config.evaluate.flip,
        "dataset": info.name,
    }


def _rest(state: step.TrainState) -> dict:
    return {"step": state.step, "opt_state": state.opt_state}


def _resume(state: step.TrainState, checkpoints: checkpoint.Checkpoints, position: dict) -> step.TrainState:
    """The state of the latest checkpoint, if there is one."""
    if checkpoints.latest_step is None:
        return state

    def wanted(tree: dict) -> dict:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.replicated()), tree)

    variables, rest, saved = checkpoints.restore(wanted(state.variables), wanted(_rest(state)))
    if saved != position:
        changed = ", ".join(f"{k} was {saved.get(k)}, is {v}" for k, v in position.items() if saved.get(k) != v)
        raise checkpoint.CheckpointError(
            f"The run cannot go on exactly: {changed}. Use the same, or another --workdir with --config.init_from."
        )
    return step.TrainState(params=variables["params"], batch_stats=variables["batch_stats"], **rest)


def _pictures(segmenter: Segmenter, source: data.Source) -> np.ndarray:
    rows, captions = [], []
    for index in np.linspace(0, len(source) - 1, PICTURES).astype(int):
        example = source[int(index)]
        image = example["image"]
        rows.append((image, visualize.overlay(image, example["mask"]), segmenter(image).overlay()))
        captions.append(example["id"])
    return visualize.gallery(rows, captions)
