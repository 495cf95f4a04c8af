#!/usr/bin/env bash
# Sets up .venv and runs the tests in two processes; further arguments are passed to pytest.
#   bash launch/test.sh -k metrics
set -euo pipefail
source "$(dirname "$0")/setup.sh"
ruff check .
ruff format --check .
python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@" # files with one long test not last
