#!/usr/bin/env bash
# Start a command on several ranks by Paddle's launcher: tools/launch_ranks.sh COMMAND ARGUMENTS.
# Variables: NPROC, NNODES, MASTER, DEVICES, LOGS; see run_pretrain_multi.sh. Exit codes are those of the command.
set -euo pipefail

command=$(command -v "$1") || { echo "error: $1 is not installed in this environment; see README.md" >&2; exit 2; }
shift
options=(--log_dir "${LOGS:-logs}")
[ -n "${NPROC:-}" ] && options+=(--nproc_per_node "$NPROC")
[ -n "${DEVICES:-}" ] && options+=(--devices "$DEVICES")
if [ "${NNODES:-1}" != 1 ]; then
    [ -n "${MASTER:-}" ] || { echo "error: NNODES=$NNODES needs MASTER=host:port of the first node" >&2; exit 2; }
    options+=(--nnodes "$NNODES" --master "$MASTER")
fi
python=$(dirname "$command")/python
[ -x "$python" ] || python=python3
exec "$python" -m paddle.distributed.launch "${options[@]}" "$command" "$@"
