"""What a run may start from."""

import pytest
import tflite_files

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
