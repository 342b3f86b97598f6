"""The parts of refinement against formulas written down elsewhere: NumPy in float64, PyTorch."""

import numpy as np
import paddle
import pytest

from mae_pretrain.refine.batch_norm import BatchNorm
from mae_pretrain.refine.heads import ContrastHead, HeadSettings
from mae_pretrain.refine.loss import neighbour_contrast
from mae_pretrain.refine.neighbours import NOBODY, draw_neighbours, pushed

torch = pytest.importorskip("torch")
F = torch.nn.functional
SMALL = HeadSettings(out_dim=6, projector_dim=10, predictor_dim=12, queue=9, neighbours=3, temperature=0.2)


def unit(rng, *shape):
    rows = rng.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def tensor(array):
    return paddle.to_tensor(array if array.dtype == np.int64 else array.astype(np.float32))


def draw(z, numbers, queue, queued, count, uniform):
    drawn = draw_neighbours(tensor(z), tensor(numbers), tensor(queue), tensor(queued), count, paddle.to_tensor(uniform))
    return drawn.numpy()


def test_neighbours_are_the_nearest_of_others_each_as_likely():
    rng = np.random.default_rng(0)
    queue, z = unit(rng, 40, 8), unit(rng, 5, 8)
    queued, numbers = rng.permutation(40).astype(np.int64), np.arange(5)
    expected = []
    for row, number in zip(z, numbers, strict=True):
        others = np.flatnonzero(queued != number)
        expected.append(others[np.argsort(-(queue[others] @ row))[:4]])
    for rank, uniform in enumerate((0.0, 0.25, 0.5, 0.999999999)):
        drawn = draw(z, numbers, queue, queued, 4, np.full(5, uniform))
        places = [nearest[rank] for nearest in expected]
        np.testing.assert_array_equal(drawn, queue[places].astype(np.float32))


def test_a_sample_is_no_neighbour_of_itself_and_stands_in_where_nobody_else_is():
    z = unit(np.random.default_rng(1), 2, 4)
    numbers, top = np.array([7, 8]), 1 - 2.0**-32
    queue, queued = np.zeros((3, 4)), np.full(3, NOBODY)
    np.testing.assert_array_equal(draw(z, numbers, queue, queued, 2, np.full(2, top)), z.astype(np.float32))
    queue[1], queued[1] = z[0], 7
    drawn = draw(z, numbers, queue, queued, 2, np.full(2, top))
    np.testing.assert_array_equal(drawn, z[[0, 0]].astype(np.float32))  # alone, 7 stands in; 8 finds 7
    other = unit(np.random.default_rng(2), 1, 4)[0]
    queue[2], queued[2] = other, 9
    drawn = draw(z, numbers, queue, queued, 2, np.zeros(2))
    np.testing.assert_array_equal(drawn[0], other.astype(np.float32))  # though its own is nearer


def test_the_newest_are_in_front_and_the_oldest_fall_out():
    queue = paddle.arange(5)
    assert pushed(queue, paddle.to_tensor([10, 11])).tolist() == [10, 11, 0, 1, 2]
    assert pushed(queue, paddle.arange(20, 27)).tolist() == [20, 21, 22, 23, 24]


def contrast64(neighbours, z, p, temperature, first):
    p = p / np.linalg.norm(p, axis=1, keepdims=True)
    losses = []
    for i, row in enumerate(p):
        candidates = z.copy()
        candidates[first + i] = neighbours[i]
        logits = candidates @ row / temperature
        losses.append(np.log(np.exp(logits).sum()) - logits[first + i])
    return np.mean(losses)


