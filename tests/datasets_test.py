"""Every dataset and every layout of a folder, through its config into training and evaluation, on a tiny network."""

import importlib

import folders
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny
from conftest import ROOT

from refinenet_jax import models
from refinenet_jax.evaluation.evaluate import evaluate_checkpoint
from refinenet_jax.training import loop

BUILDS = ["egohands/hands_available", "eyth/hands", "gtea/wrist", "hof/resized", "person_parts/parts"]


def _one_epoch(config, workdir, monkeypatch):
    """Trains until every picture was seen, in batches of 8, then evaluates; the recipe is the config's own."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    config.augment.crop_size = 64
    config.model.batch_norm = "local"  # the recipe's frozen one needs a trained trunk
    config.batch_size = config.evaluate.batch_size = 8
    config.num_steps = config.eval_every = 2
    config.evaluate.scales = (0.1,)  # large frames at three scales take a minute
    config.evaluate.protocols = ("strict", "seed")  # as does the second pass of cvpr18
    summary = loop.train(config, workdir)
    assert summary["images"] > 0
    tested = evaluate_checkpoint(config, workdir, workdir)
    assert np.isfinite(tested["strict"]["mean_iou"])
    assert (workdir / "metrics.json").exists()
    return tested


@pytest.mark.parametrize("name", BUILDS)
def test_one_epoch_of_each_dataset_through_its_config(name, tmp_path, monkeypatch):
    dataset, _, build = name.partition("/")
    builder_module = importlib.import_module(f"tfds_builders.{dataset}.{dataset}_dataset_builder")
    builder = builder_module.Builder(data_dir=tmp_path / "data", config=build, file_format="array_record")
    manual_dir = ROOT / "tfds_builders" / dataset / "dummy_data"
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    config = importlib.import_module(f"configs.{dataset}").get_config()
    if name == "egohands/hands_available":  # the made-up tree has four videos
        config.data.name = name
    assert config.data.name == name
    assert builder.info.splits["train"].num_examples <= 16
    config.data.dir = str(tmp_path / "data")
    _one_epoch(config, tmp_path / "run", monkeypatch)


LAYOUTS = {
    "masks": folders.masks,
    "voc": folders.voc,
    "labelme_xml": folders.labelme_xml,
    "labelme_json": folders.labelme_json,
    "coco": folders.coco,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_epoch_of_a_folder_in_each_layout(layout, tmp_path, monkeypatch):
    folder = LAYOUTS[layout](tmp_path / "my_hands")
    (folder / "dataset.yaml").write_text("classes: [background, left hand, right hand]\n")
    config = importlib.import_module("configs.folder").get_config()
    config.data.name = str(folder)
    _one_epoch(config, tmp_path / "run", monkeypatch)
