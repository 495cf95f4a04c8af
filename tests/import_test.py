"""What predicting does not need is not imported: a first mask would wait for it."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "grain", "orbax", "pycocotools", "matplotlib")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import refinenet_jax", (*HEAVY, "jax", "flax", "cv2")),
        ("from refinenet_jax import Segmenter, load, create_model, UsageError", HEAVY),
        ("from refinenet_jax import *", HEAVY),
        ("import refinenet_jax.inference.predict.command", HEAVY[:4]),
    ],
)
def test_imports_are_light(code, absent):
    code += f"; import sys; print([name for name in {absent} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert found.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    import refinenet_jax

    assert set(refinenet_jax.__all__) <= set(dir(refinenet_jax))
    with pytest.raises(AttributeError, match="segmenter"):
        _ = refinenet_jax.segmenter
