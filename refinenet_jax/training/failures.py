"""Monitors failures in training: steps that are not finite, and examples that cannot be read."""

import jax
import numpy as np

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import say
from refinenet_jax.training.log import Log


class FailureMonitor:
    """Counts and reports skipped steps and unreadable examples, and stops the run if there are too many."""

    def __init__(self, max_skipped_steps: int, max_faults: int, history: dict, log: Log):
        """Sets the limits and the dict in which failures are counted; `history` is saved with every checkpoint."""
        self._max_skipped, self._max_faults, self._history, self._log = max_skipped_steps, max_faults, history, log
        self._pending: list[tuple[int, list[str], jax.Array]] = []
        self._new_faults: dict[str, tuple[int, str]] = {}

    def record(self, step: int, names: dict[str, np.ndarray], skipped: jax.Array) -> None:
        """Records the examples of a step (this process's share), without waiting for the device.

        Args:
          step: number of the step.
          names: `id` str [b] and `fault` str [b], empty for readable examples.
          skipped: 1 if the step was skipped, on the device.
        """
        ids = names["id"].tolist()
        self._pending.append((step, ids, skipped))
        for name, fault in zip(ids, names["fault"].tolist(), strict=True):
            if fault and name not in self._history["faults"]:
                self._new_faults.setdefault(name, (step, fault))

    def report(self) -> None:
        """Prints and logs the failures since the last call, over all processes; all processes must call it.

        Raises:
          UsageError: on all processes, if more steps or examples have failed than allowed. Examples beyond the limit are not
            added to the history, so that a run can resume after its files were repaired.
        """
        pending, self._pending = self._pending, []
        new, self._new_faults = self._new_faults, {}
        skipped = jax.device_get([flag for _, _, flag in pending])
        lost = [(step, ids) for (step, ids, _), flag in zip(pending, skipped, strict=True) if flag]
        shares = parallel.gather_json({"lost": lost, "faults": new})
        for number, (step, _) in enumerate(lost):
            ids = [name for share in shares for name in share["lost"][number][1]]
            say(f"step {step} skipped: loss or gradient not finite; its examples: {', '.join(ids)}")
            self._log.event(step, "step skipped", ids=ids)
        self._history["skipped_steps"] += len(lost)
        new = {name: fault for share in shares for name, fault in share["faults"].items()}
        for name, (step, fault) in new.items():
            say(f"skipped {name}: {fault}")
            self._log.event(step, "example skipped", id=name, fault=fault)
        faults = {**self._history["faults"], **{name: fault for name, (_, fault) in new.items()}}
        if len(faults) > self._max_faults:
            listed = "\n  ".join(list(faults.values())[-5:])
            raise UsageError(
                f"{len(faults)} examples could not be read, more than config.data.max_faults={self._max_faults}:\n  {listed}\n"
                "Repair them (`refinenet-jax check` lists all), or raise --config.data.max_faults to train without them."
            )
        self._history["faults"] = faults
        if lost and self._history["skipped_steps"] > self._max_skipped:
            raise UsageError(
                f"{self._history['skipped_steps']} steps had a loss or gradient that was not finite, more than "
                f"config.max_skipped_steps={self._max_skipped}; the last one was step {lost[-1][0]}. Usually the learning rate "
                "is too high (lower --config.schedule.learning_rate, or lengthen --config.schedule.warmup_steps), or bfloat16 "
                "overflows (--config.model.dtype=float32)."
            )
