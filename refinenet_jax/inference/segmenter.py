"""The one way from an image to class scores: prediction, video, export and evaluation all stand on it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax import checkpoint, models, parallel, visualize
from refinenet_jax.data import VOID
from refinenet_jax.errors import UsageError
from refinenet_jax.models import layers


@dataclass(frozen=True)
class Segmentation:
    """What was found in one image.

    Attributes:
      image: uint8 [h, w, 3] RGB, as given.
      scores: float32 [h, w, c], probabilities of the classes.
      class_names: c names, background first.
    """

    image: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]

    @cached_property
    def mask(self) -> np.ndarray:
        """Class ids, uint8 [h, w]."""
        return self.scores.argmax(-1).astype(np.uint8)

    def overlay(self) -> np.ndarray:
        """The image with the classes tinted and outlined, uint8 [h, w, 3] RGB."""
        return visualize.overlay(self.image, self.mask)


@dataclass(frozen=True)
class Segmenter:
    """A trained network, ready for images of any size.

    Attributes:
      model: from `create_model`.
      variables: its params and batch_stats.
      class_names: names of its classes, background first. The network may have one channel more, for void (the authors'
        MATLAB networks do): it is left out, and the others are scaled to a sum of 1.
      flip_pairs: pairs of class ids that a left-right flip exchanges.
      scales: test scales, on top of the network's input_scale; the probabilities at all of them are averaged.
      flip: average over the mirrored image too (left and right classes exchanged back).
      size_multiple: images are padded at the right and bottom, by repeating the edge, to multiples of this; a compilation
        serves all images of one padded size. 1 for none.
    """

    model: models.RefineNet
    variables: dict
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    size_multiple: int = 32

    @classmethod
    def from_checkpoint(
        cls,
        directory: str | os.PathLike,
        *,
        step: int | None = None,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
    ) -> "Segmenter":
        """The network in a training run's folder; its best checkpoint unless `step` says another.

        Test scales and flip are those of the run's config unless given.

        Raises:
          CheckpointError: no checkpoint there.
        """
        description, variables = checkpoint.load_model(directory, step)
        model = models.create_model(
            description["variant"],
            description.get("num_classes", len(description["class_names"])),
            dtype=description["dtype"],
            **models.options_of(description),
        )
        return cls(
            model,
            variables,
            tuple(description["class_names"]),
            tuple(tuple(pair) for pair in description["flip_pairs"]),
            tuple(description["scales"] if scales is None else scales),
            description["flip"] if flip is None else flip,
        )

    def __call__(self, image: np.ndarray) -> Segmentation:
        """Segments one image, uint8 [h, w, 3] RGB."""
        return next(self.stream([image], batch_size=1))

    def stream(self, images: Iterable[np.ndarray], batch_size: int = 8) -> Iterator[Segmentation]:
        """Segments images as they come, in order; neighbours of one padded size share a batch.

        Raises:
          UsageError: an image is not uint8 [h, w, 3].
        """
        for batch in self.batches(({"image": image} for image in images), batch_size):
            scores = np.asarray(self._run(self.variables, self.stack(batch)))
            for example, probabilities in zip(batch, scores, strict=True):
                height, width = example["image"].shape[:2]
                yield Segmentation(example["image"], probabilities[:height, :width], self.class_names)

    def batches(self, examples: Iterable[dict], batch_size: int) -> Iterator[list[dict]]:
        """Groups neighbouring examples whose images have one padded size."""
        batch: list[dict] = []
        for example in examples:
            _check_image(example["image"])
            if batch and (len(batch) == batch_size or self.padded_size(batch[0]) != self.padded_size(example)):
                yield batch
                batch = []
            batch.append(example)
        if batch:
            yield batch

    def padded_size(self, example: dict) -> tuple[int, int]:
        """Size (h, w) at which an example's image goes to the device."""
        return tuple(-(-n // self.size_multiple) * self.size_multiple for n in example["image"].shape[:2])

    def stack(self, batch: Sequence[dict], key: str = "image") -> np.ndarray:
        """Images or masks of one padded size -> uint8 [b, h, w, ...]; images repeat their edge, masks are void there."""
        height, width = self.padded_size(batch[0])

        def pad(array: np.ndarray) -> np.ndarray:
            edges = ((0, height - array.shape[0]), (0, width - array.shape[1]))
            if key == "mask":
                return np.pad(array, edges, constant_values=VOID)
            return np.pad(array, (*edges, (0, 0)), mode="edge")

        return np.stack([pad(example[key]) for example in batch])

    def probabilities(self, variables: dict, image: jax.Array) -> jax.Array:
        """The pure function behind it all: uint8 [b, h, w, 3] -> class probabilities, float32 [b, h, w, c]."""
        size = image.shape[1:3]
        views = []
        for scale in self.scales:
            x = models.prepare(self.model, image, scale)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self.model.apply(variables, x[:, :, ::-1] if mirrored else x)
                view = jax.nn.softmax(layers.resize_half_pixel(logits, size))
                views.append(view[:, :, ::-1][..., self._mirrored_classes()] if mirrored else view)
        scores = sum(views) / len(views)
        if len(self.class_names) == self.model.num_classes:
            return scores
        scores = scores[..., : len(self.class_names)]
        return scores / jnp.maximum(scores.sum(-1, keepdims=True), jnp.finfo(scores.dtype).tiny)

    def with_variables(self, variables: dict) -> "Segmenter":
        """The same network with other weights; what was compiled serves both."""
        other = replace(self, variables=variables)
        object.__setattr__(other, "_run", self._run)
        return other

    @cached_property
    def _run(self):
        return parallel.parallel_map(self.probabilities)

    def _mirrored_classes(self) -> jax.Array:
        order = np.arange(self.model.num_classes)
        for a, b in self.flip_pairs:
            order[[a, b]] = order[[b, a]]
        return jnp.asarray(order)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise UsageError(f"An image must be uint8 [h, w, 3] RGB; this one is {image.dtype} {list(image.shape)}.")
