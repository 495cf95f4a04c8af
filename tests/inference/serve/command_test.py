"""The command: what it refuses before it listens, and that a real server ends cleanly with no file left behind."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import tiny
from PIL import Image

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve import command
from refinenet_jax.inference.serve.folder import work_folder

ROOT = Path(__file__).resolve().parents[3]


def _run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([*map(str, arguments)]))


@pytest.fixture(autouse=True)
def segmenter(monkeypatch):
    network = Segmenter(tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names, tiny.HANDS.flip_pairs)
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda directory, **options: network)


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            UsageError, match=rf"127\.0\.0\.1, port {port}, cannot be listened at .*Give another --port"
        ):
            _run("--port", port)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port=70000"], "--port=70000 is no port"),
        (["--port=0", "--host=nowhere.invalid"], "--host=nowhere.invalid is no address of this machine"),
        (["--port=0", "--picture-megabytes=0"], "picture_megabytes is 0; it must be above 0"),
        (["--port=0", "--waiting=-1"], "waiting is -1; it must be above 0"),
        (["--port=0", "--clip-length=nan"], "clip_length is nan; it must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says):
    with pytest.raises(UsageError, match=says):
        _run(*arguments)


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("10.0.0.7", True)],
)
def test_who_opens_it_to_others_is_warned(host, warned, capsys):
    command._announce(host, 8000)
    told = capsys.readouterr().err
    assert ("asks for no password" in told) == warned
    assert f"http://{host if warned else 'localhost'}:8000" in told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_real_server_answers_and_ends_cleanly(tmp_path, number, status):
    scratch = tmp_path / "temporary"
    scratch.mkdir()
    program = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
        import argparse, tiny
        from refinenet_jax.inference.segmenter import Segmenter
        from refinenet_jax.inference.serve import command
        network = Segmenter(tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names)
        Segmenter.from_checkpoint = lambda path, **options: network
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        sys.exit(command.run(parser.parse_args(["--port=0", "--longest-side=128"])))
    """
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    ) as process:
        try:
            lines = []
            while not (lines and lines[-1].startswith("Open http://localhost:")):
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            address = lines[-1].split()[1].replace("localhost", "127.0.0.1")
            request = urllib.request.Request(f"{address}/api/segment", (tmp_path / "picture.png").read_bytes())
            with urllib.request.urlopen(request, timeout=60) as response:
                assert b'"width":40' in response.read()
            assert list(scratch.iterdir())
            process.send_signal(number)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status
    assert "Traceback" not in rest
    assert " POST /api/segment 200 " in rest.splitlines()[0]
    assert list(scratch.iterdir()) == []


def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path, monkeypatch):
    left = tmp_path / "refinenet-jax-serve-killed"
    left.mkdir()
    (left / "lock").touch()
    (left / "clip").write_bytes(b"x")
    stranger = tmp_path / "refinenet-jax-serve-without-lock"
    stranger.mkdir()
    with work_folder(tmp_path) as now:
        assert left.exists()  # another process may just have made it
        for folder in (left, now):
            os.utime(folder / "lock", (0, time.time() - 60))
        with work_folder(tmp_path):
            assert not left.exists()
            assert (now / "lock").exists()  # in use
    assert [path.name for path in tmp_path.iterdir()] == [stranger.name]


def test_work_folder_is_private_and_goes_whatever_happens(tmp_path):
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch, suppress(KeyError):
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        with work_folder() as folder:
            assert folder.parent == tmp_path
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "clip").write_bytes(b"x")
            raise KeyError
    assert list(tmp_path.iterdir()) == []
