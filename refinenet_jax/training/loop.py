"""The training loop; everything numeric is elsewhere."""

import os
from contextlib import ExitStack, closing
from dataclasses import replace

import jax
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import checkpoint, integrity, parallel, visualize
from refinenet_jax.data.examples import DataError, Source
from refinenet_jax.data.pipeline import train_batches
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import evaluate, metrics
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say
from refinenet_jax.training import init, meter, optim, report
from refinenet_jax.training.log import Log
from refinenet_jax.training.setup import Setup, create_segmenter, prepare
from refinenet_jax.training.step import TrainState
from refinenet_jax.training.watch import Watch

PICTURES = 4  # on TensorBoard, at each evaluation
EXIT_TERMINATED = 143  # 128 + SIGTERM: all is saved, the same command goes on


def train(config: ConfigDict, workdir: str | os.PathLike) -> dict:
    """Trains as `config` says, or goes on where the run in `workdir` stopped.

    Args:
      config: see `configs/common.py`.
      workdir: folder of the run: checkpoints, model.json, log.jsonl, TensorBoard events, report.html.

    Returns:
      The summary of the last evaluation (`metrics.summarize`); empty if the run was complete already.

    Raises:
      UsageError: anything wrong with the config, the data or the folder, before anything is compiled or written; later,
        where too many steps or examples are of no use.
      SystemExit: EXIT_TERMINATED, after a SIGTERM.
    """
    setup = prepare(config, workdir)
    with ExitStack() as stack:
        _hold(stack, workdir)
        is_new = checkpoint.recover(workdir) is None
        init_from = config.init_from if is_new else ""
        state = setup.create_state(init.initial_variables(setup.model, config.seed, init_from))
        if parallel.is_main_process():
            checkpoint.write_description(workdir, setup.description)
        checkpoints = stack.enter_context(closing(checkpoint.Checkpoints(workdir, keep_latest=config.keep_checkpoints)))
        state, history = _resume(state, checkpoints, setup.position)
        is_done = int(state.step) >= config.num_steps
        if is_done or optim.should_stop(history["scores"], config.early_stopping):
            cure = "Raise --config.num_steps" if is_done else "Raise --config.early_stopping (or set it to 0)"
            say(f"{workdir} is complete: {int(state.step)} steps. {cure} to go on.")
            return {}
        summary = _run(config, workdir, setup, parallel.replicate(state), history, checkpoints, stack)
    say(f"Report: {report.write_report(workdir)}")
    return summary


def _hold(stack: ExitStack, workdir: str | os.PathLike) -> None:
    """Keeps others out of the folder until the stack is left; a refusal reaches every process."""
    refused = None
    try:
        stack.enter_context(integrity.hold(workdir))
    except UsageError as error:
        refused = error
    parallel.agree(refused)


