#!/usr/bin/env bash
# The complete workflow on synthetic pictures: builds synthetic_hands, trains, evaluates, predicts. Run it again to resume.
# Further arguments are passed to training and evaluation:
#   bash launch/demo.sh --workdir=runs/longer --config.num_steps=2000
set -euo pipefail
source "$(dirname "$0")/setup.sh"
workdir=runs/demo
for argument in "$@"; do
  case $argument in --workdir=*) workdir=${argument#--workdir=} ;; esac
done
mkdir -p "$workdir"
export TFDS_DATA_DIR=${TFDS_DATA_DIR:-$PWD/data}
job=(python -m refinenet_jax.main --config=configs/demo.py --workdir="$workdir" "$@")

echo "== 1/4 Drawing the dataset synthetic_hands, into $TFDS_DATA_DIR"
if ! tfds build tfds_builders/synthetic_hands --config=hands --file_format=array_record >"$workdir/build.log" 2>&1; then
  tail -n 20 "$workdir/build.log" >&2
  exit 1
fi
echo "== 2/4 Training in $workdir"
"${job[@]}"
echo "== 3/4 Evaluating on the test pictures, at three scales"
"${job[@]}" --job=evaluate
echo "== 4/4 Predicting pictures from files"
python -m tfds_builders.synthetic_hands --split=test --count=12 --output="$workdir/pictures"
refinenet-jax predict "$workdir/pictures" --checkpoint="$workdir" --output="$workdir/predictions" --overwrite
