"""What a training run tells: a bar on a terminal, plain lines elsewhere, and TensorBoard."""

import os
import time

import jax
import numpy as np
import optax
from tqdm import tqdm

from refinenet_jax import parallel
from refinenet_jax.evaluation import metrics
from refinenet_jax.progress import progress_bar, say


class Meter:
    """Adds up what the steps report, and shows it."""

    def __init__(
        self, first_step: int, num_steps: int, batch_size: int, schedule: optax.Schedule, class_names: tuple[str, ...]
    ):
        self._first_step, self._num_steps, self._batch_size = first_step, num_steps, batch_size
        self._schedule, self._class_names = schedule, class_names
        self._sums: list[dict] = []
        self._since: float | None = None
        self._bar = progress_bar("training", num_steps, first_step)

    def add(self, sums: dict) -> None:
        """Takes the sums of one step, without waiting for the device."""
        self._sums.append(sums)
        self._bar.update()

    def log(self, step: int) -> dict[str, float]:
        """Shows and returns the means since the last call; the first steps' speed is left out, as they compile."""
        sums = jax.device_get(self._sums)
        now = time.perf_counter()
        total = {key: np.sum([s[key] for s in sums], 0, np.float64) for key in ("loss", "pixels")}
        confusion = np.sum([s["confusion"] for s in sums], 0, np.int64)
        scalars = {
            "loss": float(total["loss"] / max(total["pixels"], 1)),
            "mean_iou": metrics.summarise(confusion[None], self._class_names)["mean_iou"] or 0.0,
            "learning_rate": float(self._schedule(step - 1)),
            "gradient_norm": float(np.mean([s["gradient_norm"] for s in sums])),
        }
        speed = ""
        if self._since is not None:
            scalars["images_per_second"] = len(sums) * self._batch_size / (now - self._since)
            left = (self._num_steps - step) * self._batch_size / scalars["images_per_second"]
            speed = f"  {scalars['images_per_second']:.3g} images/s  {tqdm.format_interval(left)} left"
        self._sums, self._since = [], now
        text = f"loss {scalars['loss']:.4f}  mean IoU {scalars['mean_iou']:.3f}"
        if self._bar.disable:
            say(f"step {step}/{self._num_steps}  {text}  lr {scalars['learning_rate']:.2g}{speed}")
        else:
            self._bar.set_postfix_str(text + (f"  {scalars['images_per_second']:.3g} images/s" if speed else ""))
        return scalars

    def evaluated(self, step: int, summary: dict) -> None:
        """Shows the figures of an evaluation; its time does not count as training."""
        hand, mean = summary["hand_iou"], summary["mean_iou"]
        say(f"step {step}/{self._num_steps}  evaluation: hand IoU {hand or 0:.4f}  mean IoU {mean or 0:.4f}")
        self._since = time.perf_counter()

    def close(self) -> None:
        self._bar.close()


def create_writer(workdir: str | os.PathLike):
    """TensorBoard events in `workdir`, written by the main process in a thread of its own."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow, which writes events only, would talk about it
    from clu import metric_writers  # here, for it imports TensorFlow

    if not parallel.is_main_process():
        return metric_writers.MultiWriter([])
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # JAX needs all of its memory
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(workdir)))
