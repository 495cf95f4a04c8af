"""Compiled programs are kept where they may be, and never stand in the way."""

import os
import subprocess
import sys

import jax

from refinenet_jax import compilation_cache


def test_compiled_programs_are_kept_and_a_torn_one_is_removed(tmp_path):
    """Beside one that a killed process left half written JAX would write nothing."""
    code = (
        "import sys, jax, jax.numpy as jnp; from refinenet_jax import compilation_cache; compilation_cache.use(sys.argv[1]); "
        "hits = []; jax.monitoring.register_event_listener(lambda event, **_: hits.append(event)); "
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((9, 9))); print(sum('cache_hits' in hit for hit in hits))"
    )
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    torn = tmp_path / "jit_x-0123-cache"
    found = []
    for _ in range(2):
        torn.write_bytes(b"half")
        os.utime(torn, (0, 0))
        command = [sys.executable, "-c", code, str(tmp_path)]
        found.append(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100))
        assert not torn.exists()
    entries = len(list(tmp_path.glob("*-cache")))
    assert entries
    assert [run.stdout for run in found] == ["0\n", f"{entries}\n"]
    assert [run.stderr for run in found] == ["", ""]


def test_compilation_cache_that_cannot_be_written_or_is_set_elsewhere_is_left_alone(tmp_path, monkeypatch, capsys):
    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("")
    compilation_cache.use(tmp_path / "file" / "xla")
    assert f"Compiled programs are not kept in {tmp_path / 'file' / 'xla'}: " in capsys.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    compilation_cache.use()
    assert not (tmp_path / "home").exists()
    assert jax.config.jax_compilation_cache_dir == before
