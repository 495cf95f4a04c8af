"""Tests of dataset.yaml: every field, and what is refused."""

import re
from pathlib import Path

import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.dataset_yaml import Settings, Split, read_settings

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "own_data.md"


def _read(tmp_path, text) -> Settings:
    (tmp_path / "dataset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings(tmp_path)


def test_without_the_file_or_with_an_empty_one_all_is_default(tmp_path):
    assert read_settings(tmp_path) == Settings()
    assert _read(tmp_path, "# nothing yet\n") == Settings()


def test_every_field_is_read(tmp_path):
    settings = _read(
        tmp_path,
        r"""
name: my_hands
classes: {background: [], left hand: [left, Left Hand], right hand: right}
flip_pairs: [[left hand, right hand]]
colors: {right hand: [1, 2, 3], void: [255, 255, 255]}
ignore: [face]
void: [unsure]
layout: labelme
group: '(video\d+)_.*'
split: {validation: 0.2, test: 0, seed: 7}
""",
    )
    assert settings.name == "my_hands"
    assert settings.classes == {"background": (), "left hand": ("left", "Left Hand"), "right hand": ("right",)}
    assert settings.flip_pairs == (("left hand", "right hand"),)
    assert settings.colors == {(1, 2, 3): 2, (255, 255, 255): 255}
    assert (settings.ignore, settings.void, settings.layout) == (("face",), ("unsure",), "labelme")
    assert settings.group.search("video12_003")[1] == "video12"
    assert settings.split == Split(0.2, 0, 7)


def test_classes_follow_from_what_masks_look_like(tmp_path):
    assert list(_read(tmp_path, "binary: true").classes) == ["background", "hand"]
    assert _read(tmp_path, "binary: false") == Settings(binary=False)
    settings = _read(tmp_path, "colors: {background: [0, 0, 0], arm: [9, 0, 0], void: [1, 1, 1]}")
    assert list(settings.classes) == ["background", "arm"]
    assert settings.colors == {(0, 0, 0): 0, (9, 0, 0): 1, (1, 1, 1): 255}
    assert _read(tmp_path, "\ufeffclasses: [background, Hände]").classes == {
        "background": ("background",),
        "Hände": ("Hände",),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clases: [a]", "Unknown field 'clases'; did you mean 'classes'"),
        ("- a", "'field: value' lines"),
        ("name: [", "cannot be read as YAML"),
        (b"name: \xff", "cannot be read as YAML"),
        ("a: &a [1]\nb: [*a, *a]", "aliases"),
        ("name: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("[" * 60_000, "cannot be read as YAML .*lists in lists"),
        ("name: " + "x" * (64 << 10), "bytes; at most"),
        ("name: 2024", "name is 2024, not text; write it in 'quotes'"),
        ("binary: 1", "binary is 1.*true or false"),
        ("classes: hand", "classes is 'hand'.*list"),
        ("classes: [background, no]", "an entry of classes is False, not text; write it in 'quotes'"),
        ("classes: {background: [], 1: [hand]}", "a name in classes is 1, not text"),
        (f"classes: [{', '.join(f'c{i}' for i in range(256))}]", "classes has 256 .* 1 to 255"),
        ("classes: [a, b, a]", "classes .* twice: a, b, a"),
        ("classes: [a, b, c]\nbinary: true", "two classes.* 3"),
        ("colors: {a: [0, 0, 0]}\nclasses: [a, b]\nbinary: true", "binary and colors exclude"),
        ("colors: {a: [0, 0, 0], b: [0, 0, 0]}", "two classes have the color"),
        ("colors: {a: [0, 0, 256]}", r"from 0 to 255"),
        ("classes: [background, hand]\ncolors: {hands: [0, 0, 0]}", "'hands'; did you mean 'hand'"),
        ("colors: [1]", "colors is .*'field: value'"),
        ("classes: [left, right]\nflip_pairs: [[left, rigth]]", "'rigth'; did you mean 'right'"),
        ("classes: [a, b, c]\nflip_pairs: [[a, b], [b, c]]", "names a class twice"),
        ("flip_pairs: [[a, 1]]", "a class in flip_pairs is 1, not text"),
        ("flip_pairs: [a, b]", "flip_pairs is \\['a', 'b'\\].*list of pairs"),
        ("ignore: face", "ignore is 'face'.*list"),
        ("classes: [background, hand]\nname: a\nclasses: [background, arm]", r"'classes' .* lines 1 and 3"),
        ("split: {test: 0.1, seed: 1, test: 0.3}", "'test' .* lines 1 and 1"),
        ("unannotated: ignore", "Unknown unannotated 'ignore'"),
        ("layout: mask", "Unknown layout 'mask'; did you mean 'masks'"),
        ("group: 'video'", "group has no parentheses"),
        ("group: '(video'", "not a regular expression"),
        ("group: '((a+)+)x'", "group .*repeats"),
        ("group: '(.*).*.*.*.*.*x'", "group .*repeats"),
        ("split: 0.1", "split is '0.1'"),
        ("split: {train: 0.8}", "Unknown field of split 'train'"),
        ("split: {test: -0.1}", "test is -0.1; it must be from 0 to 1"),
        ("split: {test: .nan}", "test is nan; it must be from 0 to 1"),
        ("split: {seed: 0.5}", "seed is 0.5"),
        ("split: {test: 0.6, validation: 0.5}", "validation 0.5 and test 0.6"),
    ],
)
def test_faults_are_named_with_the_file(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"(?s)dataset\.yaml.*{message}"):
        _read(tmp_path, text)


def test_what_the_documentation_shows_is_valid(tmp_path):
    examples = re.findall("```yaml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert len(examples) == 5
    for example in examples:
        assert _read(tmp_path, example) != Settings()
