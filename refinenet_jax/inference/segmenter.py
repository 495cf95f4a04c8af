"""The one way from an image to class scores: prediction, video, export and evaluation all stand on it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax import models, parallel
from refinenet_jax.data import VOID
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import fitting, tiles
from refinenet_jax.inference.crf import CrfParameters, crf
from refinenet_jax.inference.fitting import Size
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.stored import open_network
from refinenet_jax.models import resize


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network, ready for images of any size.

    Attributes:
      model: from `create_model`.
      variables: its params and batch_stats.
      class_names: names of its classes, background first. The network may have one channel more, for void (the authors'
        MATLAB networks do): it is left out, and the others are scaled to a sum of 1.
      flip_pairs: pairs of class ids that a left-right flip exchanges.
      scales: test scales, on top of the network's input_scale; the probabilities at all of them are averaged.
      longest_side: pixels that the longer side of every image is brought to before the scales, so that a hand has one size
        whatever the camera's resolution; 0 leaves images at their own size.
      flip: average over the mirrored image too (left and right classes exchanged back).
      size_multiple: images are padded at the right and bottom, by repeating the edge, to multiples of this; a compilation
        serves all images of one padded size. 1 for none.
      shapes: padded size (h, w) of images of a size (h, w), as `shapes.plan` chooses them; others go by size_multiple.
      tile: longest side, in pixels, of what the network sees at once; larger images, after scaling, are cut into
        overlapping windows (`tiles`). None for no limit.
      crf: what the probabilities go through at last, image by image on the host's side (`crf`); None for nothing.

    Raises:
      UsageError: names, scales, padded sizes or tile that cannot be.
    """

    model: models.RefineNet
    variables: dict
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    size_multiple: int = 32
    shapes: Mapping[Size, Size] = field(default_factory=dict)
    tile: int | None = None
    crf: CrfParameters | None = None
    longest_side: int = 0

    def __post_init__(self):
        if not 0 <= self.model.num_classes - len(self.class_names) <= 1:
            raise UsageError(
                f"The network has {self.model.num_classes} channels, but {len(self.class_names)} class names: "
                f"{', '.join(self.class_names)}."
            )
        if not self.scales or not min(self.scales) > 0:
            raise UsageError(f"scales are {list(self.scales)}; give one or more, all above 0.")
        if self.longest_side < 0:
            raise UsageError(f"longest_side is {self.longest_side}; give pixels, or 0 for images at their own size.")
        for size, padded in self.shapes.items():
            if padded[0] < size[0] or padded[1] < size[1]:
                raise UsageError(f"shapes puts images of {size} into {padded}, which does not hold them.")
        tiles.check_tile(self.tile)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        step: int | None = None,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        tile: int | None = None,
        crf: CrfParameters | None = None,
        longest_side: int | None = None,
    ) -> "Segmenter":
        """The network in a training run's folder, or in one file of weights (.safetensors, .npz, .pth, .mat).

        Args:
          path: the folder, whose best checkpoint is taken unless `step` says another, or the file. Where a file does not tell
            its classes, they are named by their number, as `refinenet-jax convert` would: `background` and `hand` of two.
          step: of the checkpoint.
          scales: test scales; by default those of the run's config, and 1 of a foreign file.
          flip: whether to average over the mirrored image; the same.
          tile: see `Segmenter`.
          crf: see `Segmenter`.
          longest_side: see `Segmenter`; by default the config's, and 0 of a foreign file.

        Raises:
          CheckpointError: no checkpoint there.
          UsageError: a file that is damaged, unsafe or of no whole network known.
        """
        description, variables = open_network(Path(path), step)
        model = models.create_model(
            description["variant"],
            description.get("num_classes", len(description["class_names"])),  # more only where there is void
            dtype=description["dtype"],
            **models.options_of(description),
        )
        return cls(
            model,
            variables,
            tuple(description["class_names"]),
            tuple(tuple(pair) for pair in description.get("flip_pairs", ())),
            tuple(description.get("scales", (1.0,)) if scales is None else scales),
            description.get("flip", False) if flip is None else flip,
            tile=tile,
            crf=crf,
            longest_side=description.get("longest_side", 0) if longest_side is None else longest_side,
        )

    def __call__(self, image: np.ndarray) -> Segmentation:
        """Segments one image, uint8 [h, w, 3] RGB."""
        return next(self.stream([image], batch_size=1))

    def batch(self, images: Sequence[np.ndarray], batch_size: int = 8) -> list[Segmentation]:
        """Segments images of any sizes, those of one padded size together; results are in the order of the images.

        Raises:
          UsageError: an image is not uint8 [h, w, 3].
        """
        examples = [self._fitted(image) for image in images]
        order = sorted(range(len(images)), key=lambda i: self.padded_size(examples[i]))
        results = dict(zip(order, self._stream((examples[i] for i in order), batch_size), strict=True))
        return [results[i] for i in range(len(images))]

    def stream(self, images: Iterable[np.ndarray], batch_size: int = 8) -> Iterator[Segmentation]:
        """Segments images as they come, in order; neighbours of one padded size share a batch.

        What was given out is not kept: memory is that of one batch, however many images come.

        Raises:
          UsageError: an image is not uint8 [h, w, 3].
        """
        return self._stream(map(self._fitted, images), batch_size)

    def _fitted(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The image as given, and at its longest side."""
        _check_image(image)
        return {"image": fitting.resize_image(image, self.fitted_size(image.shape[:2])), "given": image}

    def _stream(self, examples: Iterable[dict], batch_size: int) -> Iterator[Segmentation]:
        for batch in self.batches(examples, batch_size):
            results = self._segment(batch)
            del batch
            while results:
                yield results.pop()

    def _segment(self, batch: list[dict]) -> list[Segmentation]:
        """Of fitted images of one padded size, the last one first."""
        stack = self.stack(batch)
        self._programs.add((-(-len(stack) // jax.local_device_count()), *stack.shape[1:]))
        scores = np.asarray(self._run(self.variables, stack))
        return [
            Segmentation(example["given"], self._finish(example, of_image), self.class_names)
            for example, of_image in zip(batch[::-1], scores[::-1], strict=True)
        ]

    def _finish(self, example: dict, scores: np.ndarray) -> np.ndarray:
        """The last step, on the host: float32 [padded h, padded w, c] -> [h, w, c] as given, through the CRF if any."""
        (height, width), image = example["image"].shape[:2], example["given"]
        scores = fitting.resize_scores(
            scores[:height, :width], image.shape[:2]
        )  # a copy, which keeps no batch in memory
        return scores if self.crf is None else crf(image, scores, self.crf)

    def batches(self, examples: Iterable[dict], batch_size: int) -> Iterator[list[dict]]:
        """Groups neighbouring examples whose images have one padded size.

        Every length of a batch is another program to compile: there are two, `batch_size`, and one image for each device, in
        which a group comes that is not long enough.
        """
        group: list[dict] = []
        for example in examples:
            _check_image(example["image"])
            if group and (len(group) == batch_size or self.padded_size(group[0]) != self.padded_size(example)):
                yield from _parts(group, batch_size)
                group = []
            group.append(example)
        yield from _parts(group, batch_size)

    def grouped(self, examples: Iterable[dict], batch_size: int) -> Iterator[list[dict]]:
        """As `batches`, but those of one padded size wait for each other, so that batches are full: not in order."""
        groups: dict[Size, list[dict]] = {}
        for example in examples:
            _check_image(example["image"])
            group = groups.setdefault(self.padded_size(example), [])
            group.append(example)
            if len(group) == batch_size:
                yield groups.pop(self.padded_size(example))
        for group in groups.values():
            yield from _parts(group, batch_size)

    def fitted_size(self, size: Size) -> Size:
        """Size (h, w) to which an image of a size (h, w) is brought before it is padded."""
        return fitting.fitted_size(size, self.longest_side) if self.longest_side else size

    def padded_size(self, example: dict) -> Size:
        """Size (h, w) at which an example's image goes to the device."""
        size = example["image"].shape[:2]
        return self.shapes.get(size) or tuple(-(-n // self.size_multiple) * self.size_multiple for n in size)

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
        """The pure function behind it all: uint8 [b, h, w, 3] -> class probabilities, float32 [b, h, w, c].

        Of images at their own size: `longest_side` is a scale here, of the padded size.
        """
        size = image.shape[1:3]
        views = [jax.nn.softmax(resize.half_pixel(x, size)) for x in self._logits(variables, image)]
        scores = sum(views) / len(views)
        if len(self.class_names) == self.model.num_classes:
            return scores
        scores = scores[..., : len(self.class_names)]
        return scores / jnp.maximum(scores.sum(-1, keepdims=True), jnp.finfo(scores.dtype).tiny)

    def views(self, variables: dict, image: jax.Array) -> list[jax.Array]:
        """Probabilities of all channels, void's too, before they are fused: at each scale, and mirrored where `flip` says so.

        Args:
          variables: of the model.
          image: uint8 [b, h, w, 3].

        Returns:
          float32 [b, h', w', channels] each, at the logits' own size, a quarter of the prepared image's. What a mirrored image
          gave is turned back, left and right classes exchanged.
        """
        return [jax.nn.softmax(logits) for logits in self._logits(variables, image)]

    def _logits(self, variables: dict, image: jax.Array) -> list[jax.Array]:
        def network(x: jax.Array) -> jax.Array:
            return self.model.apply(variables, x)

        views = []
        for scale in self.at_size(image.shape[1:3]).scales:
            x = models.prepare(self.model, image, scale)
            for mirrored in (False, True) if self.flip else (False,):
                view = x[:, :, ::-1] if mirrored else x
                view = tiles.apply(network, view, self.tile, self.model.num_classes) if self.tile else network(view)
                views.append(view[:, :, ::-1][..., self._mirrored_classes()] if mirrored else view)
        return views

    def at_size(self, size: Size) -> "Segmenter":
        """The same for images of this size (h, w) alone: `longest_side` becomes part of the scales."""
        if not self.longest_side:
            return self
        return replace(
            self, scales=tuple(scale * self.longest_side / max(size) for scale in self.scales), longest_side=0
        )

    def with_variables(self, variables: dict) -> "Segmenter":
        """The same network with other weights; what was compiled serves both."""
        return self._sharing_programs(replace(self, variables=variables))

    def with_shapes(self, shapes: Mapping[Size, Size]) -> "Segmenter":
        """The same with images padded to other sizes, as `shapes.plan` chooses them; what was compiled serves both."""
        return self._sharing_programs(replace(self, shapes=shapes))

    @property
    def compilations(self) -> int:
        """How many programs images went through so far: one for each padded size and length of batch."""
        return len(self._programs)

    @cached_property
    def _run(self):
        return parallel.parallel_map(replace(self, longest_side=0).probabilities)  # of fitted images

    @cached_property
    def _programs(self) -> set[tuple[int, ...]]:
        return set()

    def _sharing_programs(self, other: "Segmenter") -> "Segmenter":
        other.__dict__.update(_run=self._run, _programs=self._programs)
        return other

    def _mirrored_classes(self) -> jax.Array:
        order = np.arange(self.model.num_classes)
        for a, b in self.flip_pairs:
            order[[a, b]] = order[[b, a]]
        return jnp.asarray(order)


def _parts(group: list[dict], batch_size: int) -> Iterator[list[dict]]:
    length = batch_size if len(group) == batch_size else jax.local_device_count()
    for start in range(0, len(group), length):
        yield group[start : start + length]


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise UsageError(f"An image must be uint8 [h, w, 3] RGB; this one is {image.dtype} {list(image.shape)}.")
