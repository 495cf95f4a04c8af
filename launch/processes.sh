#!/usr/bin/env bash
# One run in N processes on this machine: starts the same command N times, with the flags that connect the processes.
#
#   bash launch/processes.sh N COMMAND...
#   bash launch/processes.sh 2 python -m refinenet_jax.main --config=configs/demo.py --workdir=runs/two
#
# Lines of process I start with "[I] ". The exit status is the first that is not 0; if a process fails, the others are
# killed. SIGTERM and Ctrl-C are forwarded to all: a training then saves and exits with 143 or 130. PORT=... sets the port;
# by default a free one is used. CUDA_VISIBLE_DEVICES is the same for all processes, so use this script for CPUs only.
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
  '' | *[!0-9]* | 0) echo "error: the number of processes is missing: bash launch/processes.sh 2 COMMAND..." >&2; exit 2 ;;
esac
count=$1
shift
[ $# -gt 0 ] || { echo "error: the command is missing: bash launch/processes.sh $count COMMAND..." >&2; exit 2; }
port=${PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}

pids=()
trap '[ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
status=0
for ((i = 0; i < count; i++)); do
  "$@" --coordinator="127.0.0.1:$port" --num_processes="$count" --process_id="$i" \
    > >(exec sed -u "s/^/[$i] /") 2> >(exec sed -u "s/^/[$i] /" >&2) &
  pids+=($!)
done

exec 3>&2 2>/dev/null # otherwise the shell would report every process that is killed
while [ ${#pids[@]} -gt 0 ]; do
  sleep 0.2
  left=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid"; then
      left+=("$pid")
      continue
    fi
    code=0
    wait "$pid" || code=$?
    [ $status != 0 ] || status=$code
  done
  # Processes that were asked to stop do so together, and may still be saving; if one has failed, the others would hang.
  if [ ${#left[@]} != ${#pids[@]} ] && [ ${#left[@]} != 0 ] && [ $status != 0 ] && [ $status != 143 ] && [ $status != 130 ]; then
    echo "A process ended with status $status; killing the others" >&3
    kill -KILL "${left[@]}" || true
  fi
  pids=("${left[@]}")
done
exit $status
