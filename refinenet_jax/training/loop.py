"""The training loop."""

import os
from contextlib import ExitStack, closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import checkpoint, integrity, parallel, run_config, visualize
from refinenet_jax.data.examples import Source
from refinenet_jax.data.pipeline import train_batches
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import evaluate, metrics
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say
from refinenet_jax.training import init, meter, optim, report
from refinenet_jax.training.failures import FailureMonitor
from refinenet_jax.training.log import Log
from refinenet_jax.training.setup import Setup, create_segmenter, prepare
from refinenet_jax.training.step import TrainState

PICTURES = 4  # number of pictures on TensorBoard at each evaluation
EXIT_TERMINATED = 143  # 128 + SIGTERM: everything is saved, and the same command resumes


def train(config: ConfigDict, workdir: str | os.PathLike) -> dict:
    """Trains as configured, or resumes the run in `workdir`.

    Args:
      config: configuration, see `configs/common.py`.
      workdir: folder of the run: checkpoints, config.json, model.json, log.jsonl, TensorBoard events, report.html.

    Returns:
      The summary of the last evaluation (`metrics.summarize`); empty if the run was already complete.

    Raises:
      UsageError: the config, the data or the folder is invalid; raised before anything is compiled or written. Later, after
        saving, if too many steps or examples have failed. With several processes it is raised on all of them.
      SystemExit: EXIT_TERMINATED, after a SIGTERM.
      KeyboardInterrupt: after Ctrl-C. Both are raised after the current step, with all steps saved.
    """
    with parallel.raise_on_all_processes():
        setup = prepare(config, workdir)
    parallel.require_same_on_all_processes(
        {**run_config.flatten(config), "the data": setup.position}, "Start all with the same command on the same data."
    )
    with ExitStack() as stack:
        with parallel.raise_on_all_processes():
            stack.enter_context(integrity.lock_workdir(workdir))
        is_new = checkpoint.recover(workdir) is None
        init_from = config.init_from if is_new else ""
        variables = init.initial_variables(setup.model, config.seed, init_from, setup.network)
        state = setup.create_state(variables)
        if parallel.is_main_process():
            checkpoint.write_description(workdir, setup.description)
        checkpoints = stack.enter_context(closing(checkpoint.Checkpoints(workdir, keep_latest=config.keep_checkpoints)))
        state, history = _resume(state, checkpoints, setup.position)
        step = int(state.step)
        is_done = step >= config.num_steps and history["evaluated"] == step
        if is_done or optim.should_stop(history["scores"], config.early_stopping):
            fix = "Raise --config.num_steps" if is_done else "Raise --config.early_stopping (or set it to 0)"
            say(f"{workdir} is complete: {step} steps. {fix} to train longer.")
            return {}
        summary = _run(config, workdir, setup, parallel.replicate(state), history, checkpoints, stack)
    say(f"Report: {report.write_report(workdir)}")
    return summary


def _run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    setup: Setup,
    state: TrainState,
    history: dict,
    checkpoints: checkpoint.Checkpoints,
    stack: ExitStack,
) -> dict:
    """Runs the steps. `history` holds the evaluations and failures so far, as in the checkpoints."""
    # ---- Logs and monitors.
    first_step = int(state.step)
    info = setup.eval_source.info
    log = stack.enter_context(closing(Log(workdir, first_step)))
    if first_step:
        say(f"Resuming after step {first_step} of {config.num_steps} in {workdir}")
        log.event(first_step, "resumed")
    _keep_config(config, workdir, first_step, log)
    writer = stack.enter_context(closing(meter.create_writer(workdir)))
    speed = meter.Meter(first_step, config.batch_size, setup.schedule, info.class_names, history["skipped_steps"])
    profile = stack.enter_context(closing(meter.Profile(workdir, config.profile_steps)))
    stop = stack.enter_context(parallel.StopSignal())
    failures = FailureMonitor(config.max_skipped_steps, config.data.max_faults, history, log)
    segmenter = create_segmenter(config, setup)

    # ---- Batch i depends only on the position and i.
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
    def set_rate(state: TrainState) -> TrainState:
        """Sets the learning rate that follows from the evaluations so far."""
        factor = 1.0
        if config.schedule.name == "plateau":
            factor = optim.plateau_factor(history["scores"], config.schedule.patience, config.schedule.decay_rate)
        speed.set_rate_factor(factor)
        return replace(state, opt_state=optim.set_rate_factor(state.opt_state, factor))

    def score(state: TrainState, number: int) -> tuple[TrainState, dict]:
        """Evaluates the state; returns it with the new learning rate, and the scores."""
        with speed.paused():
            trained = segmenter.with_variables(state.variables)
            counts = evaluate.count(trained, setup.eval_source, config.evaluate.batch_size)
            summary = metrics.summarize(counts, info.class_names)
            with parallel.raise_on_all_processes():
                if parallel.is_main_process():
                    pictures = _pictures(trained, setup.eval_source)
                    writer.write_images(number, {"image_truth_prediction": pictures[None]})
        writer.write_scalars(number, {f"eval_{k}": v for k, v in summary.items() if isinstance(v, float)})
        log.write(number, "evaluation", summary)
        hand, mean = ("none" if summary[key] is None else f"{summary[key]:.4f}" for key in ("hand_iou", "mean_iou"))
        say(f"step {number}/{config.num_steps}  evaluation: hand IoU {hand}  mean IoU {mean}")
        history["scores"].append(summary["mean_iou"])
        history["evaluated"] = number
        return set_rate(state), summary

    def should_stop(number: int) -> bool:
        if optim.should_stop(history["scores"], config.early_stopping):
            say(f"Stopped at step {number}: no better mean IoU in the last {config.early_stopping} evaluations.")
            log.event(number, "stopped early")
            return True
        return False

    def save(state: TrainState, number: int, summary: dict | None) -> None:
        log.flush()
        data = {"position": setup.position, "history": history}
        checkpoints.save(number, state.variables, _optimizer_tree(state), data, summary)

    train_step = parallel.parallel_step(setup.train_step, config.parallel)
    state = set_rate(state)
    summary = None
    try:
        is_due = first_step and (first_step % config.eval_every == 0 or first_step >= config.num_steps)
        if is_due and history["evaluated"] != first_step:  # the run stopped before or during the evaluation
            state, summary = score(state, first_step)
            checkpoints.add_metrics(first_step, summary)
            if should_stop(first_step):
                return summary
        for number in range(first_step + 1, config.num_steps + 1):
            profile.tick(number, state)
            batch, names = next(batches)
            state, figures = train_step(state, batch)
            speed.add(figures)
            failures.record(number, names, figures["skipped"])
            is_last = number == config.num_steps
            is_terminated = stop.requested(number) and not is_last
            is_evaluated = is_last or number % config.eval_every == 0
            is_saved = is_terminated or is_evaluated or number % config.checkpoint_every == 0
            if is_last or is_terminated or number % config.log_every == 0:
                scalars = speed.scalars(number)
                say(meter.line(number, config.num_steps, config.batch_size, scalars))
                log.write(number, "train", scalars)
                writer.write_scalars(number, scalars)
                failures.report()
            elif is_saved:
                failures.report()  # before the checkpoint, which stores its counts
            if is_terminated:
                save(state, number, None)
                say(f"Stopped by request: step {number} is saved in {workdir}. Run the same command to resume.")
                log.event(number, "terminated")
                raise KeyboardInterrupt if stop.is_interrupt else SystemExit(EXIT_TERMINATED)
            if is_evaluated:
                state, summary = score(state, number)
            if is_saved:
                save(state, number, summary if is_evaluated else None)
            if is_evaluated and should_stop(number):
                break
    except checkpoint.CheckpointError:
        raise
    except UsageError:  # raised on all processes; save the steps so far
        save(state, int(state.step), None)
        raise
    return summary


