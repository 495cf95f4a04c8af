"""Compares the speed with PyTorch: the same networks and the same work, run alternately.

    python -m benchmarks.compare [--variants rf101 rf_lw101 rf_lw_mbv2] [--cases forward train] [--append]

A case is a forward pass at one size and batch, a forward pass at three test scales, or a training step (forward, backward,
update). Each implementation (this library; PyTorch eager and compiled, channels_last) is a separate process that waits for
requests. They run alternately, so that other load on the machine affects all of them, and each repeats the work once
unmeasured before, because the previous one used caches and memory. Prints a Markdown table with medians, ranges, the ratio to
the fastest PyTorch implementation, compile times, memory, and GFLOP/s compared with matrix products on the same machine, then
the hardware and versions. Needs PyTorch: pip install -e .[bench]
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median

from benchmarks import tables

WAYS = ("jax", "jax_shard_map", "torch", "torch_compiled")  # jax_shard_map: training step without pmap


@dataclass(frozen=True)
class Case:
    """Work to measure: `kind` is forward, scales (three test scales, probabilities at full size) or train."""

    variant: str
    kind: str
    height: int
    width: int
    batch: int
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.variant} {self.kind} {self.height}x{self.width} x{self.batch} {self.dtype}"


def cases(
    kinds: Sequence[str], variants: Sequence[str], sizes: Sequence[tuple], batches: Sequence[int], dtype: str
) -> list[Case]:
    """Returns all combinations; scales only for batches of one image."""
    return [
        Case(variant, kind, height, width, batch, dtype)
        for variant in variants
        for kind in kinds
        for height, width in sizes
        for batch in batches
        if kind != "scales" or batch == 1
    ]


class Worker:
    """One implementation of a case, in its own process."""

    def __init__(self, way: str, case: Case):
        command = [sys.executable, "-m", "benchmarks.pytorch.worker", way, json.dumps(asdict(case))]
        environment = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}  # the same for all
        environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.way, self.seconds = way, []
        self._process = subprocess.Popen(command, cwd=tables.ROOT, env=environment, text=True, **pipes)
        self.first = self._read().get("first", math.nan)

    def run(self) -> None:
        """Runs the work once and records its time."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.seconds.append(self._read()["seconds"])

    def end(self) -> dict:
        """Ends the process; returns peak memory in MiB, GFLOP of the work, versions and hardware."""
        self._process.stdin.write("end\n")
        self._process.stdin.flush()
        result = self._read()
        self._process.wait()
        return result

    def _read(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.way} failed:\n{self._process.stderr.read()[-1500:]}")


def measure(case: Case, ways: Sequence[str], rounds: int) -> list[dict]:
    """Returns a row for each implementation."""
    workers, rows = [], []
    for way in ways:
        try:
            workers.append(Worker(way, case))
        except RuntimeError as error:
            print(f"{case}: {error}", file=sys.stderr, flush=True)
    for _ in range(rounds):
        for worker in workers:
            worker.run()
    for worker in workers:
        seconds = sorted(worker.seconds)
        rows.append({"way": worker.way, "median": median(seconds), "low": seconds[0], "high": seconds[-1]})
        rows[-1] |= {"first": worker.first, **worker.end()}
    return rows


def print_rows(case: Case, rows: Sequence[dict]) -> None:
    """Prints lines of the table; the ratio is the speed relative to the fastest PyTorch implementation."""
    rivals = [row["median"] for row in rows if row["way"].startswith("torch")]
    for row in rows:
        middle, low, high = (f"{1000 * row[name]:,.0f}" for name in ("median", "low", "high"))
        rate = row["gflop"] / row["median"]
        tables.row(
            case.variant,
            case.kind,
            f"{case.height}x{case.width}",
            case.batch,
            case.dtype,
            row["way"],
            f"{middle} ({low} to {high})",
            f"{min(rivals) / row['median']:.2f}" if rivals else "-",
            f"{rate:,.0f} ({100 * rate / row['peak_gflops']:.0f} %)",
            f"{row['memory']:,.0f}",
            f"{row['first']:.0f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["rf101", "rf_lw101", "rf_lw_mbv2"])
    parser.add_argument("--cases", nargs="+", default=["forward", "train"], choices=["forward", "scales", "train"])
    parser.add_argument("--sizes", nargs="+", default=["400x400"], metavar="HxW")
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--ways", nargs="+", default=["jax", "torch", "torch_compiled"], choices=WAYS)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in args.sizes]
    tables.header(
        *("network", "work", "size", "batch", "dtype", "implementation", "ms, median (range)"),
        *("speed relative to PyTorch", "GFLOP/s", "peak MiB", "s to first result"),
    )
    last = None
    for case in cases(args.cases, args.variants, sizes, args.batches, args.dtype):
        rows = measure(case, args.ways, args.rounds)
        print_rows(case, rows)
        last = rows[0] if rows else last
    if last:
        versions = (
            f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax", "torch") if find_spec(name)
        )
        print(
            f"\n{last['hardware']}, {os.cpu_count()} cores of {platform.machine()}; Python {platform.python_version()}, "
            f"{', '.join(versions)}. Percentages: of the fastest matrix product, {last['peak_gflops']:,.0f} GFLOP/s."
        )


if __name__ == "__main__":
    main()
