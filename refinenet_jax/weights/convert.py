"""`refinenet-jax convert`: other people's weights into our checkpoint format, or into one file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.flat import ENDINGS, description_of, save_weights
from refinenet_jax.weights.loading import build, network_in
from refinenet_jax.weights.recognize import Network

_LICENSE_KEYS = ("license", "licence", "license_note", "licence_note")
_EXAMPLES = """examples:
  refinenet-jax convert refinenet_res101.mat
  refinenet-jax convert rf_lw50.pth --output=runs/rf_lw50
  refinenet-jax convert runs/egohands --output=hands.safetensors --half
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax convert`."""
    parser.usage = "refinenet-jax convert FILE [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument(
        "source", metavar="FILE", help=".pth, .safetensors, .npz, .tflite, MatConvNet's .mat, or the folder of a run"
    )
    result = parser.add_argument_group("result")
    result.add_argument(
        "--output",
        metavar="DIR_OR_FILE",
        help="new folder, or a .safetensors or .npz file (default: nothing is written, the content of FILE is printed)",
    )
    result.add_argument("--half", action="store_true", help="write a file of float16, half as large (default: float32)")
    network = parser.add_argument_group("network")
    network.add_argument(
        "--variant", choices=models.VARIANTS, metavar="NAME", help=f"for a trunk alone: {', '.join(models.VARIANTS)}"
    )
    network.add_argument(
        "--classes",
        metavar="NAMES",
        help="names of the classes, background first, as in 'background,left hand,right hand' (default: the file's)",
    )
    network.add_argument("--license", metavar="TEXT", help="license note for model.json (default: what the file says)")


def run(args: argparse.Namespace) -> int:
    """Converts the file, or describes it without --output; returns the exit status."""
    from refinenet_jax import checkpoint  # loads Orbax, which prediction does not need; it uses `describe`

    source, output = Path(args.source), args.output and Path(args.output)
    if args.half and not (output and output.suffix in ENDINGS):
        raise UsageError(f"--half is for an --output that ends in {' or '.join(ENDINGS)}.")
    if output and output.exists():
        raise UsageError(f"{output} exists; move it, or give another --output.")
    if source.is_dir():
        if output is None or output.suffix not in ENDINGS:
            raise UsageError(f"{source} is a folder already; give an --output that ends in {' or '.join(ENDINGS)}.")
        description, variables = checkpoint.load_model(source)
        if args.license:
            description = {**description, "license": args.license}
        _save(output, variables, description, args.half)
        print(f"Written: {output}")
        return 0
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else ()
    network = network_in(source)
    file = network.file
    for line in _summary(source, file.format, network, file.facts):
        print(line)
    if output is None:
        return 0
    wanted = {"variant": args.variant}
    if network.variant is None:
        wanted["num_classes"] = len(classes) or None
    model, variables = build(network, source, **wanted)
    description = describe(network.variant or args.variant, model, network, file.facts, classes, args.license)
    own = description_of(file) or {}
    kept = {"dtype", "scales", "longest_side", "flip", "dataset", "license", "flip_pairs"}
    kept -= ({"license"} if args.license else set()) | ({"flip_pairs"} if classes else set())
    description |= {key: own[key] for key in kept & own.keys()}
    description |= {"converted_from": source.name}
    if output.suffix in ENDINGS:
        _save(output, variables, description, args.half)
    else:
        checkpoint.write_model(output, description, variables)
    print(f"Written: {output}")
    return 0


def describe(
    variant: str,
    model: models.RefineNet,
    network: Network,
    facts: Mapping[str, Any],
    classes: tuple[str, ...] = (),
    license: str | None = None,
) -> dict[str, Any]:
    """Returns the content of model.json for a converted network: as for one trained here, with the file's own facts.

    Raises:
      UsageError: more or fewer classes than the network has channels (a last one called void may be there or not).
    """
    names = classes or network.class_names
    if names[-1] == "void":
        names = names[:-1]
    if not model.num_classes - 1 <= len(names) <= model.num_classes:
        raise UsageError(f"The network has {model.num_classes} channels, but {len(names)} classes: {', '.join(names)}.")
    noted = next((str(facts[key]) for key in _LICENSE_KEYS if key in facts), "not stated in the file")
    pairs = [
        (i, names.index(other))
        for i, name in enumerate(names)
        if "left" in name and (other := name.replace("left", "right")) in names
    ]
    return {
        "variant": variant,
        "num_classes": model.num_classes,
        "class_names": names,
        "flip_pairs": pairs,
        **{name: getattr(model, name) for name in (*models.OPTIONS, "input_scale")},
        "dtype": "float32",
        "scales": (1.0,),
        "flip": False,
        "dataset": "",
        "license": license or noted,
    }


def _save(output: Path, variables: dict, description: Mapping[str, Any], half: bool) -> None:
    """Writes one file, in float16 if `half`; raises UsageError where a value is beyond its range."""
    if half:
        with np.errstate(over="ignore"):
            variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), variables)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
            raise UsageError(f"Some values are beyond float16 ({np.finfo(np.float16).max:,.0f}). Omit --half.")
    save_weights(output, variables, description)


def _summary(source: Path, form: str, network: Network, facts: Mapping[str, Any]) -> list[str]:
    """Returns the lines that describe a file."""
    count = sum(int(np.prod(network.arrays[name].shape)) for name in network.arrays)
    lines = [f"{source}: {form}, {len(network.arrays)} arrays, {count / 1e6:.1f} M numbers"]
    if network.variant:
        void = network.num_classes - len(network.class_names)
        lines.append(
            f"network   {network.variant}, {network.num_classes} channels: {', '.join(network.class_names)}"
            f"{' (and void)' if void else ''}"
        )
    else:
        lines.append(f"network   {network.trunk}, a trunk alone")
    if network.unused:
        lines.append(f"unused    {', '.join(network.unused)}")
    if network.options:
        lines.append("computes  " + ", ".join(f"{key} {value}" for key, value in network.options.items()))
    plain = {key: value for key, value in facts.items() if isinstance(value, str | int | float) and key != "model.json"}
    if plain:
        lines.append("says      " + ", ".join(f"{key}: {str(value)[:60]}" for key, value in list(plain.items())[:12]))
    # A file may hold what would steer the terminal.
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]
