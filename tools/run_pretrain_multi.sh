#!/usr/bin/env bash
# Pre-train on all GPUs of this node, or on all nodes: tools/run_pretrain_multi.sh ARGUMENTS of the command.
# With -resume auto in the arguments the same command begins and goes on.
# More is set by variables: NPROC (ranks on this node; on a CPU it must be given), NNODES and MASTER (host:port of the
# first node, the same on all), DEVICES (as in 0,1), LOGS (folder of one log per rank).
exec "$(dirname "$0")/launch_ranks.sh" mae-pretrain "$@"
