"""The command lines: configs load, faults are reported in a line with the fix, and importing the package stays light."""

import json
import subprocess
import sys

import pytest
from absl import flags
from conftest import ROOT

from configs import demo, egohands, eyth, folder, gtea, hof, person_parts
from refinenet_jax import main, models, run_config
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import protocols


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_deterministic_operations_are_chosen_before_jax_starts():
    """XLA ends a program that gives it an unknown flag; flags that were set before stay."""
    code = (
        "import os, sys; os.environ.update(JAX_PLATFORMS='cpu', XLA_FLAGS='--xla_force_host_platform_device_count=3')\n"
        "from refinenet_jax import main; import jax\n"
        "main._train = lambda: print(jax.device_count(), os.environ['XLA_FLAGS'])\n"
        "sys.argv = ['main', '--config=configs/demo.py', '--workdir=x', '--config.deterministic={}']\n"
        "main.main(main._parse(sys.argv))"
    )
    devices, given = run(code.format(True)).split(maxsplit=1)
    assert devices == "3"
    assert "--xla_gpu_deterministic_ops=true" in given
    assert "deterministic" not in run(code.format(False))


@pytest.mark.parametrize("module", [demo, egohands])
def test_config_takes_every_variant(module):
    for variant in models.VARIANTS:
        assert module.get_config(variant).model.variant == variant


def test_egohands_is_the_recipe_of_the_paper():
    config = egohands.get_config()
    assert config.model.variant == "rf101"
    assert (config.optimizer.name, config.optimizer.momentum, config.optimizer.weight_decay) == ("sgd", 0.9, 5e-4)
    assert config.optimizer.decay_all
    assert config.optimizer.factors.to_dict() == {"trunk": 0.1, "cascade": 1.0, "classifier": 10.0}
    assert (config.schedule.name, config.schedule.learning_rate, config.batch_size) == ("constant", 5e-5, 1)
    assert config.num_steps == 80 * 3600
    assert (config.model.batch_norm, config.model.input_scale, config.augment.crop_size) == ("frozen", 1.2, 400)
    assert (config.augment.crop, config.augment.short_edge) == ("class_centered", (450, 1100))
    assert config.evaluate.scales == (0.6, 0.8, 1.0)


@pytest.mark.parametrize("module", [demo, egohands, eyth, folder, gtea, hof, person_parts])
def test_paper_protocol_is_used_for_datasets_of_its_scripts(module):
    config = module.get_config()
    protocols.check(config.evaluate.protocols)
    name = module.__name__.rpartition(".")[2]
    assert ("cvpr18" in config.evaluate.protocols) == (name in protocols.SCRIPTS)
    if name in protocols.SCRIPTS:
        assert protocols.dataset_of(config.data.name) == name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--predictions=x"], "--predictions needs --job=evaluate"),
        (["--checkpoint=x"], "--checkpoint needs --job=evaluate"),
        (["--save_predictions", "--job=evaluate", "--dry_run"], "--save_predictions needs --job=evaluate"),
        (["--job=evaluate", "--resize_predictions"], "--resize_predictions needs --predictions"),
        (["--job=evaluate", "--predictions=x", "--save_predictions"], "--save_predictions needs a network instead of"),
        (["--job=evaluate", "--predictions=x", "--checkpoint=y"], "--checkpoint needs a network instead of"),
        (["--job=evaluate", "--predictions=x", "--corruptions"], "--corruptions needs a network instead of"),
        (["--corruptions"], "--corruptions needs --job=evaluate"),
        (["--job=evaluate", "--datasets=x"], "--datasets needs --job=cross_evaluate"),
        (["--policy=merge_to_hand"], "--policy needs --job=cross_evaluate"),
        (["--job=cross_evaluate", "--checkpoints=gs://b/x", "--datasets=z"], "gs://b/x, only local folders"),
        (["--job=evaluate", "--checkpoint=s3://b/x"], "s3://b/x, only local folders and gs://"),
        (["--job=cross_evaluate", "--checkpoint=x"], "--checkpoint needs --job=evaluate"),
        (["--job=cross_evaluate", "--checkpoints=x,y", "--datasets=z", "--policy=merge_to_hand"], None),
        (["--job=evaluate", "--corruptions"], None),
        (["--job=evaluate", "--predictions=x", "--resize_predictions"], None),
        (["--job=evaluate", "--checkpoint=x", "--save_predictions"], None),
        ([], None),
    ],
)
def test_flags_without_effect_are_refused(arguments, says):
    flags.FLAGS(["main", f"--config={ROOT / 'configs' / 'demo.py'}", "--workdir=none", *arguments])
    try:
        if says is None:
            main._check_flags()
        else:
            with pytest.raises(UsageError, match=says):
                main._check_flags()
    finally:
        idle = ("checkpoint", "predictions", "resize_predictions", "save_predictions", "corruptions")
        for flag in ("config", "job", "dry_run", *idle, "checkpoints", "datasets", "policy"):
            flags.FLAGS[flag].unparse()
        flags.FLAGS.unparse_flags()


