"""What predicting does not need is not imported: a first mask would wait for it."""

import re
import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "grain", "orbax", "pycocotools", "matplotlib")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import refinenet_jax.data.doctor.check", HEAVY[:4]),
        ("import refinenet_jax.main", HEAVY[:3]),
        ("import refinenet_jax", (*HEAVY, "jax", "flax", "cv2")),
        ("from refinenet_jax import Segmenter, load, create_model, UsageError", HEAVY),
        ("from refinenet_jax import *", HEAVY[:4]),
        ("import refinenet_jax.inference.predict.command", HEAVY[:4]),
    ],
)
def test_imports_are_light(code, absent):
    code += f"; import sys; print([name for name in {absent} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert found.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    import refinenet_jax

    assert {*refinenet_jax.__all__, "train", "evaluate", "__version__"} <= set(dir(refinenet_jax))
    with pytest.raises(AttributeError, match="segmenter"):
        _ = refinenet_jax.segmenter


def test_public_names_are_those_of_the_modules():
    import refinenet_jax
    from refinenet_jax import models
    from refinenet_jax.data.sources import open_source
    from refinenet_jax.evaluation.evaluate import evaluate_checkpoint
    from refinenet_jax.training import loop

    assert refinenet_jax.train is loop.train
    assert refinenet_jax.evaluate is evaluate_checkpoint
    assert refinenet_jax.open_dataset is open_source
    assert refinenet_jax.normalize is models.normalize
    assert re.match(r"\d", refinenet_jax.__version__)