@pytest.mark.parametrize("first", [0, 4])
def test_contrast_and_its_gradient(first):
    rng = np.random.default_rng(3)
    neighbours, z, p = unit(rng, 4, 6), unit(rng, 8, 6), rng.normal(size=(4, 6))
    ours = [tensor(array) for array in (neighbours, z, p)]
    for each in ours:
        each.stop_gradient = False
    loss = neighbour_contrast(*ours, 0.2, first)
    loss.backward()
    assert float(loss) == pytest.approx(contrast64(neighbours, z, p, 0.2, first), rel=1e-5)
    assert ours[0].grad is None
    assert ours[1].grad is None
    step, numeric = 1e-5, np.zeros_like(p)
    for place in np.ndindex(*p.shape):
        moved = p.copy()
        moved[place] += step
        up = contrast64(neighbours, z, moved, 0.2, first)
        moved[place] -= 2 * step
        numeric[place] = (up - contrast64(neighbours, z, moved, 0.2, first)) / (2 * step)
    np.testing.assert_allclose(ours[2].grad.numpy(), numeric, atol=1e-5)


def test_batch_norm_is_that_of_pytorch_without_scale_and_shift():
    x = np.random.default_rng(4).normal(3, 2, (12, 5)).astype(np.float32)
    ours, theirs = paddle.to_tensor(x, stop_gradient=False), torch.tensor(x, requires_grad=True)
    outputs = BatchNorm()(ours), torch.nn.BatchNorm1d(5, affine=False)(theirs)
    np.testing.assert_allclose(outputs[0].numpy(), outputs[1].detach().numpy(), atol=1e-5)
    for output in outputs:
        (output**3).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-3)
    assert not BatchNorm().state_dict()


def torch_head(head, views, numbers, queue, queued, uniform):
    """Compute a head's loss in PyTorch, float64, sample by sample."""
    weights = {name: torch.tensor(value.numpy()).double() for name, value in head.named_parameters()}

    def norm(x):
        return torch.nn.BatchNorm1d(x.shape[1], affine=False, dtype=torch.float64)(x)

    def project(x):
        for number in (0, 3):
            x = F.gelu(norm(x @ weights[f"projector.{number}.weight"]))
        return norm(x @ weights["projector.6.weight"])

    def predict(z):
        hidden = F.gelu(norm(z @ weights["predictor.0.weight"]))
        return norm(hidden @ weights["predictor.3.weight"])

    projected = [project(view) for view in views]
    z, p = [F.normalize(each) for each in projected], [F.normalize(predict(each)) for each in projected]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(views)):
        for j in range(len(views)):
            if i == j:
                continue
            for n, number in enumerate(numbers):
                others = [q for q in range(len(queued)) if queued[q] not in (NOBODY, number)]
                nearest = sorted(others, key=lambda q: -float(queue[q] @ z[i][n].detach()))[: SMALL.neighbours]
                chosen = queue[nearest[int(uniform[i][n] * len(nearest))]] if nearest else z[i][n]
                rows = torch.stack([chosen if m == n else z[i][m] for m in range(len(numbers))]).detach()
                total = total - F.log_softmax(rows @ p[j][n] / SMALL.temperature, 0)[n] / len(numbers)
    return total, z[0].detach()


@pytest.mark.parametrize("views", [2, 3])
def test_a_head_against_pytorch_over_two_batches(views):
    """The first batch meets an empty queue, the second one the first's samples and one of its own."""
    paddle.seed(5)
    head, rng = ContrastHead(7, SMALL), np.random.default_rng(5)
    queue, queued = torch.zeros(9, 6, dtype=torch.float64), [NOBODY] * 9
    for numbers in ([3, 4, 5, 6, 10, 11, 12, 13], [5, 7, 8, 9, 14, 15, 16, 17]):
        tokens = rng.normal(size=(views, 8, 7))
        uniform = rng.random((views, 8))
        ours = [paddle.to_tensor(each.astype(np.float32), stop_gradient=False) for each in tokens]
        loss = head(ours, paddle.to_tensor(numbers), paddle.to_tensor(uniform))
        theirs = [torch.tensor(each.numpy()).double().requires_grad_() for each in ours]
        expected, z = torch_head(head, theirs, numbers, queue, queued, uniform)
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
        loss.backward()
        expected.backward()
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(own.grad.numpy(), other.grad.numpy(), atol=2e-5)
        queue, queued = torch.cat([z, queue])[:9], [*numbers, *queued][:9]
        assert head.queued.tolist() == queued
        np.testing.assert_allclose(head.queue.numpy(), queue.numpy(), atol=1e-5)
