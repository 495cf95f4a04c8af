#!/usr/bin/env bash
# The study, whole: Person-Parts first, then fine-tuning on each of the four hand datasets, all five evaluated.
# Every step goes on where it stopped and is left out once done: run it again after a break.
#
#   bash launch/paper.sh --manual_dir=DIR --init_from=resnet101.pth
#   bash launch/paper.sh --variant=rf_lw101 --init_from=imagenet_weights.npz --config.batch_size=4
#
#   --manual_dir=DIR    has a folder for each dataset with what its owners publish: DIR/egohands, DIR/eyth, DIR/gtea,
#                       DIR/hof, DIR/person_parts (see tfds_builders/*/README.md); without it they are downloaded
#   --variant=NAME      network; rf101, the paper's, by default
#   --runs=DIR          where the five runs go; runs/paper by default
#   --init_from=PATH    what Person-Parts starts from: published weights of a ResNet, or another run; required
#   --datasets="A B"    instead of all four: egohands eyth gtea hof
# Anything else goes to training and evaluation, such as --config.batch_size=4.
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
[ -n "$init_from" ] || { echo "error: random weights cannot be trained with frozen batch norm; give --init_from=PATH" >&2; exit 1; }
source "$(dirname "$0")/setup.sh"
for name in $datasets; do
  [ -e "configs/$name.py" ] || { echo "error: no dataset $name; there are egohands eyth gtea hof" >&2; exit 1; }
done

# Builds, trains and evaluates one dataset, from a start.
study() {
  local name=$1 start=$2 run=$runs/$1 config
  mkdir -p "$run"
  config=$(python -c "from configs.$name import get_config; print(get_config().data.name.split('/')[1])")
  echo "== $name: building $name/$config"
  if ! tfds build "tfds_builders/$name" --config="$config" --file_format=array_record \
    ${manual_dir:+--manual_dir="$manual_dir/$name"} >"$run/build.log" 2>&1; then
    tail -n 20 "$run/build.log" >&2
    echo "error: $name could not be built; all of the log: $run/build.log" >&2
    exit 1
  fi
  local job=(python -m refinenet_jax.main --config="configs/$name.py:$variant" --workdir="$run" "${flags[@]}")
  echo "== $name: training in $run"
  "${job[@]}" --config.init_from="$start"
  if [ "$run/metrics.json" -nt "$run/checkpoints" ]; then
    echo "== $name: evaluated before, see $run/metrics.json"
  else
    echo "== $name: evaluating"
    "${job[@]}" --job=evaluate
  fi
}

study person_parts "$init_from"
for name in $datasets; do
  study "$name" "$runs/person_parts"
done
