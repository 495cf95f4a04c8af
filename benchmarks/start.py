"""Measures the time to the first training step, with an empty and a warm cache of compiled programs.

    python -m benchmarks.start [--config=configs/demo.py] [--times=3] [-- --config.batch_size=8 ...]

Starts training in an empty folder until it logs step 1. Arguments after `--` are passed on. The dataset must be built.
"""

import argparse
import subprocess
import sys
import tempfile
import time

from benchmarks import tables


def seconds_to_first_step(config: str, cache: str, flags: list[str]) -> float:
    """Returns the seconds from the start of the process."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "refinenet_jax.main", f"--config={config}", f"--workdir={workdir}/run"]
        command += [f"--compilation_cache={cache}", "--config.log_every=1", *flags]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=tables.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = []
        for line in process.stdout:
            output.append(line)
            if line.lstrip("\r").startswith("step 1/"):
                seconds = time.perf_counter() - began
                process.kill()
                process.wait()
                return seconds
    raise SystemExit("".join(output[-20:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/demo.py")
    parser.add_argument("--times", type=int, default=3, help="number of starts with a warm cache")
    parser.add_argument("flags", nargs="*", help="flags for the training")
    args = parser.parse_args()
    tables.header("cache of compiled programs", "s to first step")
    with tempfile.TemporaryDirectory() as cache:
        for i in range(args.times + 1):
            seconds = seconds_to_first_step(args.config, cache, args.flags)
            tables.row("warm" if i else "empty", f"{seconds:.1f}")


if __name__ == "__main__":
    main()
