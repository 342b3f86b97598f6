"""Teacher and student: the distance of their attention maps against PyTorch in float64, and whom it moves."""

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

import mae_core
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.ops.random_masking import MaskKey, draw_masking
from mae_core.training.checkpoints.checkpoint import save_checkpoint
from mae_core.training.optim import build_adamw
from mae_core.weights.checkpoint_folder import open_weights
from mae_core.weights.checkpoint_state import State
from mae_core.weights.load import fit_weights, load_weights
from mae_pretrain.distill.student import Student
from mae_pretrain.distill.teacher import Teacher

assert mae_core  # prepares the runtime

SIZES = {"img_size": (12, 16), "patch_size": 4, "in_chans": 2}
LEARNER = {**SIZES, "embed_dim": 8, "depth": 2, "num_heads": 2}
DECODER = {"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2}
IMAGES = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (3, 12, 16, 2), dtype=np.uint8))
KEY = MaskKey(3, 5, paddle.to_tensor([4, 9, 1]))


def sharpen(model):
    """Take attention far from uniform, where its maps say something."""
    for block in model.blocks:
        block.attn.qkv.weight.set_value(3 * block.attn.qkv.weight)
    return model


def build_teacher(heads=3):
    paddle.seed(1)
    encoder = VisionTransformer(**SIZES, embed_dim=12, depth=3, num_heads=heads, num_classes=0, pixel_std=(0.2, 0.3))
    return Teacher(sharpen(encoder))


def build_student(teacher_heads=3, **kwargs):
    paddle.seed(2)
    return sharpen(Student(teacher_heads=teacher_heads, **{**LEARNER, **DECODER, **kwargs}))


