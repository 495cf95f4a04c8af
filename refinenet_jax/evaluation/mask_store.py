"""Keeps the predicted masks of a split in memory, so that pictures can be drawn without running the network again."""

import base64
from typing import Any

import cv2
import numpy as np

from refinenet_jax import parallel


class MaskStore:
    """Predicted masks by picture id, stored as PNG (a few kilobytes each)."""

    def __init__(self):
        self._encoded: dict[str, bytes] = {}

    def add(self, name: str, mask: np.ndarray) -> None:
        """Stores a mask, uint8 [h, w]."""
        self._encoded[name] = cv2.imencode(".png", mask)[1].tobytes()

    def gather(self) -> None:
        """Collects the masks of all processes; all must call it."""
        mine = {name: base64.b64encode(encoded).decode() for name, encoded in self._encoded.items()}
        for part in parallel.gather_json(mine):
            self._encoded |= {name: base64.b64decode(text) for name, text in part.items()}

    def mask(self, example: dict[str, Any]) -> np.ndarray:
        """Returns the mask of an example, uint8 [h, w]."""
        return cv2.imdecode(np.frombuffer(self._encoded[example["id"]], np.uint8), cv2.IMREAD_UNCHANGED)
