"""benchmarks/gpu.sh on a CPU: every piece runs, with the smallest work."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import resources

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT

from configs import pretrained

SHAPE = (48, 64)
MASK = np.indices(SHAPE)[1].astype(np.uint8) // 32
JPEG = cv2.imencode(".jpg", np.repeat(MASK[..., None] * np.uint8(200), 3, axis=2))[1].tobytes()
PNG = cv2.imencode(".png", MASK)[1].tobytes()


class _Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Four pictures, half hand."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(), "mask": tfds.features.Image(shape=(None, None, 1))}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({**features, "id": tfds.features.Text()}),
            metadata=tfds.core.MetadataDict({"class_names": ["background", "hand"], "flip_pairs": []}),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            yield i, {"image": JPEG, "mask": PNG, "id": str(i)}


class Egohands(_Pictures, skip_registration=True):
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="hands_available")]  # noqa: RUF012


class SyntheticHands(_Pictures, skip_registration=True):
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="tabletop")]  # noqa: RUF012


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder that the script asks for, with every dataset of the config."""
    root = tmp_path_factory.mktemp("data")
    for builder in Egohands, SyntheticHands:
        options = tfds.download.DownloadConfig(compute_stats="skip")
        builder(data_dir=root / "tfds", file_format="array_record").download_and_prepare(download_config=options)
    config = pretrained.get_config()
    for name in {name for name, _ in (*config.data.mix, *config.paste.sources)} | {config.data.name}:
        folder = root / "pretrained" / name.rpartition("/")[2]
        if name.startswith(pretrained._FOLDER):
            for part, ending, content in (("images", "jpg", JPEG), ("masks", "png", PNG)):
                (folder / part).mkdir(parents=True)
                for i in range(2):
                    (folder / part / f"{i}.{ending}").write_bytes(content)
            validation = float(name == config.data.name)
            (folder / "dataset.yaml").write_text(
                f"classes: [background, hand]\nsplit: {{validation: {validation}, test: 0}}\n"
            )
    shutil.copy(resources.files("refinenet_jax.pretrained") / "pretrained.safetensors", root / "trunk.safetensors")
    return root


@pytest.mark.timeout(1500)
def test_every_piece_runs(data, tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "DATA": str(data), "TINY": "1"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compilation is nearly all that these pieces do here
    pieces = ["golden", "train", "operations", "inference", "input", "pretrain"]
    command = ["bash", "benchmarks/gpu.sh", str(tmp_path), *pieces]
    environment["PYTHON"] = sys.executable
    result = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=environment, timeout=1500)
    errors = {path.name: path.read_text()[-2000:] for path in tmp_path.glob("*.err")}
    assert result.returncode == 0, f"{result.stdout}{result.stderr}{errors}"
    outputs = {path.stem: path.read_text() for path in tmp_path.glob("*.md")}
    assert outputs.keys() == {*pieces, "operations_bfloat16", "pretrain_evaluation"} - {"operations"}
    for name in outputs.keys() - {"pretrain", "pretrain_evaluation"}:
        assert sum(line.startswith("| ") for line in outputs[name].splitlines()) > 1, name
    assert "hand IoU" in outputs["pretrain_evaluation"]
    assert list((tmp_path / "pretrain" / "profile").rglob("*.pb"))
    if not importlib.util.find_spec("torch"):
        assert "torch failed" in errors["train.err"]
        pytest.skip("PyTorch is not installed: its rows were not tried")
