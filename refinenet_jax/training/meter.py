"""Metrics of a training run: means, speed and remaining time, TensorBoard events, and profiles."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from refinenet_jax import integrity, parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import metrics
from refinenet_jax.progress import say

_WAITING = 64  # steps whose results may stay on the device, so that reading them does not wait for it


class Meter:
    """Averages the results of the steps."""

    def __init__(
        self, step: int, batch_size: int, schedule: optax.Schedule, class_names: tuple[str, ...], skipped: int = 0
    ):
        """Starts after `step`; `skipped` of the steps so far do not count in the optimizer's schedule."""
        self._step, self._batch_size, self._schedule, self._class_names = step, batch_size, schedule, class_names
        self._skipped = skipped
        self._rate_factor = 1.0
        self._waiting: list[Mapping[str, Any]] = []
        self._since: float | None = None
        self._clear()

    def add(self, figures: Mapping[str, Any]) -> None:
        """Adds the results of a step, without waiting for the device.

        Args:
          figures: arrays on the device, over the whole batch: 'loss' and 'gradient_norm'; 'confusion' int [c, c]; 'terms',
            the loss terms by name; 'skipped', 1 for a step that was skipped because it was not finite.
        """
        self._waiting.append(figures)
        if len(self._waiting) > 2 * _WAITING:
            self._take(_WAITING)

    def set_rate_factor(self, factor: float) -> None:
        """Sets the factor on the schedule's learning rate, as in `optim.set_rate_factor`."""
        self._rate_factor = factor

    def scalars(self, step: int) -> dict[str, float]:
        """Returns the means since the last call.

        Returns:
          loss, loss_TERM of every term, gradient_norm and mean_iou (of the training crops), averaged over the steps that were
          not skipped, NaN if there are none; skipped, the number of skipped steps; learning_rate of this step; and
          images_per_second, except in the first call, whose steps include compilation.
        """
        self._take(len(self._waiting))
        now = time.perf_counter()
        taken = self._totals.pop("taken")
        steps, skipped = step - self._step, step - self._step - taken
        self._skipped += skipped
        mean_iou = metrics.summarize(self._confusion[None], self._class_names)["mean_iou"]
        scalars = {name: total / taken if taken else math.nan for name, total in self._totals.items()} | {
            "mean_iou": math.nan if mean_iou is None else mean_iou,
            "learning_rate": float(self._schedule(step - 1 - self._skipped)) * self._rate_factor,
            "skipped": skipped,
        }
        if self._since is not None:
            scalars["images_per_second"] = steps * self._batch_size / (now - self._since)
        self._step, self._since = step, now
        self._clear()
        return scalars

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time spent within the context, such as in an evaluation, from images per second."""
        jax.block_until_ready(self._waiting)  # the steps so far count as training
        began = time.perf_counter()
        yield
        if self._since is not None:
            self._since += time.perf_counter() - began

    def _clear(self) -> None:
        self._totals = Counter(loss=0, gradient_norm=0, taken=0)
        self._confusion = np.zeros([len(self._class_names)] * 2, np.int64)

    def _take(self, count: int) -> None:
        """Adds the first `count` waiting steps to the totals."""
        for figures in jax.device_get(self._waiting[:count]):
            if not figures["skipped"]:
                terms = {f"loss_{term}": float(value) for term, value in figures["terms"].items()}
                norm = float(figures["gradient_norm"])
                self._totals.update(loss=float(figures["loss"]), gradient_norm=norm, taken=1, **terms)
                self._confusion += figures["confusion"]
        del self._waiting[:count]


def line(step: int, num_steps: int, batch_size: int, scalars: Mapping[str, float]) -> str:
    """Formats the scalars of `Meter` as a line of at most 80 columns, with the remaining time."""
    text = f"step {step}/{num_steps}  loss {scalars['loss']:.4g}  mIoU {scalars['mean_iou']:.3f}"
    text += f"  lr {scalars['learning_rate']:.2g}"
    if "images_per_second" in scalars:
        speed = scalars["images_per_second"]
        left = tqdm.format_interval((num_steps - step) * batch_size / speed)
        text += f"  {speed:.3g} img/s  {left} left"
    return text


def create_writer(workdir: str | os.PathLike) -> Any:
    """Returns a `clu.metric_writers.MetricWriter` of TensorBoard events that writes in a thread, in the main process only."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # avoids a line printed by TensorFlow
    import tensorflow as tf  # imported here because it takes seconds
    from clu import metric_writers

    tf.config.set_visible_devices([], "GPU")  # leave the GPU memory to JAX
    writers = [metric_writers.SummaryWriter(os.fspath(workdir))] if parallel.is_main_process() else []
    return metric_writers.AsyncMultiWriter(writers)


class Profile:
    """Traces a range of steps with jax.profiler into WORKDIR/profile, for TensorBoard's profile plugin or ui.perfetto.dev.

    Unlike `clu.periodic_actions.Profile` it waits for the device at both ends, starts within the range after a resume, and
    keeps the trace of a run that ends within the range.
    """

    def __init__(self, workdir: str | os.PathLike, steps: tuple[int, int] | tuple[()]):
        """Stores the settings; nothing is written yet.

        Args:
          workdir: folder of the run.
          steps: number of the first and the last step to trace; () for none. The first steps compile, so choose later ones.

        Raises:
          UsageError: `steps` has another form, or the folder is in an object store.
        """
        if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
            raise UsageError(
                f"config.profile_steps is {tuple(steps)}; give the first and the last step, as in (11, 15)."
            )
        if steps and integrity.is_remote(workdir):
            raise UsageError(
                f"config.profile_steps cannot write into {workdir}. Choose a local --workdir for profiling."
            )
        self._folder = Path(workdir) / "profile"
        self._steps = range(steps[0], steps[1] + 1) if steps and parallel.is_main_process() else range(0)
        self._is_running = False

    def tick(self, step: int, state: Any) -> None:
        """Starts or stops the trace; call it before every step with the current state."""
        if (step in self._steps) == self._is_running:
            return
        jax.block_until_ready(state)  # the previous steps are only queued so far
        if self._is_running:
            self.close()
        else:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._is_running = True

    def close(self) -> None:
        """Stops a running trace and writes it."""
        if self._is_running:
            jax.profiler.stop_trace()
            self._is_running = False
            say(f"Profile of steps {self._steps[0]} to {self._steps[-1]}: {self._folder}")