def last_maps(torch, model, images, ids, heads):
    """What the softmax of an encoder's last block takes, written out; also its parameters, which take gradients."""
    p = {n: torch.tensor(v.numpy(), dtype=torch.float64, requires_grad=True) for n, v in model.named_parameters()}
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (model.pixel_mean, model.pixel_std))
    pixels = (torch.tensor(images.numpy()).double() / 255 - mean) / std  # [N, 12, 16, 2]
    patches = pixels.reshape(3, 3, 4, 4, 4, 2).permute(0, 1, 3, 2, 4, 5).reshape(3, 12, 32)
    places = torch.tensor(ids.numpy())  # [N, K]
    visible = torch.take_along_dim(patches, places[:, :, None], dim=1)
    x = visible @ p["patch_embed.proj.weight"] + p["patch_embed.proj.bias"] + p["pos_embed"][0, 1:][places]
    x = torch.cat([p["cls_token"].expand(3, -1, -1), x], dim=1)
    width = x.shape[2]

    def norm(values, name):
        return torch.nn.functional.layer_norm(values, (width,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    for i in range(depth := len(model.blocks)):
        block = f"blocks.{i}"
        qkv = norm(x, f"{block}.norm1") @ p[f"{block}.attn.qkv.weight"] + p[f"{block}.attn.qkv.bias"]
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))  # [N, h, 1 + K, d]
        maps = q @ k.transpose(2, 3) / (width // heads) ** 0.5
        if i == depth - 1:
            return maps, p
        weights = torch.softmax(maps, dim=-1)
        x = x + (weights @ v).transpose(1, 2).flatten(2) @ p[f"{block}.attn.proj.weight"] + p[f"{block}.attn.proj.bias"]
        hidden = norm(x, f"{block}.norm2") @ p[f"{block}.mlp.fc1.weight"] + p[f"{block}.mlp.fc1.bias"]
        x = x + torch.nn.functional.gelu(hidden) @ p[f"{block}.mlp.fc2.weight"] + p[f"{block}.mlp.fc2.bias"]


def test_the_distance_and_its_gradients_are_those_of_pytorch_in_float64():
    """A student of another width, depth and number of heads, whose pixels are normalised otherwise."""
    torch = pytest.importorskip("torch")
    teacher, student = build_teacher(), build_student()
    student.train()
    maps = teacher.maps(IMAGES, 0.5, KEY, None)
    loss, distance, _ = student(IMAGES, 0.5, maps=maps, noise=KEY, return_pred=False)
    distance.backward()
    found = {name: p.grad.numpy() for name, p in student.named_parameters() if p.grad is not None}

    ids = draw_masking(KEY, 0.5, 12).ids_keep
    wanted = last_maps(torch, teacher.encoder, IMAGES, ids, 3)[0].detach()
    own, p = last_maps(torch, student, IMAGES, ids, 2)
    np.testing.assert_allclose(maps.numpy(), wanted.numpy(), atol=2e-6 * float(wanted.abs().max()))
    assert wanted.std() > 0.05
    expected = ((torch.einsum("st,nsqk->ntqk", p["distillation.weight"], own) - wanted) ** 2).mean()
    expected.backward()
    assert float(distance) == pytest.approx(expected.item(), rel=1e-5)
    for name in ("distillation.weight", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "blocks.1.norm1.bias"):
        grad = p[name].grad.numpy()
        np.testing.assert_allclose(found[name], grad, rtol=1e-3, atol=1e-4 * np.abs(grad).max(), err_msg=name)
    qkv, grad = found["blocks.1.attn.qkv.weight"], p["blocks.1.attn.qkv.weight"].grad.numpy()
    np.testing.assert_allclose(qkv, grad, rtol=1e-3, atol=1e-4 * np.abs(grad).max())
    assert np.abs(qkv[:, :16]).min() > 0  # query and key
    assert (qkv[:, 16:] == 0).all()  # no map depends on values

    paddle.seed(2)
    plain = sharpen(MaskedAutoencoderViT(**LEARNER, **DECODER))  # the mixture is drawn last
    assert float(loss) == float(plain(IMAGES, 0.5, noise=KEY, return_pred=False)[0])


@pytest.mark.parametrize("kind", ["full", "cross"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_student_that_is_its_teacher_is_at_a_distance_of_nothing(kind, recomputes):
    """Both see the same patches, also where some hold no data."""
    student = build_student(teacher_heads=2, decoder_kind=kind)
    student.distillation.weight.set_value(np.eye(2, dtype=np.float32))
    student.grad_checkpointing = recomputes
    student.train()
    teacher = Teacher(student)
    valid = paddle.to_tensor(np.random.default_rng(1).random((3, 12)) < 0.8).astype("float32")
    seen = []
    for holds in (None, valid):
        maps = teacher.maps(IMAGES, 0.5, KEY, holds)
        assert maps.stop_gradient
        _, distance, _ = student(IMAGES, 0.5, maps=maps, noise=KEY, valid=holds, return_pred=False)
        assert float(distance) < 1e-12
        distance.backward()
        seen.append(maps.numpy())
    assert np.abs(seen[0] - seen[1]).max() > 0.01
    other = teacher.maps(IMAGES, 0.5, KEY._replace(epoch=6), None)
    assert float(student(IMAGES, 0.5, maps=other, noise=KEY, return_pred=False)[1]) > 1e-4
    assert not student.blocks[-1]._forward_pre_hooks  # none is left


def test_the_distance_is_learned_away():
    teacher, student = build_teacher(), build_student()
    student.train()
    optimizer = paddle.optimizer.AdamW(0.01, parameters=student.parameters())
    maps = teacher.maps(IMAGES, 0.5, KEY, None)
    distances = []
    for _ in range(60):
        _, distance, _ = student(IMAGES, 0.5, maps=maps, noise=KEY, return_pred=False)
        distance.backward()
        optimizer.step()
        optimizer.clear_grad()
        distances.append(float(distance))
    assert distances[-1] < 0.7 * distances[0]


def test_the_teacher_learns_nothing():
    teacher, student = build_teacher(), build_student()
    student.train()
    loss, distance, _ = student(IMAGES, 0.5, maps=teacher.maps(IMAGES, 0.5, KEY, None), noise=KEY, return_pred=False)
    (loss + distance).backward()
    assert all(p.grad is None for p in teacher.encoder.parameters())
    assert all(p.grad is not None for p in student.parameters() if not p.stop_gradient)


def test_readers_of_weights_do_not_see_the_mixture_and_resuming_does(tmp_path):
    student = build_student()
    folder = save_checkpoint(tmp_path, student, build_adamw(student), State(5))
    assert "distillation.weight" in load_file(folder / "model.safetensors")
    weights = open_weights(folder)
    assert weights.arrays.keys() == student.state_dict().keys() - {"distillation.weight"}
    paddle.seed(7)
    load_weights(MaskedAutoencoderViT(**LEARNER, **DECODER), weights)  # every name has to match
    other = Student(teacher_heads=5, **LEARNER, **DECODER)
    before = other.distillation.weight.numpy()
    assert fit_weights(other, weights).missing == []
    np.testing.assert_array_equal(other.blocks[1].attn.qkv.weight.numpy(), student.blocks[1].attn.qkv.weight.numpy())
    np.testing.assert_array_equal(other.distillation.weight.numpy(), before)


def test_without_maps_it_is_a_masked_autoencoder():
    student = build_student()
    paddle.seed(2)
    plain = sharpen(MaskedAutoencoderViT(**LEARNER, **DECODER))
    for ours, theirs in zip(student(IMAGES, 0.5, noise=KEY), plain(IMAGES, 0.5, noise=KEY), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
