"""What all commands share: `~`, wrong words, devices, and a reader that stops reading."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags
from conftest import ROOT

from configs import common
from refinenet_jax import __main__, main, run_config
from refinenet_jax.command_line.job_help import job_help
from refinenet_jax.command_line.parser import Parser, expand_home, use_device
from refinenet_jax.data.doctor import findings
from refinenet_jax.errors import UsageError

JOBS = [name for name, (module, _) in __main__.COMMANDS.items() if not module]


def test_home_is_expanded_where_shells_leave_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = ["~/a", "--output=~/x", "--checkpoints=~/a,b,~/c", "@~/list.txt", "--config.data.name=~", "a~b/~", "~.jpg"]
    expected = ["/home/me/a", "--output=/home/me/x", "--checkpoints=/home/me/a,b,/home/me/c", "@/home/me/list.txt"]
    assert expand_home(given) == [*expected, "--config.data.name=/home/me", "a~b/~", "~.jpg"]


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["predit", "a.jpg"], "predict"),
        (["predict", "a.jpg", "--ouput=out"], "--output"),
        (["predict", "a.jpg", "--save", "mask"], "masks"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(arguments, near, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"did you mean {near}?" in line


def command_parser(name: str) -> Parser:
    parser = Parser(f"refinenet-jax {name}")
    importlib.import_module(f"refinenet_jax.{__main__.COMMANDS[name][0]}").add_arguments(parser)
    return parser


@pytest.mark.parametrize("name", ["predict", "serve", "check", "convert", "export", "verify"])
def test_examples_of_the_help_are_right_and_it_fits_80_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = command_parser(name)
    assert max(map(len, parser.format_help().splitlines())) <= 80
    examples = [line.partition(" && ")[0] for line in parser.epilog.replace("\\\n", "").splitlines()[1:]]
    assert len(examples) >= 2
    for example in examples:
        program, command, *arguments = shlex.split(example)
        assert (program, command) == ("refinenet-jax", name)
        args = parser.parse_args(arguments)
        assert set(getattr(args, "allow", ())) <= set(findings.KINDS)


@pytest.mark.parametrize("job", [*JOBS, None])
def test_help_of_the_jobs_names_what_exists_and_fits_80_columns(job, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page = job_help(job)
    assert max(map(len, page.splitlines())) <= 80
    fields = run_config.flatten(common.get_config())
    named = set(re.findall(r"(?<![\w-])--([\w.]*\w)", page))
    assert {name for name in named if name not in flags.FLAGS} <= {f"config.{field}" for field in fields}
    if job is None:
        defined = {flag.name for flag in flags.FLAGS.flags_by_module_dict()[main.__name__]}
        assert defined <= named
    program = f"refinenet-jax {job} " if job else "python -m refinenet_jax.main "
    assert page.partition("examples:")[2].count(f"\n  {program}") == 3


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_commands_in_the_docs_exist(page):
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", "").splitlines()
    for program, *arguments in filter(None, (shlex.split(line, comments=True) for line in lines)):
        if program == "bash":
            assert (ROOT / arguments[0]).is_file()
        if program == "python":
            assert importlib.util.find_spec(arguments[1])
        if arguments[:2] == ["-m", "refinenet_jax.main"] or (program == "refinenet-jax" and arguments[0] in JOBS):
            fields = {f"config.{field}" for field in run_config.flatten(common.get_config())}
            given = re.findall(r"--([\w.]*\w)", " ".join(arguments[1:]))
            assert {name for name in given if name not in flags.FLAGS} <= fields
        elif program == "refinenet-jax":
            command_parser(arguments[0]).parse_args(arguments[1:])


def test_devices():
    use_device(None)
    use_device("cpu")  # the tests' own
    for name in ("gpu", "cuda", "tpu"):
        with pytest.raises(UsageError, match=rf"--device={name} cannot be used"):
            use_device(name)
    for name in ("cpu:1", "gpux", "gpu:a", "tpu:0"):
        with pytest.raises(UsageError, match=f"--device={name}"):
            use_device(name)


def test_a_reader_that_stops_reading_is_no_traceback(tmp_path):
    """As in `refinenet-jax verify ... | head`: the reading end of the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        imports = "import sys; from refinenet_jax import __main__; from refinenet_jax.command_line import verify"
        code = "verify.run = lambda args: print('a line') or 0; sys.exit(__main__.main(['verify', 'x']))"
        command = [sys.executable, "-c", f"{imports}; {code}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        found = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, timeout=120)
    finally:
        os.close(writing)
    assert (found.returncode, found.stderr) == (141, "")
