# Sourced by demo.sh, paper.sh and test.sh: creates a virtual environment in .venv with the locked packages, once.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: Python 3.11 or newer is needed, not $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11" >&2
  exit 1
fi
stamp=.venv/installed-$(cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  echo "Setting up .venv (3 GB of packages, once; some minutes) ..."
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
  rm -f .venv/installed-*
  touch "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=2
# Large pages for large arrays, if glibc supports them: faster on a CPU.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
