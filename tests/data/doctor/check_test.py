"""Tests of the check command: what it prints and writes, its exit status, and what it refuses."""

import argparse
import contextlib
import json
import os
import re
import sys
from typing import ClassVar

import folders
import numpy as np
import planted
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from planted import change, encode, healthy

from refinenet_jax import __main__, visualize
from refinenet_jax.data.doctor import check, check_report, contact_sheet
from refinenet_jax.data.doctor.findings import find
from refinenet_jax.data.sources import open_source


def _sick() -> dict[str, planted.Planted]:
    splits = healthy()
    change(splits["test"], 0, image=splits["train"][3]["image"])
    change(splits["test"], 1, video="train 1")
    change(splits["train"], 0, mask=np.zeros_like)
    return splits


class PlantedHands(tfds.core.GeneratorBasedBuilder):
    """A healthy and a sick dataset."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="healthy"), tfds.core.BuilderConfig(name="sick")]

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "mask": tfds.features.Image(shape=(None, None, 1)),
            "id": tfds.features.Text(),
            "video": tfds.features.Text(),
            "frame": np.int64,
        }
        metadata = tfds.core.MetadataDict({"class_names": planted.HANDS.class_names})
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata)

    def _split_generators(self, dl_manager):
        splits = healthy() if self.builder_config.name == "healthy" else _sick()
        return {split: self._generate_examples(examples) for split, examples in splits.items()}

    def _generate_examples(self, examples):
        for example in examples:
            yield example["id"], example | {"image": encode(example["image"]), "mask": encode(example["mask"])}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("datasets")
    for config in ("healthy", "sick"):
        builder = PlantedHands(data_dir=path, config=config, file_format="array_record")
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(compute_stats="skip"))
    return path


@pytest.fixture
def run(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: __main__.main(["check", "--data-dir", str(data_dir), *map(str, arguments)])


def result(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((path / "check.json").read_text(), parse_constant=refuse)


def test_healthy_dataset_passes(run, tmp_path, capsys):
    assert run("planted_hands/healthy") == 0
    rows = {line.partition(" ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["images"] == ["images", "8", "3", "4"]
    assert rows["videos"] == ["videos", "2", "2", "2"]
    assert rows["sizes"] == ["sizes", "64x48", "64x48", "64x48"]
    written = result(tmp_path / "check" / "planted_hands_healthy")
    assert written["findings"] == []
    masks = [example["mask"] for example in healthy()["test"]]
    assert written["splits"]["test"]["classes"]["hand"] == {"pixels": pytest.approx(np.mean(masks)), "images": 1.0}
    assert written["splits"]["test"]["sizes"] == {"64x48": 4}
    assert visualize.read(str(tmp_path / "check" / "planted_hands_healthy" / "contact_sheet.jpg")).shape[1] > 6 * 240


def test_problems_fail_unless_they_are_allowed(run, tmp_path, capsys):
    problems = ["conflicting-masks", "leak", "video-in-several-splits"]
    assert run("planted_hands/sick", "--output=out") == 1
    out = capsys.readouterr().out
    assert "\033" not in out
    assert re.findall(r"\[([\w-]+)\]$", out, re.MULTILINE) == [*problems, "no-foreground"]
    assert f"3 problems in 15 images (1 note): {', '.join(problems)}" in " ".join(out.split())
    findings = {finding["name"]: finding for finding in result(tmp_path / "out")["findings"]}
    ((one, other),) = findings["leak"]["examples"]
    assert ((one["split"], one["id"]), (other["split"], other["id"])) == (("train", "train-3"), ("test", "test-0"))
    assert (tmp_path / "out" / "contact_sheet.jpg").exists()
    assert run("planted_hands/sick", "--output=out", "--allow", *problems[1:]) == 1
    assert run("planted_hands/sick", "--output=out", "--allow", *problems) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "No problems in 15 images (3 warnings, 1 note)"


def test_classes_that_may_have_sides_are_a_warning(run, tmp_path, capsys):
    root = folders.masks(tmp_path / "mine")
    arguments = ("mine", "--allow", "absent-class")
    run(*arguments)
    (found,) = [f for f in result(tmp_path / "check" / "mine")["findings"] if f["name"] == "unpaired-classes"]
    line = next(iter(found["details"])).partition(":")[2].strip()
    for advice in (line, "flip_pairs: []"):  # both of what it says
        folders.put(root / "dataset.yaml", advice)
        run(*arguments)
        assert "unpaired-classes" not in {f["name"] for f in result(tmp_path / "check" / "mine")["findings"]}
    folders.put(root / "dataset.yaml", line)
    assert open_source(str(root), "train").info.flip_pairs == ((1, 2),)


def test_results_are_written_before_a_reader_can_stop_early(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    _folder(tmp_path / "mine")
    reading, writing = os.pipe()
    os.close(reading)  # as head does when it has seen enough
    with os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(BrokenPipeError):
            check.run(parser.parse_args(["./mine", "--output=out"]))
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    assert result(tmp_path / "out")["findings"] == []


def _folder(root):
    """A healthy folder of JPEGs and PNG masks."""
    root.mkdir()
    (root / "dataset.yaml").write_text("classes: [background, hand]\n")
    for split, examples in healthy().items():
        for example in examples:
            for kind, ending in (("image", ".jpg"), ("mask", ".png")):
                path = root / f"{kind}s" / split / example["id"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(ending).write_bytes(encode(example[kind], ending))
    return root / "images" / "train", root / "masks" / "train"


def test_faults_of_files_are_all_found_and_nothing_else(run, tmp_path, capsys):
    images, masks = _folder(tmp_path / "mine")
    image, mask = planted.picture(1), planted.mask(1)
    (images / "train-0.jpg").write_bytes(encode(image, ".jpg")[:-900])
    (masks / "train-1.png").write_bytes(encode(mask[:, 1:]))
    (masks / "train-2.png").write_bytes(encode(mask * np.uint8(7)))
    (masks / "train-3.png").write_bytes(encode(image))
    Image.fromarray(planted.picture(50)).save(images / "train-4.jpg", "GIF")
    turned = planted.with_orientation(encode(np.rot90(planted.picture(51)), ".jpg"), 6)
    (images / "train-5.jpg").write_bytes(turned)
    (images.parent / "test" / "test-1.jpg").write_bytes((images / "train-6.jpg").read_bytes())
    (images.parent / "test" / "test-2.jpg").write_bytes(encode(visualize.read(str(images / "train-7.jpg")), ".jpg", 40))
    assert run("./mine") == 1
    found = {f["name"]: f["examples"] for f in result(tmp_path / "check" / "mine")["findings"]}
    assert list(found) == [
        "undecodable",
        "size-mismatch",
        "mask-value",
        "mask-format",
        "conflicting-masks",
        "leak",
        "near-leak",
        "rotation",
    ]
    for i, name in enumerate(["undecodable", "size-mismatch", "mask-value", "mask-format"]):
        ((example,),) = found[name]
        assert example["id"] == f"images/train/train-{i}.jpg"
        assert f"train-{i}." in example["message"]
    assert ["unreadable", "4", "0", "0"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_folder_that_cannot_be_opened_is_reported_and_written(run, tmp_path, capsys):
    _, masks = _folder(tmp_path / "mine")
    assert run("mine") == 0
    capsys.readouterr()
    (masks / "train-0.png").unlink()
    assert run("mine", "--allow", "missing") == 1  # nothing was checked
    assert run("mine") == 1
    out = capsys.readouterr().out
    assert "train-0" in out
    assert out.splitlines()[-1] == "1 problem in 0 images: missing"
    assert [f["name"] for f in result(tmp_path / "check" / "mine")["findings"]] == ["missing"]
    assert not (tmp_path / "check" / "mine" / "contact_sheet.jpg").exists()


def test_missing_split_does_not_hide_the_others(run, capsys):
    assert run("planted_hands/healthy", "--splits", "train", "trian") == 1
    out = capsys.readouterr().out
    assert "has no split 'trian'" in out
    assert "1 problem in 8 images: unusable" in out


def test_splits_and_limit_select_images(run, tmp_path):
    assert run("planted_hands/sick", "--output=out", "--splits", "train", "test[:50%]", "--limit=3") == 0
    splits = result(tmp_path / "out")["splits"]
    assert {split: facts["images"] for split, facts in splits.items()} == {"train": 3, "test[:50%]": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["planted_hands/healthy", "--allow", "video-in-several-split"], "did you mean 'video-in-several-splits'?"),
        (["planted_hands/healthy", "--allow", "no-foreground"], "Unknown problem to allow 'no-foreground'"),
        (["planted_hands/healthy", "--limit=0"], "--limit=0 must be at least 1"),
        (["planted_hand/healthy"], "Did you mean planted_hands?"),
        (["./nowhere"], "There is no folder"),
        (["planted_hands/healthy", "--splits", "trian"], "has no split 'trian'"),
    ],
)
def test_wrong_arguments_are_refused(run, tmp_path, capsys, arguments, says):
    assert run(*arguments) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "check").exists()


def test_own_results_are_replaced_and_those_of_others_are_not(run, tmp_path, capsys):
    assert run("planted_hands/healthy", "--output=out") == 0
    assert run("planted_hands/healthy", "--output=out") == 0
    for name, content in (("check.json", "[1, 2]"), ("check.json", '{"mine": 1}'), ("contact_sheet.jpg", "mine")):
        (tmp_path / name).write_text(content)
        assert run("planted_hands/healthy", "--output", tmp_path) == 1
        assert name in capsys.readouterr().err
        assert (tmp_path / name).read_text() == content
        (tmp_path / name).unlink()


def test_file_name_cannot_write_to_the_terminal():
    splits = healthy()
    change(splits["train"], 0, id="\033[2Jgone", mask=np.zeros_like)
    findings = find(check.read(splits), planted.HANDS)
    assert "train: ?[2Jgone" in "\n".join(check_report.describe(findings[0]))


def test_contact_sheet_shows_copies_side_by_side_and_what_cannot_be_read():
    splits = _sick()
    splits["train"].files[5] = encode(splits["train"][5]["image"]), "five.png"
    splits["train"][5] = check.DataError("of another size", "size mismatch")
    splits["train"].files[6] = b"no image", "six.png"
    splits["train"][6] = check.DataError("no image", "undecodable")
    records = check.read(splits)
    findings = find(records, planted.HANDS)
    assert [f.name for f in findings][:2] == ["undecodable", "size-mismatch"]
    rows = [[record.id for record in contact_sheet._shown(finding)] for finding in findings]
    assert rows == [
        ["six.png"],
        ["five.png"],
        ["train-3", "test-0"],
        ["train-3", "test-0"],
        ["train-1", "test-1"],
        ["train-0"],
    ]
    everything = contact_sheet.draw(splits, records, findings)
    without = contact_sheet.draw(splits, records, findings[:1])  # which has no picture
    one_row = contact_sheet.draw(splits, records, findings[1:2])
    assert without.shape == contact_sheet.draw(splits, records, []).shape
    assert len(everything) == len(without) + 5 * (len(one_row) - len(without))
