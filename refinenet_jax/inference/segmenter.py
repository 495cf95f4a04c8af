"""The one path from an image to class scores, used by prediction, video, export and evaluation."""

import hashlib
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from refinenet_jax import models, parallel, pretrained
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import fitting, reading, tiles
from refinenet_jax.inference.crf import CrfParameters, crf
from refinenet_jax.inference.fitting import Size
from refinenet_jax.inference.programs import Programs
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.stored import open_network
from refinenet_jax.models import resize

_ACCELERATOR_BATCH = 8  # images per GPU or TPU; larger batches do not help on a CPU
_MOST_WAITING = 4  # batches of images that may wait for others of their canvas
_RESULT = itemgetter(1)  # of a pair (key, result); a loop variable would keep the last result alive


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as input of the network.

    Attributes:
      image: uint8 [h, w, 3] RGB, as given.
      size: (h, w) after fitting to the longest side.
      canvas: [H, W, 3], the fitted image with its edge repeated; float32, or uint8 if there is no longest side.
    """

    image: np.ndarray
    size: Size
    canvas: np.ndarray


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network that segments images of any size.

    A mask depends on the image's pixels, the network and the attributes below, and on nothing else: `prepare` puts an image on
    a canvas whose size depends on the image's own size, `probabilities` applies the network to canvases, and `finish` resizes
    scores to the image's size. Batches of one canvas are padded to the same length, so that they share one program.

    Attributes:
      model: network from `create_model`.
      variables: its params and batch_stats.
      class_names: names of the classes, background first. If the network has one more channel, for void (as the authors'
        MATLAB networks), it is dropped, and the other probabilities are scaled to a sum of 1.
      flip_pairs: pairs of class ids that a horizontal flip exchanges.
      scales: test scales, multiplied by the network's input_scale; the probabilities at all scales are averaged.
      longest_side: length in pixels to which the longer side of every image is resized before the scales, so that hands have
        the same size at any camera resolution; 0 keeps images at their own size.
      flip: whether to average with the horizontally flipped image (left and right classes exchanged back).
      tile: longest side, in pixels, of the network's input; larger images, after scaling, are divided into overlapping windows
        (`tiles`). None for no limit.
      crf: parameters of a CRF that refines the probabilities of each image on the host; None for no CRF.
      merged: for each class of the network, the class in `class_names` to which its probability is added; empty if these are
        the classes of the network.

    Raises:
      UsageError: the class names, scales, longest side or tile are invalid.
    """

    model: models.RefineNet
    variables: dict
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile: int | None = None
    crf: CrfParameters | None = None
    longest_side: int = 0
    merged: tuple[int, ...] = ()

    def __post_init__(self):
        if not 0 <= self.model.num_classes - self._network_classes <= 1:
            raise UsageError(
                f"The network has {self.model.num_classes} channels, but {len(self.class_names)} class names: "
                f"{', '.join(self.class_names)}. Give one name per channel."
            )
        if not self.scales or not min(self.scales) > 0:
            raise UsageError(f"scales are {list(self.scales)}. Give one or more, all above 0.")
        if self.longest_side < 0:
            raise UsageError(f"longest_side is {self.longest_side}. Give pixels, or 0 to keep the size of images.")
        tiles.check_tile(self.tile)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike | None = None,
        *,
        step: int | None = None,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        tile: int | None = None,
        crf: CrfParameters | None = None,
        longest_side: int | None = None,
    ) -> "Segmenter":
        """Loads a network from a run folder or a weight file (.safetensors, .npz, .pth, .mat).

        Args:
          path: run folder or weight file; None for the network in the package. Classes without names in the file get the names
            that `refinenet-jax convert` gives: `background` and `hand` if there are two.
          step: step of the checkpoint; None for the best one.
          scales: test scales; None for those stored with the network (1 if there are none).
          flip: whether to average with the flipped image; None for the stored setting.
          tile: see `Segmenter`.
          crf: see `Segmenter`.
          longest_side: see `Segmenter`; None for the stored setting (0 if there is none).

        Raises:
          CheckpointError: there is no checkpoint.
          UsageError: the file is damaged, unsafe, or not a known complete network.
        """
        description, variables = open_network(epath.Path(path or pretrained.PATH), step)
        model = models.create_model(
            description["variant"],
            description.get("num_classes", len(description["class_names"])),  # one more than the names if there is void
            dtype=description["dtype"],
            **models.options_of(description),
        )
        return cls(
            model,
            parallel.on_local_devices(variables),
            tuple(description["class_names"]),
            tuple(tuple(pair) for pair in description.get("flip_pairs", ())),
            tuple(description.get("scales", (1.0,)) if scales is None else scales),
            description.get("flip", False) if flip is None else flip,
            tile=tile,
            crf=crf,
            longest_side=description.get("longest_side", 0) if longest_side is None else longest_side,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Returns the fields with the variables on the host, without compiled programs, for pickling."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "variables": jax.device_get(self.variables)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, variables=parallel.on_local_devices(state["variables"]))

    def __call__(self, image: reading.Picture) -> Segmentation:
        """Segments one image: an array uint8 [h, w, 3] RGB, a PIL image, or the path of a file.

        Raises:
          UsageError: the image is something else, or cannot be read.
        """
        return next(self.stream([image], batch_size=1))

    def batch(self, images: Sequence[reading.Picture], batch_size: int | None = None) -> list[Segmentation]:
        """Segments images of any sizes, batched by canvas; returns the results in the order of the images."""
        results = dict(self.unordered(enumerate(map(self.prepare, images)), batch_size))
        return [results[i] for i in range(len(images))]

    def stream(self, images: Iterable[reading.Picture], batch_size: int | None = None) -> Iterator[Segmentation]:
        """Segments images as they arrive, in order; consecutive images of one canvas share a batch.

        Results are not kept: memory is that of one batch, for any number of images.

        Args:
          images: images of any sizes, as accepted by `__call__`.
          batch_size: images per batch, rounded up to a multiple of the devices; None for one on each CPU device and eight on
            each GPU or TPU.

        Raises:
          UsageError: an image is something else, or cannot be read.
        """
        rows = self._rows(batch_size)
        group: list[tuple[None, Prepared]] = []
        for prepared in map(self.prepare, images):
            if group and (len(group) == rows or group[0][1].canvas.shape != prepared.canvas.shape):
                yield from map(_RESULT, self._segment(group, rows))
                group = []
            group.append((None, prepared))
        yield from map(_RESULT, self._segment(group, rows))

    def unordered(
        self, prepared: Iterable[tuple[Hashable, Prepared]], batch_size: int | None = None
    ) -> Iterator[tuple[Any, Segmentation]]:
        """Segments prepared images, each with a key from the caller, as soon as those of one canvas fill a batch."""
        rows = self._rows(batch_size)
        groups: dict[Size, list[tuple[Any, Prepared]]] = {}
        for key, one in prepared:
            group = groups.setdefault(one.canvas.shape, [])
            group.append((key, one))
            full = len(group) == rows
            if full or sum(map(len, groups.values())) == _MOST_WAITING * rows:
                largest = max(groups, key=lambda shape: len(groups[shape]))
                yield from self._segment(groups.pop(one.canvas.shape if full else largest), rows)
        for group in groups.values():
            yield from self._segment(group, rows)

    def prepare(self, image: reading.Picture) -> Prepared:
        """Fits an image, as accepted by `__call__`, to the longest side and puts it on its canvas.

        Raises:
          UsageError: the image is something else, or cannot be read.
        """
        image = reading.to_rgb(image)
        fitted = fitting.fit(image, self.longest_side)
        return Prepared(image, fitted.shape[:2], fitting.on_canvas(fitted))

    def finish(self, prepared: Prepared, scores: np.ndarray) -> Segmentation:
        """Resizes probabilities of a canvas, float32 [H, W, c], to the image's own size and applies the CRF, if any."""
        height, width = prepared.size
        # A copy, so that the batch can be freed.
        scores = fitting.resize_scores(scores[:height, :width], prepared.image.shape[:2])
        if self.crf is not None:
            scores = crf(prepared.image, scores, self.crf)
        return Segmentation(prepared.image, scores, self.class_names)

    def _segment(self, group: Sequence[tuple[Any, Prepared]], rows: int) -> Iterator[tuple[Any, Segmentation]]:
        """Yields the results of at most `rows` images of one canvas."""
        if group:
            canvases = [prepared.canvas for _, prepared in group]
            filling = canvases[-1:] * (rows - len(canvases))
            scores = self.programs(self.variables, np.stack(canvases + filling))
            for (key, prepared), of_image in zip(group, scores, strict=False):
                yield key, self.finish(prepared, of_image)

    @staticmethod
    def _rows(batch_size: int | None) -> int:
        devices = jax.local_device_count()
        if batch_size is None:
            return devices * (1 if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH)
        return -(-batch_size // devices) * devices

    def probabilities(self, variables: dict, canvas: jax.Array) -> jax.Array:
        """Maps canvases [b, H, W, 3] in [0, 255] to class probabilities, float32 [b, H, W, c]; a pure function."""
        size = canvas.shape[1:3]
        views = [jax.nn.softmax(resize.half_pixel(x, size)) for x in self._logits(variables, canvas)]
        scores = sum(views) / len(views)
        if self._network_classes < self.model.num_classes:
            scores = scores[..., : self._network_classes]
            scores = scores / jnp.maximum(scores.sum(-1, keepdims=True), jnp.finfo(scores.dtype).tiny)
        return merge_classes(scores, self.merged) if self.merged else scores

    def with_variables(self, variables: dict) -> "Segmenter":
        """Returns the same network with other weights, which shares the compiled programs."""
        other = replace(self, variables=variables)
        other.__dict__["programs"] = self.programs
        return other

    @cached_property
    def programs(self) -> Programs:
        """The compiled programs, one for each shape of a batch."""
        return Programs(self.probabilities, self.settings())

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the names and values of all weights."""
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf))
        return digest.hexdigest()

    def settings(self) -> tuple:
        """Returns everything that `probabilities` depends on, as values with a reproducible `repr`."""
        classes = self._network_classes, self.merged
        return self.model, *classes, self.flip_pairs, self.scales, self.flip, self.tile

    @property
    def _network_classes(self) -> int:
        return len(self.merged or self.class_names)

    def _logits(self, variables: dict, canvas: jax.Array) -> list[jax.Array]:
        def network(x: jax.Array) -> jax.Array:
            return self.model.apply(variables, x)

        views = []
        for scale in self.scales:
            x = models.prepare(self.model, canvas, scale)
            for mirrored in (False, True) if self.flip else (False,):
                view = x[:, :, ::-1] if mirrored else x
                view = tiles.apply(network, view, self.tile, self.model.num_classes) if self.tile else network(view)
                views.append(view[:, :, ::-1][..., self._mirrored_classes()] if mirrored else view)
        return views

    def _mirrored_classes(self) -> jax.Array:
        order = np.arange(self.model.num_classes)
        for a, b in self.flip_pairs:
            order[[a, b]] = order[[b, a]]
        return jnp.asarray(order)


def merge_classes(probabilities: jax.Array, merged: Sequence[int]) -> jax.Array:
    """Adds probabilities [..., n] of n classes to those of the classes `merged`; returns [..., max(merged) + 1]."""
    parts = [np.flatnonzero(np.array(merged) == i) for i in range(max(merged) + 1)]
    return jnp.stack([probabilities[..., part].sum(-1) for part in parts], -1)
