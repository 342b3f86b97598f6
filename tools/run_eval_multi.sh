#!/usr/bin/env bash
# Score on all GPUs of this node, or on all nodes: tools/run_eval_multi.sh ARGUMENTS of the command.
# STAGE names the command: mae-finetune (default), mae-probe or mae-pretrain.
# More is set by variables: NPROC (ranks on this node; on a CPU it must be given), NNODES and MASTER (host:port of the
# first node, the same on all), DEVICES (as in 0,1), LOGS (folder of one log per rank).
exec "$(dirname "$0")/launch_ranks.sh" "${STAGE:-mae-finetune}" -eval "$@"
