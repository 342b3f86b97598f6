"""Ranks that `srun` started, in the variables that Paddle knows from its own launcher."""

import re
from collections.abc import Mapping

FIRST_PORT, PORTS = 20_000, 10_000


def as_launched(env: Mapping[str, str], gpu: bool) -> dict[str, str]:
    """Return the variables to set; none where `srun` started one process only, or Paddle's launcher stands between.

    MASTER_ADDR and MASTER_PORT are heeded; without them rank 0's node is taken from the list of nodes, and a port
    from the job's number.
    """
    world, rank = int(env.get("SLURM_STEP_NUM_TASKS") or 1), env.get("SLURM_PROCID")
    if world == 1 or rank is None or "PADDLE_TRAINER_ID" in env:
        return {}
    host = env.get("MASTER_ADDR") or first_node(env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or "")
    job = int(env.get("SLURM_JOB_ID") or 0) * 31 + int(env.get("SLURM_STEP_ID") or 0)
    port = int(env.get("MASTER_PORT") or FIRST_PORT + job % PORTS)
    local = env.get("SLURM_LOCALID", "0")
    endpoints = [f"{host}:{port + 1 + number}" for number in range(world)]  # Paddle counts them, and connects to none
    return {
        "PADDLE_MASTER": f"{host}:{port}",
        "PADDLE_TRAINER_ID": rank,
        "PADDLE_TRAINERS_NUM": str(world),
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_CURRENT_ENDPOINT": endpoints[int(rank)],
        "PADDLE_DISTRI_BACKEND": "nccl" if gpu else "gloo",
        "PADDLE_LOCAL_RANK": local,
        "PADDLE_RANK_IN_NODE": local,
        # Tasks that were bound to a GPU of their own see only that.
        "FLAGS_selected_gpus": "0" if len(env.get("CUDA_VISIBLE_DEVICES", ",").split(",")) == 1 else local,
        "PADDLE_LOCAL_SIZE": str(local_size(env)),
        "PADDLE_NNODES": env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES") or "1",
    }


def first_node(nodes: str) -> str:
    """Return the first name of a list such as `gpu[007-012,20],big1`."""
    name, numbers = re.match(r"([^,\[]*)(?:\[([0-9]+))?", nodes).groups(default="")  # type: ignore[union-attr]
    return f"{name}{numbers}" or "127.0.0.1"


def local_size(env: Mapping[str, str]) -> int:
    """Return the tasks on this node, from counts such as `8(x2),4`."""
    counts: list[int] = []
    for part in (env.get("SLURM_STEP_TASKS_PER_NODE") or env["SLURM_STEP_NUM_TASKS"]).split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    node = int(env.get("SLURM_NODEID") or 0)
    return counts[node] if node < len(counts) else counts[-1]
