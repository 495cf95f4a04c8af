"""What a training run tells: a bar on a terminal, plain lines elsewhere, log.jsonl, TensorBoard, and profiles."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import metrics
from refinenet_jax.progress import progress_bar, say
from refinenet_jax.training.log import Log

_WAITING = 64  # steps whose figures may stay on the device, so that reading them never waits for it


class Meter:
    """Adds up what the steps report, shows it and writes it to the log."""

    def __init__(
        self,
        first_step: int,
        num_steps: int,
        batch_size: int,
        schedule: optax.Schedule,
        class_names: tuple[str, ...],
        log: Log,
        skipped: int = 0,
    ):
        """Begins behind `first_step`; the optimiser's schedule does not count the `skipped` steps left out up to there."""
        self._num_steps, self._batch_size = num_steps, batch_size
        self._schedule, self._class_names = schedule, class_names
        self._log = log
        self._rate_factor = 1.0
        self._skipped = skipped
        self._waiting: list[dict] = []
        self._window = _Window(len(class_names))
        self._since: float | None = None
        self._bar = progress_bar("training", num_steps, first_step)

    def add(self, sums: Mapping[str, Any]) -> None:
        """Takes what one step returns, without waiting for the device.

        Args:
          sums: arrays on the device, of the whole batch: 'loss' a mean; 'confusion' integer [c, c]; 'gradient_norm'; and
            where there are such, 'terms' of the loss by name, means too, and 'skipped', 1 for a step that was left out
            because it was not finite. Other entries are not looked at.
        """
        self._waiting.append(dict(sums))
        if len(self._waiting) > 2 * _WAITING:
            self._take(_WAITING)
        self._bar.update()

    def set_rate_factor(self, factor: float) -> None:
        """From now on the learning rate is the schedule's times `factor`, as `optim.set_rate_factor` says."""
        self._rate_factor = factor

    def log(self, step: int) -> dict[str, float]:
        """Shows, writes and returns the means since the last call, for TensorBoard.

        Returns:
          loss, mean_iou (of the training crops) and gradient_norm over the steps that were taken, NaN where there are none;
          learning_rate of this step; loss_TERM of every term; skipped, the number of steps left out; and images_per_second,
          which the first call does not have, for those steps compiled.
        """
        self._take(len(self._waiting))
        now = time.perf_counter()
        window, self._window = self._window, _Window(len(self._class_names))
        self._skipped += window.skipped
        mean_iou = metrics.summarize(window.confusion[None], self._class_names)["mean_iou"]
        scalars = {
            **window.means(),
            "mean_iou": math.nan if mean_iou is None else mean_iou,
            "learning_rate": float(self._schedule(step - 1 - self._skipped)) * self._rate_factor,
        }
        text = f"loss {scalars['loss']:.4f}  mean IoU {scalars['mean_iou']:.3f}  lr {scalars['learning_rate']:.2g}"
        if window.skipped:
            text += f"  left out {window.skipped}"
        left = ""
        if self._since is not None:
            scalars["images_per_second"] = window.steps * self._batch_size / (now - self._since)
            text += f"  {scalars['images_per_second']:.3g} images/s"
            seconds = (self._num_steps - step) * self._batch_size / scalars["images_per_second"]
            left = f"  {tqdm.format_interval(seconds)} left"
        self._since = now
        if self._bar.disable:
            say(f"step {step}/{self._num_steps}  {text}{left}")
        else:
            self._bar.set_postfix_str(text)  # the bar shows the time left itself
        self._log.write(step, "train", scalars)
        return scalars

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is not training, such as an evaluation: its time does not count in images per second."""
        jax.block_until_ready(self._waiting)  # the steps so far are training
        began = time.perf_counter()
        yield
        if self._since is not None:
            self._since += time.perf_counter() - began

    def evaluated(self, step: int, summary: Mapping[str, Any]) -> None:
        """Shows and writes the figures of an evaluation, `metrics.summarize`."""
        hand, mean = (f"{math.nan if summary[key] is None else summary[key]:.4f}" for key in ("hand_iou", "mean_iou"))
        say(f"step {step}/{self._num_steps}  evaluation: hand IoU {hand}  mean IoU {mean}")
        self._log.write(step, "evaluation", summary)

    def close(self) -> None:
        self._bar.close()

    def _take(self, count: int) -> None:
        """Adds up the first `count` steps that wait."""
        for sums in jax.device_get(self._waiting[:count]):
            self._window.add(sums)
        del self._waiting[:count]


class _Window:
    """What the steps since the last line add up to: as large after a million steps as after one."""

    def __init__(self, num_classes: int):
        self.steps = self.skipped = 0
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self._totals: dict[str, float] = {"loss": 0.0, "gradient_norm": 0.0}
        self._reports_skipped = False

    def add(self, sums: Mapping[str, Any]) -> None:
        self.steps += 1
        self._reports_skipped |= "skipped" in sums
        if sums.get("skipped", 0):
            self.skipped += 1
            return
        self.confusion += sums["confusion"]
        terms = {f"loss_{term}": value for term, value in sums.get("terms", {}).items()}
        for key, value in {"loss": sums["loss"], "gradient_norm": sums["gradient_norm"], **terms}.items():
            self._totals[key] = self._totals.get(key, 0.0) + float(value)

    def means(self) -> dict[str, float]:
        taken = self.steps - self.skipped
        means = {key: total / taken if taken else math.nan for key, total in self._totals.items()}
        return means | ({"skipped": self.skipped} if self._reports_skipped else {})


class Profile:
    """Traces some steps with jax.profiler into WORKDIR/profile, for TensorBoard's profile plugin or ui.perfetto.dev."""

    def __init__(self, workdir: str | os.PathLike, steps: tuple[int, int] | tuple[()]):
        """Writes nothing yet.

        Args:
          workdir: folder of the run.
          steps: number of the first and the last step to trace, () for none. The first steps compile: choose later ones.

        Raises:
          UsageError: `steps` is neither.
        """
        if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
            raise UsageError(
                f"config.profile_steps is {tuple(steps)}; give the first and the last step, as in (11, 15)."
            )
        self._folder = Path(workdir) / "profile"
        self._steps = range(steps[0], steps[1] + 1) if steps and parallel.is_main_process() else range(0)
        self._is_running = False

    def tick(self, step: int, state: Any) -> None:
        """To call in front of every step, with the state it starts from; waits for it only where a trace begins or ends."""
        if (step in self._steps) == self._is_running:
            return
        jax.block_until_ready(state)  # the steps before this one are only queued so far
        if self._is_running:
            self.close()
        else:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._is_running = True

    def close(self) -> None:
        """Ends a trace that is running, and writes it."""
        if self._is_running:
            jax.profiler.stop_trace()
            self._is_running = False
            say(f"Profile of steps {self._steps[0]} to {self._steps[-1]}: {self._folder}")


class EventWriter:
    """TensorBoard events in `workdir`, written by the main process in a thread of its own.

    TensorFlow, which they are written by and which takes seconds to import, is imported with the first of them: behind the
    first step of a run.
    """

    def __init__(self, workdir: str | os.PathLike):
        """Writes nothing yet."""
        self._workdir = workdir

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        if parallel.is_main_process():
            self._writer.write_scalars(step, scalars)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Images: uint8 [n, h, w, 3] each."""
        if parallel.is_main_process():
            self._writer.write_images(step, images)

    def close(self) -> None:
        """Waits until all is written."""
        if "_writer" in vars(self):
            self._writer.close()

    @cached_property
    def _writer(self) -> Any:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow would talk about it
        import tensorflow as tf
        from clu import metric_writers

        tf.config.set_visible_devices([], "GPU")  # JAX needs all of its memory
        return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(self._workdir)))
