"""Checkpoints come back bit for bit, on any number of devices, and the right one of them."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from refinenet_jax import checkpoint, parallel
from refinenet_jax.checkpoint import CheckpointError, Checkpoints
from refinenet_jax.training import optim
from refinenet_jax.training.step import create_state

DESCRIPTION = {
    "variant": "rf101",
    "class_names": ("background", "left", "right"),
    "flip_pairs": ((1, 2),),
    "input_scale": 1.0,
    "normalization": "imagenet",
    "dtype": "float32",
}
IDENTITY = ("variant", "class_names", "flip_pairs", "input_scale")
POSITION = {"seed": 7, "batch_size": 8, "examples": 12}


def _model(value):
    return {"params": {"w": np.full(3, value, np.float32)}, "batch_stats": {"mean": np.float32([value])}}


def _save(workdir, figures, **options):
    """Checkpoints at steps 1, 2, ...; the weights are the step's number."""
    checkpoints = Checkpoints(workdir, **options)
    for step, figure in enumerate(figures, 1):
        checkpoints.save(step, _model(step), {"step": step}, POSITION, figure and {"mean_iou": figure, "images": 3})
    checkpoints.close()


def _steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_round_trip_from_one_device_to_eight(tmp_path, name):
    optimizer = optim.create_optimizer(name, optax.linear_schedule(0, 1, 10), weight_decay=0.1)
    state = create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer)
    gradient = jax.tree.map(jnp.sin, state.params)
    opt_state = optimizer.update(gradient, state.opt_state, state.params)[1]  # not all zeros
    rest = {"step": jnp.int32(41), "opt_state": opt_state}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(41, state.variables, rest, POSITION)
    checkpoints.close()

    def wanted(tree):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=parallel.replicated()), tree)

    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step == 41
    restored = checkpoints.restore(wanted(state.variables), wanted(rest))
    assert checkpoints.restore_data() == POSITION
    checkpoints.close()
    saved = (state.variables, rest)
    assert jax.tree.structure(restored[:2]) == jax.tree.structure(saved)  # optax's namedtuples too
    for before, after in zip(jax.tree.leaves(saved), jax.tree.leaves(restored[:2]), strict=True):
        assert after.dtype == before.dtype
        assert len(after.devices()) == 8
        assert after.is_fully_replicated
        np.testing.assert_array_equal(after, before)


def test_latest_and_best_are_kept_and_best_is_loaded(tmp_path):
    _save(tmp_path, [0.1, 0.9, 0.3, 0.2, None, 0.4])
    checkpoint.write_description(tmp_path, DESCRIPTION)
    assert _steps(tmp_path) == [2, 5, 6]
    description, variables = checkpoint.load_model(tmp_path)
    assert description["step"] == 2
    assert description["class_names"] == ["background", "left", "right"]
    jax.tree.map(np.testing.assert_array_equal, variables, _model(2))
    description, variables = checkpoint.load_model(tmp_path, 5)
    assert description["step"] == 5
    jax.tree.map(np.testing.assert_array_equal, variables, _model(5))


def test_latest_is_loaded_where_nothing_was_scored(tmp_path):
    _save(tmp_path, [None, None, None], keep_latest=2)
    checkpoint.write_description(tmp_path, DESCRIPTION)
    assert _steps(tmp_path) == [2, 3]
    description, variables = checkpoint.load_model(tmp_path)
    assert description["step"] == 3
    jax.tree.map(np.testing.assert_array_equal, variables, _model(3))


def test_training_resumes_from_the_latest_not_the_best(tmp_path):
    _save(tmp_path, [0.9, 0.1])
    checkpoints = Checkpoints(tmp_path)
    model, optimizer = checkpoints.restore(_model(0), {"step": 0})
    checkpoints.close()
    assert optimizer == {"step": 2}
    jax.tree.map(np.testing.assert_array_equal, model, _model(2))


def test_unfinished_checkpoint_does_not_count(tmp_path):
    _save(tmp_path, [0.5])
    checkpoint.write_description(tmp_path, DESCRIPTION)
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-1" / "model").mkdir(parents=True)
    assert checkpoint.load_model(tmp_path)[0]["step"] == 1
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step == 1
    checkpoints.close()


def test_model_saved_from_eight_devices_is_read_on_one(tmp_path):
    """As when a model trained on a server is used on a notebook."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, parallel.replicate(_model(3)), parallel.replicate({"step": np.int32(1)}), POSITION)
    checkpoints.close()
    checkpoint.write_description(tmp_path, DESCRIPTION)
    script = (
        "import sys, jax; from refinenet_jax import checkpoint; "
        "_, variables = checkpoint.load_model(sys.argv[1]); "
        "print(jax.device_count(), variables['params']['w'].tolist())"
    )
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "1 [3.0, 3.0, 3.0]"


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no model.json.*--workdir"):
        checkpoint.load_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"nowhere has no model.json"):
        checkpoint.load_model(tmp_path / "nowhere")


def test_run_without_checkpoints_is_refused(tmp_path):
    checkpoint.write_description(tmp_path, DESCRIPTION)
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        checkpoint.load_model(tmp_path)


def test_missing_step_is_refused(tmp_path):
    _save(tmp_path, [0.1, 0.2])
    checkpoint.write_description(tmp_path, DESCRIPTION)
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 7; it has 1, 2\."):
        checkpoint.load_model(tmp_path, 7)


def test_damaged_description(tmp_path):
    (tmp_path / "model.json").write_text('{"variant": ')
    with pytest.raises(CheckpointError, match=r"model.json is damaged .*another --workdir"):
        checkpoint.load_model(tmp_path)


def test_description_is_whole_and_names_versions(tmp_path):
    checkpoint.write_description(tmp_path / "run", DESCRIPTION)
    description = checkpoint.read_description(tmp_path / "run")
    assert description.pop("versions")["jax"] == jax.__version__
    assert description == json.loads(json.dumps(DESCRIPTION))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.json"]


def test_description_of_the_same_model_is_accepted(tmp_path):
    checkpoint.check_description(tmp_path, DESCRIPTION, IDENTITY)  # nothing there
    checkpoint.write_description(tmp_path, DESCRIPTION)
    checkpoint.check_description(tmp_path, DESCRIPTION, IDENTITY)
    another_way = {**DESCRIPTION, "dtype": "bfloat16", "newer": 1}  # to compute the same
    checkpoint.check_description(tmp_path, another_way, (*IDENTITY, "newer"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"variant": "rf50"}, "variant: before rf101, now rf50"),
        ({"input_scale": 1.2}, "input_scale: before 1.0, now 1.2"),
        (
            {"class_names": ("background", "hand")},
            r"before \['background', 'left', 'right'\], now \['background', 'hand'\]",
        ),
        ({"flip_pairs": ()}, r"flip_pairs: before \[\[1, 2\]\], now \[\]"),
    ],
)
def test_description_of_another_model_is_refused_with_both_values(tmp_path, change, says):
    checkpoint.write_description(tmp_path, DESCRIPTION)
    with pytest.raises(CheckpointError, match=says):
        checkpoint.check_description(tmp_path, {**DESCRIPTION, **change}, IDENTITY)