def _run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    setup: Setup,
    state: TrainState,
    history: dict,
    checkpoints: checkpoint.Checkpoints,
    stack: ExitStack,
) -> dict:
    """Takes the steps. `history` is what the checkpoints tell of the evaluations and faults so far."""
    # ---- What watches.
    first_step = int(state.step)
    info = setup.eval_source.info
    log = stack.enter_context(closing(Log(workdir, first_step)))
    if first_step:
        say(f"Going on behind step {first_step} of {config.num_steps} in {workdir}")
        log.event(first_step, "resumed")
    writer = stack.enter_context(closing(meter.EventWriter(workdir)))
    shown = meter.Meter(
        first_step,
        config.num_steps,
        config.batch_size,
        setup.schedule,
        info.class_names,
        log,
        skipped=history["skipped_steps"],
    )
    stack.enter_context(closing(shown))
    shown.set_rate_factor(_rate_factor(config, history))
    profile = stack.enter_context(closing(meter.Profile(workdir, config.profile_steps)))
    stop = stack.enter_context(parallel.StopSignal())
    watch = Watch(config.max_skipped_steps, config.data.max_faults, history, log)
    segmenter = create_segmenter(config, setup)

    # ---- Batch i is a function of the position and of i alone.
    batches = train_batches(
        setup.mix,
        setup.augmentation,
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=first_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.data.num_workers,
        overfit_batches=config.overfit_batches,
        paste=setup.paste,
    )
    batches = stack.enter_context(closing(parallel.prefetch(batches, config.parallel)))

    # ---- Train.
    def score(state: TrainState, number: int) -> tuple[TrainState, dict]:
        """Evaluates the state, and sets the learning rate that follows from it."""
        with shown.paused():
            trained = segmenter.with_variables(state.variables)
            counts = evaluate.count(trained, setup.eval_source, config.evaluate.batch_size)
            summary = metrics.summarize(counts, info.class_names)
            pictures = _pictures(trained, setup.eval_source)
        history["scores"].append(summary["mean_iou"])
        history["evaluated"] = number
        factor = _rate_factor(config, history)
        shown.evaluated(number, summary)
        shown.set_rate_factor(factor)
        writer.write_scalars(number, {f"eval_{k}": v for k, v in summary.items() if isinstance(v, float)})
        writer.write_images(number, {"image_truth_prediction": pictures[None]})
        return replace(state, opt_state=optim.set_rate_factor(state.opt_state, factor)), summary

    def save(state: TrainState, number: int, summary: dict | None) -> None:
        watch.report()  # first, for its counts belong to the checkpoint
        checkpoints.save(
            number, state.variables, _rest(state), {"position": setup.position, "history": history}, summary
        )

    train_step = parallel.parallel_step(setup.train_step, config.parallel)
    summary = None
    if first_step and first_step % config.eval_every == 0 and history["evaluated"] != first_step:
        state, summary = score(state, first_step)  # it was terminated where an evaluation was due
    for number in range(first_step + 1, config.num_steps + 1):
        profile.tick(number, state)
        batch, about = next(batches)
        state, figures = train_step(state, batch)
        shown.add(figures)
        watch.batch(number, about, figures["skipped"])
        last = number == config.num_steps
        terminated = stop.requested(number) and not last
        if last or terminated or number % config.log_every == 0:
            writer.write_scalars(number, shown.log(number))
            watch.report()
        if terminated:
            save(state, number, None)
            say(f"Asked to stop: step {number} is saved in {workdir}; the same command goes on.")
            log.event(number, "terminated")
            raise SystemExit(EXIT_TERMINATED)
        if last or number % config.eval_every == 0:
            try:
                state, summary = score(state, number)
            except DataError:  # an example to be scored cannot be read; the steps up to here are not lost
                save(state, number, None)
                raise
            save(state, number, summary)
            if optim.should_stop(history["scores"], config.early_stopping):
                say(f"Stopped at step {number}: no better mean IoU in the last {config.early_stopping} evaluations.")
                log.event(number, "stopped early")
                break
        elif number % config.checkpoint_every == 0:
            save(state, number, None)
    return summary


def _rate_factor(config: ConfigDict, history: dict) -> float:
    """What the plateau schedule makes of the evaluations so far; 1 in all other schedules."""
    if config.schedule.name != "plateau":
        return 1.0
    return optim.plateau_factor(history["scores"], config.schedule.patience, config.schedule.decay_rate)


def _rest(state: TrainState) -> dict:
    """What a checkpoint holds beside the variables that are evaluated and used."""
    rest = {"step": state.step, "opt_state": state.opt_state}
    return rest if state.ema_params is None else {**rest, "params": state.params}


def _resume(state: TrainState, checkpoints: checkpoint.Checkpoints, position: dict) -> tuple[TrainState, dict]:
    """The state and the history in the latest checkpoint; if there is none, the given state and no history."""
    if checkpoints.latest_step is None:
        return state, {"scores": [], "evaluated": 0, "skipped_steps": 0, "faults": {}}
    saved = checkpoints.restore_data()
    if "position" not in saved:
        raise checkpoint.CheckpointError(
            "The run was made by an older version, which kept less; start from it in another folder: --config.init_from=..."
        )
    there = saved["position"]
    if there != position:
        keys = {**there, **position}
        changed = ", ".join(
            f"{k} was {there.get(k)}, is {position.get(k)}" for k in keys if there.get(k) != position.get(k)
        )
        raise checkpoint.CheckpointError(
            f"The run cannot go on exactly: {changed}. Use the same, or another --workdir with --config.init_from."
        )

    def wanted(tree: dict) -> dict:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.replicated()), tree)

    variables, rest = checkpoints.restore(wanted(state.variables), wanted(_rest(state)))
    used = variables["params"]
    averaged = {} if state.ema_params is None else {"ema_params": used}
    params = rest.pop("params", used)
    return replace(state, params=params, batch_stats=variables["batch_stats"], **averaged, **rest), saved["history"]


def _pictures(segmenter: Segmenter, source: Source) -> np.ndarray:
    rows, captions = [], []
    for index in np.linspace(0, len(source) - 1, PICTURES).astype(int):
        example = source[int(index)]
        image = example["image"]
        rows.append((image, visualize.overlay(image, example["mask"]), segmenter(image).overlay()))
        captions.append(example["id"])
    return visualize.gallery(rows, captions)