def test_run_is_evaluated_with_its_saved_config(tmp_path, monkeypatch):
    config = demo.get_config()
    config.augment.scales = (0.25, 0.5)
    config.data.mix = (("a", 1.0), ("b", 2.0))
    run_config.write(tmp_path, config)
    arguments = ["main", "--job=evaluate", f"--workdir={tmp_path}", "--config.evaluate.split=validation"]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        main._parse(arguments)
        main._check_flags()
        config.evaluate.split = "validation"
        assert main._CONFIG.value.to_dict() == config.to_dict()
    finally:
        for flag in ("config", "job"):
            flags.FLAGS[flag].unparse()
        flags.FLAGS.unparse_flags()


def test_a_run_needs_a_folder():
    flags.FLAGS(["main", f"--config={ROOT / 'configs' / 'demo.py'}"])
    try:
        with pytest.raises(UsageError, match="--workdir"):
            main._check_flags()
    finally:
        flags.FLAGS["config"].unparse()
        flags.FLAGS.unparse_flags()


def test_fields_that_an_older_version_did_not_have_get_default_values(tmp_path):
    config = demo.get_config()
    saved = config.to_dict()
    del saved["deterministic"], saved["model"]["precision"]
    saved["model"]["dropout"] = 0.25
    (tmp_path / run_config.NAME).write_text(json.dumps(saved))
    config.model.dropout = 0.25
    assert run_config.get_config(str(tmp_path)).to_dict() == config.to_dict()


def test_a_folder_without_a_config_needs_one(tmp_path):
    try:
        main._parse(["main", "--job=evaluate", f"--workdir={tmp_path}"])
        with pytest.raises(UsageError, match=f"--config=.*{tmp_path} has no config.json"):
            main._check_flags()
    finally:
        flags.FLAGS["job"].unparse()
        flags.FLAGS.unparse_flags()


def test_ctrl_c_exits_with_its_status(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("refinenet_jax.training.loop.train", interrupted)
    flags.FLAGS(["main", f"--config={ROOT / 'configs' / 'demo.py'}", "--workdir=none", "--compilation_cache="])
    try:
        with pytest.raises(SystemExit) as stopped:
            main.main(["main"])
    finally:
        for flag in ("config", "compilation_cache"):
            flags.FLAGS[flag].unparse()
        flags.FLAGS.unparse_flags()
    assert stopped.value.code == 130


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--config.batch_sise=8", 'no field batch_sise. Did you mean "batch_size"'),
        ("--config.batch_size=many", "invalid literal"),
        ("--confg=x", "Unknown command line flag 'confg'"),
    ],
)
def test_wrong_flags_are_reported_in_one_line(argument, says, monkeypatch):
    # The fields of a config become flags only if they stand in sys.argv.
    monkeypatch.setattr(sys, "argv", ["main", f"--config={ROOT / 'configs' / 'demo.py'}", "--workdir=none", argument])
    try:
        with pytest.raises(SystemExit) as stopped:
            main._parse(sys.argv)
    finally:
        flags.FLAGS.unparse_flags()
    assert says in str(stopped.value)
