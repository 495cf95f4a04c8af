"""Tests of the check command: what it prints and writes, its exit status, and what it refuses."""

import re
import shutil

import folders
import numpy as np
import planted
import pytest
from PIL import Image
from planted import change, encode, healthy

from refinenet_jax import __main__
from refinenet_jax.data.doctor import check, check_report, contact_sheet
from refinenet_jax.data.doctor.findings import find
from refinenet_jax.data.sources import open_source
from refinenet_jax.inference import reading


def _sick() -> dict[str, planted.Planted]:
    splits = healthy()
    change(splits["test"], 0, image=splits["train"][3]["image"])
    change(splits["test"], 1, video="train 1")
    change(splits["train"], 0, mask=np.zeros_like)
    return splits


def _write(root, splits):
    """Writes pictures and masks as PNG files, in a subfolder for each split and video."""
    folders.put(root / "dataset.yaml", "classes: [background, hand]\n")
    for split, examples in splits.items():
        for example in examples:
            for kind in ("image", "mask"):
                path = root / f"{kind}s" / split / example["video"] / f"{example['id']}.png"
                folders.put(path, encode(example[kind]))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the datasets `healthy` and `sick`."""
    root = tmp_path_factory.mktemp("datasets")
    _write(root / "healthy", healthy())
    _write(root / "sick", _sick())
    return root


@pytest.fixture
def run(written, tmp_path, monkeypatch):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: __main__.main(["check", *map(str, arguments)])


def names(path):
    """Names of the findings in the report of a folder."""
    return re.findall(r"\[([\w-]+)(?:, allowed)?\]$", (path / "check.txt").read_text(), re.MULTILINE)


def test_healthy_dataset_passes(run, tmp_path, capsys):
    assert run("healthy") == 0
    out = capsys.readouterr().out
    rows = {line.partition(" ")[0]: line.split() for line in out.splitlines()}
    assert rows["images"] == ["images", "8", "3", "4"]
    assert rows["videos"] == ["videos", "2", "2", "2"]
    assert rows["sizes"] == ["sizes", "64x48", "64x48", "64x48"]
    assert out.splitlines()[-1] == "No problems in 15 images"
    share = np.mean([example["mask"] for example in healthy()["test"]])
    assert f"{share:.1%} (100%)" in next(line for line in out.splitlines() if "of hand" in line)
    assert names(tmp_path / "check" / "healthy") == []
    assert reading.read(tmp_path / "check" / "healthy" / "contact_sheet.jpg").shape[1] > 6 * 240


def test_problems_fail_unless_they_are_allowed(run, tmp_path, capsys):
    problems = ["conflicting-masks", "leak", "video-in-several-splits"]
    assert run("sick", "--output=out") == 1
    out = capsys.readouterr().out
    assert re.findall(r"\[([\w-]+)\]$", out, re.MULTILINE) == [*problems, "no-foreground"]
    assert f"3 problems in 15 images (1 note): {', '.join(problems)}" in " ".join(out.split())
    assert names(tmp_path / "out") == [*problems, "no-foreground"]
    report = " ".join((tmp_path / "out" / "check.txt").read_text().split())
    assert "in more than one split [leak] train: train/train 1/train-3 = test: test/test 0/test-0" in report
    assert (tmp_path / "out" / "contact_sheet.jpg").exists()
    assert run("sick", "--output=out", "--allow", *problems[1:]) == 1
    assert run("sick", "--output=out", "--allow", *problems) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "No problems in 15 images (3 warnings, 1 note)"


def test_classes_that_may_have_sides_are_a_warning(run, tmp_path, capsys):
    root = folders.masks(tmp_path / "mine")
    arguments = ("mine", "--allow", "absent-class")
    run(*arguments)
    assert "unpaired-classes" in names(tmp_path / "check" / "mine")
    line = re.search(r"flip_pairs: \[\[.*", capsys.readouterr().out)[0]
    for advice in (line, "flip_pairs: []"):  # both of what it says
        folders.put(root / "dataset.yaml", advice)
        run(*arguments)
        assert "unpaired-classes" not in names(tmp_path / "check" / "mine")
    folders.put(root / "dataset.yaml", line)
    assert open_source(str(root), "train").info.flip_pairs == ((1, 2),)


def test_faults_of_files_are_all_found_and_nothing_else(run, tmp_path, capsys):
    def image(number, split="train"):
        return tmp_path / "healthy" / "images" / split / f"{split} {number % 2}" / f"{split}-{number}.png"

    def mask(number):
        return tmp_path / "healthy" / "masks" / "train" / f"train {number % 2}" / f"train-{number}.png"

    image(0).write_bytes(image(0).read_bytes()[:-900])
    mask(1).write_bytes(encode(planted.mask(1)[:, 1:]))
    mask(2).write_bytes(encode(planted.mask(1) * np.uint8(7)))
    mask(3).write_bytes(encode(planted.picture(1)))
    Image.fromarray(planted.picture(50)).save(image(4), "GIF")
    image(5).write_bytes(planted.with_orientation(encode(np.rot90(planted.picture(51)), ".jpg"), 6))
    image(1, "test").write_bytes(image(6).read_bytes())
    image(2, "test").write_bytes(encode(planted.picture(8), ".jpg", 40))  # as image 7
    assert run("./healthy") == 1
    unreadable = ["undecodable", "size-mismatch", "mask-value", "mask-format"]
    assert names(tmp_path / "check" / "healthy") == [*unreadable, "conflicting-masks", "leak", "near-leak"]
    blocks = (tmp_path / "check" / "healthy" / "check.txt").read_text().split("\n\n")
    for number, name in enumerate(unreadable):
        (block,) = [block for block in blocks if f"[{name}]" in block]
        assert image(number).relative_to(tmp_path / "healthy").as_posix() in " ".join(block.split())
    assert ["unreadable", "4", "0", "0"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_folder_that_cannot_be_opened_is_reported_and_written(run, tmp_path, capsys):
    assert run("healthy") == 0
    capsys.readouterr()
    (tmp_path / "healthy/masks/train/train 0/train-0.png").unlink()
    assert run("healthy", "--allow", "missing") == 1  # nothing was checked
    assert run("healthy") == 1
    out = capsys.readouterr().out
    assert "train-0" in out
    assert out.splitlines()[-1] == "1 problem in 0 images: missing"
    assert names(tmp_path / "check" / "healthy") == ["missing"]
    assert not (tmp_path / "check" / "healthy" / "contact_sheet.jpg").exists()


def test_missing_split_does_not_hide_the_others(run, capsys):
    assert run("healthy", "--splits", "train", "trian") == 1
    out = capsys.readouterr().out
    assert "has no split 'trian'" in out
    assert "1 problem in 8 images: unusable" in out


def test_splits_and_limit_select_images(run, capsys):
    assert run("sick", "--output=out", "--splits", "train", "test[:50%]", "--limit=3") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "test[:50%]"] in rows
    assert ["images", "3", "2"] in rows


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["healthy", "--allow", "video-in-several-split"], "did you mean 'video-in-several-splits'?"),
        (["healthy", "--allow", "no-foreground"], "Unknown problem to allow 'no-foreground'"),
        (["healthy", "--limit=0"], "--limit=0 must be at least 1"),
        (["./nowhere"], "There is no folder"),
        (["healthy", "--splits", "trian"], "has no split 'trian'"),
    ],
)
def test_wrong_arguments_are_refused(run, tmp_path, capsys, arguments, says):
    assert run(*arguments) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "check").exists()


def test_own_results_are_replaced_and_those_of_others_are_not(run, tmp_path, capsys):
    assert run("healthy", "--output=out") == 0
    assert run("healthy", "--output=out") == 0
    for name, content in (("check.txt", "mine"), ("contact_sheet.jpg", "mine")):
        (tmp_path / name).write_text(content)
        assert run("healthy", "--output", tmp_path) == 1
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
    splits["train"].files[6] = b"no image", "six.png"
    splits["train"][6] = check.DataError("no image", "undecodable")
    records = check.read(splits)
    findings = find(records, planted.HANDS)
    rows = [[record.id for record in contact_sheet._shown(finding)] for finding in findings]
    assert rows == [["six.png"], *[["train-3", "test-0"]] * 2, ["train-1", "test-1"], ["train-0"]]
    everything = contact_sheet.draw(splits, records, findings)
    without = contact_sheet.draw(splits, records, findings[:1])  # which has no picture
    one_row = contact_sheet.draw(splits, records, findings[1:2])
    assert without.shape == contact_sheet.draw(splits, records, []).shape
    assert len(everything) == len(without) + 4 * (len(one_row) - len(without))
