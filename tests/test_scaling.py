"""The simulation of tools/scaling.py at its limits, against Paddle's own buckets, and as docs/scaling.md tells it."""

import subprocess
import sys
from dataclasses import replace

import pytest
from stage_runs import ROOT

import mae_core  # before Paddle: it prepares the CPU runtime
from scaling import MODELS, Cluster, buckets, simulate

BASE = MODELS["ViT-B/16"]


def test_where_nothing_hides_it_twice_the_link_is_half_the_time():
    bare = replace(Cluster(), flops=1e30, hop=0.0)
    once, twice = (simulate(BASE, 64, replace(bare, link=link)) for link in (1e9, 2e9))
    assert twice.exposed == pytest.approx(once.exposed / 2)
    # A ring sends each number twice, but for a rank's own share.
    sent = 4 * sum(size for size, _ in buckets(BASE, bare)) / 4
    assert once.exposed == pytest.approx(2 * sent * 63 / 64 / (0.85 * 1e9), rel=1e-3)


def test_without_overlap_all_of_the_exchange_is_waited_for():
    c = replace(Cluster(), hop=0.0, overlap=0.0)
    sent = sum(size for size, _ in buckets(BASE, c))
    assert simulate(BASE, 64, c).exposed == pytest.approx(2 * sent * 63 / 64 / (c.link * c.link_share), rel=1e-3)


def test_the_buckets_are_those_that_paddle_makes():
    from paddle.base import core

    from mae_core.training.optim import trainable

    parameters = [p for _, p in trainable(mae_core.build_model("mae_vit_base_patch16"))]
    groups = core.eager_assign_group_by_size(parameters, [False] * len(parameters), [2**20, 25 * 2**20])
    ours = buckets(BASE, Cluster())
    assert sum(size for size, _ in ours) == sum(4 * int(p.size) for p in parameters)
    assert abs(len(groups) - len(ours)) <= 1
    assert [share for _, share in ours] == sorted(share for _, share in ours)
    assert ours[-1][1] == pytest.approx(1)


def test_the_page_holds_what_the_command_prints():
    done = subprocess.run([sys.executable, ROOT / "tools/scaling.py"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in (ROOT / "packages/mae-core/docs/scaling.md").read_text()
