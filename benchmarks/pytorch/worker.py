"""One implementation of one case of `benchmarks.compare`: runs it once, then for each input line `go`, until `end`."""

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import tables
from benchmarks.compare import Case

SCALES = (0.6, 0.8, 1.0)
CLASSES = 2


def inputs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images [b, h, w, 3] and masks [b, h, w], the same for all implementations."""
    rng = np.random.default_rng(0)
    shape = (case.batch, case.height, case.width)
    return rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, CLASSES, shape, np.uint8)


def with_jax(case: Case, parallel_kind: str = "pmap") -> tuple[Callable[[], None], dict]:
    import jax
    import jax.numpy as jnp

    from refinenet_jax import models, parallel
    from refinenet_jax.inference.segmenter import Segmenter
    from refinenet_jax.training import init, optim, step

    model = models.create_model(case.variant, CLASSES, dtype=case.dtype)
    variables = init.initial_variables(model, 0)
    image, mask = inputs(case)
    if case.kind == "train":
        schedule = optim.create_schedule(name="constant", num_steps=1, learning_rate=1e-6)
        optimizer = optim.create_optimizer(name="sgd", schedule=schedule, momentum=0.9, weight_decay=5e-4)
        batch = {"image": image, "mask": mask, "weight": np.ones(case.batch, np.float32)}
        train_step = parallel.parallel_step(
            partial(step.train_step, model=model, optimizer=optimizer, seed=0), parallel_kind
        )
        state = parallel.replicate(step.create_state(variables, optimizer))

        def run() -> None:
            nonlocal state
            state, figures = train_step(state, batch)
            jax.block_until_ready((state, figures))

    else:
        if case.kind == "scales":
            function = Segmenter(model, {}, ("background", "hand"), scales=SCALES).probabilities
        else:

            def function(variables: dict, image: jax.Array) -> jax.Array:
                return model.apply(variables, models.normalize(image))

        function, variables = jax.jit(function), jax.device_put(variables)

        def run() -> None:
            jax.block_until_ready(function(variables, image))

    def product(n: int) -> Callable[[], None]:
        matrix = jnp.ones((n, n), case.dtype)
        multiply = jax.jit(jnp.matmul)
        return lambda: jax.block_until_ready(multiply(matrix, matrix))

    def peak_memory() -> float:
        statistics = jax.devices()[0].memory_stats() or {}
        return statistics.get("peak_bytes_in_use", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20

    return run, {"product": product, "memory": peak_memory, "hardware": jax.devices()[0].device_kind}


def with_torch(case: Case, compiled: bool) -> tuple[Callable[[], None], dict]:
    import torch
    import torch.nn.functional as F

    from benchmarks.pytorch.twin import Twin
    from refinenet_jax import models

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, case.dtype)
    twin = Twin(case.variant, CLASSES).to(device, memory_format=torch.channels_last)
    twin.train(case.kind == "train")
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (models.IMAGENET_MEAN, models.IMAGENET_STD)
    )
    image, mask = (torch.tensor(array) for array in inputs(case))

    def forward(image: torch.Tensor) -> torch.Tensor:
        x = image.to(device).permute(0, 3, 1, 2)
        with torch.autocast(device, dtype, enabled=case.dtype != "float32"):
            return network(((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)).float()

    def scales(image: torch.Tensor) -> torch.Tensor:
        x = (image.to(device).permute(0, 3, 1, 2) / 255 - mean) / std
        total = 0
        for scale in SCALES:
            size = [round(n * scale) for n in x.shape[2:]]
            small = F.interpolate(x, size=size, mode="bilinear", antialias=True).contiguous(
                memory_format=torch.channels_last
            )
            with torch.autocast(device, dtype, enabled=case.dtype != "float32"):
                logits = network(small).float()
            total = total + F.interpolate(logits, size=x.shape[2:], mode="bilinear").softmax(1)
        return total / len(SCALES)

    network = torch.compile(twin) if compiled else twin
    if case.kind == "train":
        optimizer = torch.optim.SGD(twin.parameters(), 1e-6, 0.9, weight_decay=5e-4)

        def run() -> None:
            optimizer.zero_grad(set_to_none=True)
            logits = forward(image)
            labels = mask.to(device)[:, None].float()
            labels = F.interpolate(labels, size=logits.shape[2:], mode="nearest-exact")[:, 0].long()
            F.cross_entropy(logits, labels, ignore_index=255).backward()
            optimizer.step()
            synchronize()

    else:
        function = scales if case.kind == "scales" else forward

        def run() -> None:
            with torch.inference_mode():
                function(image)
            synchronize()

    def synchronize() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def product(n: int) -> Callable[[], None]:
        matrix = torch.ones(n, n, dtype=dtype, device=device)

        def multiply() -> None:
            torch.matmul(matrix, matrix)
            synchronize()

        return multiply

    def peak_memory() -> float:
        if on_gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    hardware = torch.cuda.get_device_name() if on_gpu else "cpu"
    return run, {"product": product, "memory": peak_memory, "hardware": hardware}


def gflop(case: Case) -> float:
    """Returns the GFLOP of the convolutions of a case, whatever the algorithm; three times as many for a training step."""
    from refinenet_jax import models

    model = models.create_model(case.variant, CLASSES)
    scales = SCALES if case.kind == "scales" else (1.0,)
    sizes = [(round(scale * case.height), round(scale * case.width)) for scale in scales]
    forward = case.batch * sum(models.forward_flops(model, size) for size in sizes) / 1e9
    return forward * (3 if case.kind == "train" else 1)


def report(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    way, case = sys.argv[1], Case(**json.loads(sys.argv[2]))
    began = time.perf_counter()
    if way.startswith("torch"):
        run, about = with_torch(case, way == "torch_compiled")
    else:
        run, about = with_jax(case, "shard_map" if way == "jax_shard_map" else "pmap")
    run()
    first = time.perf_counter() - began
    run()
    report(first=first)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        run()  # warms up: other processes used caches and memory in between
        report(seconds=tables.seconds(run))
    memory = about["memory"]()
    size = 1536 if about["hardware"] == "cpu" else 8192
    multiply = about["product"](size)
    multiply()
    peak = 2 * size**3 / min(tables.seconds(multiply) for _ in range(5)) / 1e9
    report(memory=memory, gflop=gflop(case), peak_gflops=peak, hardware=about["hardware"])


if __name__ == "__main__":
    main()
