"""Every dataset through its config into batches, and one into training and evaluation, on a tiny network."""

import importlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny
from conftest import ROOT

from refinenet_jax import models
from refinenet_jax.data.pipeline import train_batches
from refinenet_jax.evaluation.evaluate import evaluate_checkpoint
from refinenet_jax.training import loop, setup

BUILDS = ["egohands/hands_available", "eyth/hands", "gtea/wrist", "hof/resized", "person_parts/parts"]


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setattr(models, "create_model", tiny.create_model)


def _config(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.augment.crop_size = 64
    config.batch_size = config.evaluate.batch_size = 8
    config.model.batch_norm = "local"  # the recipe's frozen one needs a trained trunk
    return config


@pytest.mark.parametrize("name", BUILDS)
def test_each_dataset_is_opened_by_its_config(name, tmp_path):
    dataset, _, build = name.partition("/")
    builder_module = importlib.import_module(f"tfds_builders.{dataset}.{dataset}_dataset_builder")
    builder = builder_module.Builder(data_dir=tmp_path / "data", config=build, file_format="array_record")
    manual_dir = ROOT / "tfds_builders" / dataset / "dummy_data"
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    config = _config(dataset)
    if name == "egohands/hands_available":  # the dummy data are four of the videos
        config.data.name = name
    assert config.data.name == name
    config.data.dir = str(tmp_path / "data")
    prepared = setup.prepare(config, tmp_path / "run")
    number = builder.info.splits["train"].num_examples
    batches = train_batches(prepared.mix, prepared.augmentation, batch_size=number, seed=0)
    batch = next(batches)
    batches.close()
    assert len(set(batch["id"].tolist())) == number
    assert batch["weight"].all()
    assert set(np.unique(batch["mask"])) <= {*range(prepared.eval_source.info.num_classes), 255}
    if name == "person_parts/parts":
        config.num_steps = config.eval_every = 2  # batches of 8: every picture is seen
        config.evaluate.scales = (0.1,)  # large frames at three scales take a minute
        config.evaluate.protocols = ("strict", "seed")  # as does the second pass of cvpr18
        assert loop.train(config, tmp_path / "run")["images"] > 0
        tested = evaluate_checkpoint(config, tmp_path / "run", tmp_path / "run")
        assert np.isfinite(tested["strict"]["mean_iou"])
        assert (tmp_path / "run" / "metrics.json").exists()
