#!/usr/bin/env bash
# What to check and measure on a machine with a GPU.
#   bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]
# Pieces: golden train operations inference input, and by itself: pretrain
# All but `pretrain` end within ten minutes together, and `pretrain` by itself. A piece that reaches its limit keeps its rows.
# Needs the package and PyTorch, and no network: pip install -e .[cuda,bench]. PYTHON says another Python than `python3`.
# `input` and `pretrain` need DATA, a folder that holds (copied with `cp -rL`, for the pictures are links):
#   DATA/pretrained/   what launch/pretrained_data.py wrote
#   DATA/tfds/         the datasets egohands/hands_available and synthetic_hands/tabletop, built
#   DATA/trunk.*       the MobileNet-v2 trunk
# TINY=1 tries every piece on a CPU, with the smallest work: tests/gpu_script_test.py
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:?"usage: bash benchmarks/gpu.sh OUTPUT_FOLDER [PIECE ...]"}
shift
pieces=("$@")
[ ${#pieces[@]} -gt 0 ] || pieces=(golden train operations inference input)
python=${PYTHON:-python3}
mkdir -p "$output"
export TF_CPP_MIN_LOG_LEVEL=2 XLA_PYTHON_CLIENT_PREALLOCATE=false
if [ -n "${DATA:-}" ]; then
  export TFDS_DATA_DIR=$DATA/tfds PRETRAINED_DATA=$DATA/pretrained
fi

# Further options, the last of which count.
tiny() { [ -n "${TINY:-}" ]; }
golden=() compare=() operations=() input=() pretrain=() evaluate=()
workers=$(($(nproc) > 2 ? $(nproc) - 2 : 0))  # processes that make crops
if tiny; then
  golden=(--networks rf_lw_mbv2_c21 --precisions highest --no-gradients)
  compare=(--variants rf_lw_mbv2 --sizes 32x32 --batches 1 --rounds 1 --dtype float32)
  operations=(--only "1x1 convolution" --rounds 1)
  input=(--seconds 0.1 --cores 1)
  pretrain=(--config.batch_size=1 --config.augment.crop_size='(32,64)' --config.num_steps=12 --config.data.num_workers=0)
  evaluate=(--config.evaluate.longest_side=64)
fi

failed=0
# Runs one piece within a limit in seconds, and keeps what it prints.
piece() {
  local name=$1 limit=$2
  shift 2
  tiny && limit=900  # for compilation on a busy CPU
  echo "== $name"
  timeout "$limit" "$@" 2>"$output/$name.err" | tee "$output/$name.md"
  local status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] && return
  echo "$name ended with status $status (124: at its limit); see $output/$name.err"
  [ "$status" -eq 124 ] || failed=1
}

{
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  "$python" -c 'import jax, flax, sys; print("Python", sys.version.split()[0], "JAX", jax.__version__, "Flax", flax.__version__, jax.devices())'
} 2>&1 | tee "$output/machine.txt"

for name in "${pieces[@]}"; do
  case $name in
    # The published numbers in float32 on this device, from its own forms of the operations.
    golden) piece golden 100 "$python" -m benchmarks.golden "${golden[@]}" ;;
    train)
      piece train 200 "$python" -m benchmarks.compare --variants rf101 --cases train --sizes 480x480 --batches 16 32 4 \
        --dtype bfloat16 --rounds 5 "${compare[@]}"
      tiny || for dtype in bfloat16 float32; do
        piece "train_small_$dtype" 45 "$python" -m benchmarks.compare --variants rf_lw_mbv2 --cases train --sizes 480x480 \
          --batches 16 --dtype $dtype --rounds 5 --ways jax jax_shard_map torch_compiled
      done ;;
    # Both forms of each operation; the depthwise rows choose DEPTHWISE_ON_CUDA in refinenet_jax/models/layers.py.
    operations)
      for dtype in bfloat16 $(tiny || echo float32); do
        piece "operations_$dtype" 40 "$python" -m benchmarks.operations --rounds 20 --dtype $dtype "${operations[@]}"
      done ;;
    inference)
      piece inference 100 "$python" -m benchmarks.compare --variants rf101 --cases forward --sizes 512x512 --batches 16 1 \
        --dtype bfloat16 --rounds 20 "${compare[@]}"
      tiny || piece scales 50 "$python" -m benchmarks.compare --variants rf101 rf_lw_mbv2 --cases scales \
        --sizes 1280x720 --rounds 10 ;;
    # Crops for the network that comes with the package.
    input)
      piece input 60 "$python" -m benchmarks.input --config=configs/pretrained.py --seconds=10 "${input[@]}" ;;
    # The network that comes with the package, for seven minutes: the learning rate is constant and the weights are averaged, so
    # that any step can be the last one.
    pretrain)
      trunk=("${DATA:?"pretrain needs DATA, see the top of this file"}"/trunk*)
      piece pretrain 420 "$python" -m refinenet_jax.main --config=configs/pretrained.py --workdir="$output/pretrain" \
        --config.init_from="${trunk[0]}" --config.batch_size=32 --config.num_steps=100000 --config.eval_every=100000 \
        --config.schedule.name=constant --config.schedule.learning_rate=1e-3 --config.optimizer.clip_norm=1.0 \
        --config.data.num_workers=$workers --config.profile_steps='(8,11)' "${pretrain[@]}"
      piece pretrain_evaluation 100 "$python" -m refinenet_jax.main --workdir="$output/pretrain" --job=evaluate \
        --config.evaluate.split=validation "${evaluate[@]}" ;;
    *) echo "no piece is called $name" >&2; exit 2 ;;
  esac
done
exit $failed
