#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU slice, with the same command on each. Written from the manuals; not yet tested.
#
#   TPU=my-slice ZONE=us-central2-b bash launch/tpu_pod.sh --config=configs/egohands.py --workdir=gs://my-bucket/runs/egohands
#
#   TPU    name of the slice          ZONE    its zone
#   DIR    this checkout on every host; default: refinenet_jax in the home folder; once before:
#            gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=all \
#              --command='git clone URL refinenet_jax && cd refinenet_jax && python3 -m venv .venv && .venv/bin/pip install -e .[train,tpu,gcs]'
#
# JAX finds the other hosts by itself. --workdir is in a bucket, or on a file system that all hosts mount, such as Filestore;
# the dataset (TFDS_DATA_DIR) is on such a file system. Run the same command again to resume after an interruption.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
if [ -z "${TPU:-}" ] || [ -z "${ZONE:-}" ] || [ $# = 0 ]; then
  echo "error: TPU=name ZONE=zone bash launch/tpu_pod.sh --config=... --workdir=..." >&2
  exit 2
fi
command="cd ${DIR:-refinenet_jax} && ${TFDS_DATA_DIR:+TFDS_DATA_DIR=$(printf '%q' "$TFDS_DATA_DIR") }"
command+="exec .venv/bin/python -m refinenet_jax.main$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
