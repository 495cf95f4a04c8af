#!/usr/bin/env bash
# What to check and measure on a machine with a GPU; fits in ten minutes, and each piece by itself in less.
#   bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]      pieces: golden train inference memory profile
# Needs the package and PyTorch, and no network: pip install -e .[cuda,bench,test]. PYTHON says another Python than `python3`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:?"usage: bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]"}
shift
pieces=("$@")
[ ${#pieces[@]} -gt 0 ] || pieces=(golden train inference memory profile)
python=${PYTHON:-python3}
mkdir -p "$output"
export TF_CPP_MIN_LOG_LEVEL=2 XLA_PYTHON_CLIENT_PREALLOCATE=false

# Runs one piece within a limit in seconds, and keeps what it says.
piece() {
  local name=$1 limit=$2
  shift 2
  echo "== $name"
  timeout "$limit" "$@" 2>"$output/$name.err" | tee "$output/$name.md"
  local status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || echo "$name ended with status $status; see $output/$name.err"
}

{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  "$python" -c 'import jax, flax, sys; print("Python", sys.version.split()[0], "JAX", jax.__version__, "Flax", flax.__version__, jax.devices())'
} 2>&1 | tee "$output/machine.txt"

for name in "${pieces[@]}"; do
  case $name in
    # The published numbers in float32 on this device; tests of gradients and pools choose other forms than on a CPU.
    golden) JAX_PLATFORMS=cuda piece golden 150 "$python" -m pytest -q -p no:xdist tests/models ;;
    train)
      piece train_bf16 200 "$python" -m benchmarks.compare --variants rf101 --cases train --sizes 480x480 --batches 4 16 32 \
        --dtype bfloat16 --rounds 5
      piece train_small 100 "$python" -m benchmarks.compare --variants rf_lw_mbv2 --cases train --sizes 480x480 --batches 16 \
        --dtype bfloat16 --rounds 5 ;;
    inference)
      piece inference_bf16 150 "$python" -m benchmarks.compare --variants rf101 --cases forward --sizes 512x512 --batches 1 16 \
        --dtype bfloat16 --rounds 20
      piece scales 100 "$python" -m benchmarks.compare --variants rf101 rf_lw_mbv2 --cases scales --sizes 1280x720 --rounds 10 ;;
    memory) piece memory 100 "$python" -m benchmarks.scale --variants rf101 --crop 480 ;;
    profile)
      piece profile 100 "$python" -m refinenet_jax.main --config=configs/demo.py:rf101 --workdir="$output/profile_run" \
        --config.num_steps=20 --config.batch_size=16 --config.augment.crop_size=192 --config.model.dtype=bfloat16 \
        --config.profile_steps='(11,14)' --config.eval_every=1000000 --config.checkpoint_every=1000000 ;;
    *) echo "no piece is called $name" >&2; exit 2 ;;
  esac
done
