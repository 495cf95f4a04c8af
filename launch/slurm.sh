#!/usr/bin/env bash
#SBATCH --job-name=refinenet_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# One run on the GPUs of several nodes under Slurm. Written from the manuals of Slurm and JAX; not yet tested on a cluster.
#
#   sbatch launch/slurm.sh --config=configs/egohands.py --workdir=/shared/runs/egohands --config.batch_size=16
#   sbatch --nodes=8 --time=4:00:00 launch/slurm.sh ...       # options before the script are for Slurm, those after it for training
#
# - One task per GPU: under Slurm, JAX gives each process the GPU of its number on the node. Each must see all GPUs of the node,
#   so do not use --gpus-per-task or --gpu-bind.
# - --workdir, the dataset (TFDS_DATA_DIR) and this checkout must be on a file system that all nodes share; run
#   `bash launch/test.sh` once before, which creates .venv.
# - 300 s before the time limit, and on preemption, training receives SIGTERM: it saves and exits with 143. The job is then
#   queued again and resumes.
# - Two jobs whose numbers differ by a multiple of 4096 would use the same port on a node: set JAX_COORDINATOR_PORT.
case ${1:-} in -h | --help) sed -n '/^# One run/,/^case /{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
if [ -z "${SLURM_JOB_ID:-}" ]; then
  echo "error: run this with Slurm: sbatch launch/slurm.sh --config=... --workdir=..." >&2
  exit 2
fi
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}" || exit
status=0
srun --kill-on-bad-exit=0 --wait=120 .venv/bin/python -m refinenet_jax.main "$@" || status=$?
if [ $status = 143 ]; then
  echo "Stopped and saved; the job is queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
