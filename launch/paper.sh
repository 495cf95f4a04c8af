#!/usr/bin/env bash
# The complete study: trains on Person-Parts, fine-tunes on each of the four hand datasets, and evaluates all five.
# Run it again after an interruption: every step resumes, and completed steps are skipped.
#
#   bash launch/paper.sh --manual_dir=DIR --init_from=resnet101.pth
#   bash launch/paper.sh --variant=rf_lw101 --init_from=imagenet_weights.npz --config.batch_size=4
#
#   --manual_dir=DIR    has a folder for each dataset with the owners' files: DIR/egohands, DIR/eyth, DIR/gtea,
#                       DIR/hof, DIR/person_parts (see tfds_builders/*/README.md); without it they are downloaded
#   --variant=NAME      network; default: rf101, the paper's
#   --runs=DIR          folder of the five runs; default: runs/paper
#   --init_from=PATH    initial weights of Person-Parts: published weights of a ResNet, or another run; required
#   --datasets="A B"    hand datasets; default: egohands eyth gtea hof
# Other arguments are passed to training and evaluation, such as --config.batch_size=4.
set -euo pipefail
manual_dir= variant=rf101 runs=runs/paper init_from= datasets="egohands eyth gtea hof" flags=()
for argument in "$@"; do
  case $argument in
    --manual_dir=*) manual_dir=$(realpath "${argument#*=}") ;;
    --variant=*) variant=${argument#*=} ;;
    --runs=*) runs=${argument#*=} ;;
    --init_from=*) init_from=${argument#*=} ;;
    --datasets=*) datasets=${argument#*=} ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    *) flags+=("$argument") ;;
  esac
done
[ -n "$init_from" ] || { echo "error: frozen batch norm needs trained weights. Add --init_from=PATH" >&2; exit 1; }
source "$(dirname "$0")/setup.sh"
for name in $datasets; do
  [ -e "configs/$name.py" ] || { echo "error: unknown dataset $name. Choose from egohands eyth gtea hof" >&2; exit 1; }
done

# Builds, trains and evaluates one dataset, from initial weights.
study() {
  local name=$1 start=$2 run=$runs/$1 config
  mkdir -p "$run"
  config=$(python -c "from configs.$name import get_config; print(get_config().data.name.split('/')[1])")
  echo "== $name: building $name/$config"
  if ! tfds build "tfds_builders/$name" --config="$config" --file_format=array_record \
    ${manual_dir:+--manual_dir="$manual_dir/$name"} >"$run/build.log" 2>&1; then
    tail -n 20 "$run/build.log" >&2
    echo "error: $name could not be built. See the log: $run/build.log" >&2
    exit 1
  fi
  local job=(python -m refinenet_jax.main --config="configs/$name.py:$variant" --workdir="$run" "${flags[@]}")
  echo "== $name: training in $run"
  "${job[@]}" --config.init_from="$start"
  if [ "$run/metrics.json" -nt "$run/checkpoints" ]; then
    echo "== $name: already evaluated, see $run/metrics.json"
  else
    echo "== $name: evaluating"
    "${job[@]}" --job=evaluate
  fi
}

study person_parts "$init_from"
for name in $datasets; do
  study "$name" "$runs/person_parts"
done
