#!/usr/bin/env bash
# What to check and measure on a machine with a GPU; ends within ten minutes, and each piece by itself in less.
#   bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]      pieces: golden train operations inference profile, and by itself: memory
# A piece that reaches its limit keeps the rows it has; those that matter most come first.
# Needs the package and PyTorch, and no network: pip install -e .[cuda,bench,test]. PYTHON says another Python than `python3`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:?"usage: bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]"}
shift
pieces=("$@")
[ ${#pieces[@]} -gt 0 ] || pieces=(golden train operations inference profile)
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
    # The published numbers in float32 on this device, from its own forms of the operations.
    golden) JAX_PLATFORMS=cuda piece golden 100 "$python" -m pytest -q -p no:xdist tests/models ;;
    train)
      piece train 200 "$python" -m benchmarks.compare --variants rf101 --cases train --sizes 480x480 --batches 16 32 4 \
        --dtype bfloat16 --rounds 5
      for dtype in bfloat16 float32; do
        piece "train_small_$dtype" 45 "$python" -m benchmarks.compare --variants rf_lw_mbv2 --cases train --sizes 480x480 \
          --batches 16 --dtype $dtype --rounds 5 --ways jax jax_shard_map torch
      done ;;
    # Both forms of each operation; the depthwise rows choose DEPTHWISE_ON_CUDA in refinenet_jax/models/layers.py.
    operations)
      for dtype in bfloat16 float32; do
        piece "operations_$dtype" 40 "$python" -m benchmarks.operations --rounds 20 --dtype $dtype
      done ;;
    inference)
      piece inference 100 "$python" -m benchmarks.compare --variants rf101 --cases forward --sizes 512x512 --batches 16 1 \
        --dtype bfloat16 --rounds 20
      piece scales 50 "$python" -m benchmarks.compare --variants rf101 rf_lw_mbv2 --cases scales --sizes 1280x720 --rounds 10 ;;
    memory) piece memory 400 "$python" -m benchmarks.scale --variants rf101 --crop 480 ;;
    profile)
      piece profile 60 "$python" -m refinenet_jax.main --config=configs/demo.py:rf101 --workdir="$output/profile_run" \
        --config.num_steps=20 --config.batch_size=16 --config.augment.crop_size=192 --config.model.dtype=bfloat16 \
        --config.profile_steps='(11,14)' --config.eval_every=1000000 --config.checkpoint_every=1000000 ;;
    *) echo "no piece is called $name" >&2; exit 2 ;;
  esac
done
