"""What a run may start from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tflite_files

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.training import init


def test_moments_folded_into_kernels_are_not_trained(tmp_path):
    path = tmp_path / "trunk.tflite"
    path.write_bytes(tflite_files.mobilenet(half=True))
    network = init.read_file(tmp_path / "run", path)
    init.check_batch_norm("frozen", tmp_path / "run", path, network)
    for batch_norm in ("local", "synchronized"):
        with pytest.raises(UsageError, match=f"{batch_norm}.*{path.name}.*--config.model.batch_norm=frozen"):
            init.check_batch_norm(batch_norm, tmp_path / "run", path, network)


def test_frozen_moments_need_trained_weights(tmp_path):
    init.check_batch_norm("local", tmp_path)
    init.check_batch_norm("frozen", tmp_path, "another/run")
    with pytest.raises(UsageError, match=r"--config.init_from=.*--config.model.batch_norm=local"):
        init.check_batch_norm("frozen", tmp_path)
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    init.check_batch_norm("frozen", tmp_path)  # a run that is resumed
    assert init.read_file(tmp_path, tmp_path / "file.that.is.gone") is None


def test_a_trunk_is_read_once_and_all_else_is_random_by_the_seed(tmp_path):
    path = tmp_path / "trunk.tflite"
    path.write_bytes(tflite_files.mobilenet(half=True))
    network = init.read_file(tmp_path / "run", path)
    path.unlink()
    model = models.create_model("rf_lw_mbv2", 3)
    ours = init.initial_variables(model, 3, path, network)["params"]

    @jax.jit
    def random():
        params = model.init(jax.random.key(3), jnp.zeros((1, 64, 64, 3)))["params"]
        return {module: params[module] for module in ("cascade", "classifier")}

    jax.tree.map(
        np.testing.assert_array_equal, {module: ours[module] for module in ("cascade", "classifier")}, random()
    )
    kernel = np.asarray(ours["trunk"]["conv1"]["kernel"]).transpose(3, 2, 0, 1)  # as in the file
    assert any(array.shape == kernel.shape and (array == kernel).all() for array in network.arrays.values())