def _keep_config(config: ConfigDict, workdir: str | os.PathLike, step: int, log: Log) -> None:
    """Prints and logs changes of the config since the previous start of the run, and writes config.json."""
    if not parallel.is_main_process():
        return
    before = run_config.read(workdir) if step else None
    changes = {} if before is None else run_config.differences(before, config)
    if changes:
        listed = "".join(f"\n  config.{name}: {old!r} -> {new!r}" for name, (old, new) in changes.items())
        say(f"The config of this run has changed:{listed}")
        log.event(step, "config changed", changes=changes)
    run_config.write(workdir, config)


def _optimizer_tree(state: TrainState) -> dict:
    """Returns the part of a checkpoint that is not evaluated."""
    tree = {"step": state.step, "opt_state": state.opt_state}
    return tree if state.ema is None else {**tree, **state.trained}


def _resume(state: TrainState, checkpoints: checkpoint.Checkpoints, position: dict) -> tuple[TrainState, dict]:
    """Returns state and history of the latest checkpoint, or the given state and an empty history if there is none."""
    if checkpoints.latest_step is None:
        return state, {"scores": [], "evaluated": 0, "skipped_steps": 0, "faults": {}}
    saved = checkpoints.restore_data()
    if "position" not in saved:
        raise checkpoint.CheckpointError(
            "The run was made by an older version, which saved less. Start from it in another folder: --config.init_from=..."
        )
    before = saved["position"]
    if before != position:
        keys = [key for key in {**before, **position} if before.get(key) != position.get(key)]
        changed = ", ".join(f"{key} was {before.get(key)}, is {position.get(key)}" for key in keys)
        raise checkpoint.CheckpointError(
            f"The run cannot be resumed exactly: {changed}. Restore these values, or choose another --workdir with"
            " --config.init_from."
        )

    def wanted(tree: dict) -> dict:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.replicated()), tree)

    entries = checkpoints.optimizer_entries()
    tree = {name: part for name, part in _optimizer_tree(state).items() if name in entries}
    variables, rest = checkpoints.restore(wanted(state.variables), wanted(tree))
    ema = None if state.ema is None else variables
    if ema and "batch_stats" not in rest:  # a run of an older version, which averaged only the parameters
        rest["batch_stats"] = jax.tree.map(jnp.copy, variables["batch_stats"])  # both are donated to the step
    state = replace(state, **{**variables, **rest}, ema=ema)
    history, latest_metrics = saved["history"], checkpoints.metrics(checkpoints.latest_step)
    if (
        latest_metrics is not None and history["evaluated"] != checkpoints.latest_step
    ):  # the scores were added after the checkpoint was written
        history["scores"].append(latest_metrics["mean_iou"])
        history["evaluated"] = checkpoints.latest_step
    return state, history


def _pictures(segmenter: Segmenter, source: Source) -> np.ndarray:
    rows, captions = [], []
    for index in np.linspace(0, len(source) - 1, PICTURES).astype(int):
        example = source[int(index)]
        image = example["image"]
        rows.append((image, visualize.overlay(image, example["mask"]), segmenter(image).overlay()))
        captions.append(example["id"])
    return visualize.gallery(rows, captions)
