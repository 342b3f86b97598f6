"""ONNX files in fewer bits: what they compute, what is said of them, and what is refused."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_core.export import KINDS, format_for
from mae_core.export.agreement import AgreementError, SpreadImages
from mae_core.export.model_folder import check_export
from mae_core.export.narrowing import Narrowing, narrowing_on, require_narrowing
from mae_core.process.installation import pip_install

_spec = importlib.util.spec_from_file_location("test_export", Path(__file__).with_name("test_export.py"))
exports = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exports)

pytestmark = pytest.mark.skipif(bool(exports.onnx_refusal()), reason=exports.onnx_refusal())


class Images:
    """A data set of random images; the first has no label, the label of the others is wrong."""

    def __init__(self, count, chans=3):
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 12, chans), dtype=np.uint8)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, place):
        return self.pixels[place], np.int64(-1 if place == 0 else 0), np.int64(place)


def narrowing(kind, least=0.5, count=40):
    images = Images(count)
    return Narrowing(kind, least, SpreadImages("val.txt", images, 256), SpreadImages("train.txt", images, 64))


def answers(folder, *batches):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"images": batch})[0] for batch in batches]


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrow_classifier_is_near_float64(kind, tmp_path):
    parts = exports.classifier()
    exports.write(tmp_path / "served", parts, "onnx", narrowing=narrowing(kind))
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["export.json", "model.onnx"]
    batches = exports.images(1, 3), exports.images(5, 3)
    for batch, logits in zip(batches, answers(tmp_path / "served", *batches), strict=True):
        expected = exports.numpy_logits(parts[0], batch)
        difference = np.abs(logits - expected).max() / np.abs(expected).max()
        assert 1e-5 < difference < (0.02 if kind == "bfloat16" else 0.1)  # float32 is within 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_with_weights_is_narrow(kind, tmp_path):
    import onnx

    exports.write(tmp_path / "served", exports.classifier(), "onnx", narrowing=narrowing(kind))
    graph = onnx.load(tmp_path / "served/model.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 2}
    sizes = {tensor.name: tensor.dims for tensor in graph.initializer}
    products = 1 + 4 * 2 + 1  # patches, two blocks of four, head
    narrow = onnx.TensorProto.BFLOAT16 if kind == "bfloat16" else onnx.TensorProto.INT8
    assert list(kinds.values()) == [narrow] * products, sizes
    assert {opset.domain for opset in onnx.load(tmp_path / "served/model.onnx").opset_import} == {""}


def test_what_is_said_was_counted(tmp_path):
    import onnxruntime

    parts, images = exports.classifier(), Images(40)
    exports.write(tmp_path / "exact", parts, "onnx")
    measured = exports.write(tmp_path / "served", parts, "onnx", narrowing=narrowing("int8"))
    one_by_one = [image[None] for image in images.pixels]
    classes = [[x.argmax() for x in answers(tmp_path / name, *one_by_one)] for name in ("exact", "served")]
    said = json.loads((tmp_path / "served/export.json").read_text())
    assert said["narrowed"]["agreement"] == np.mean(np.equal(*classes))
    assert said["narrowed"]["top1"] == {
        name: pytest.approx(100 * np.mean(np.array(found[1:]) == 0))
        for name, found in zip(("float32", "int8"), classes, strict=True)
    }
    sizes = {"float32": tmp_path / "exact/model.onnx", "int8": tmp_path / "served/model.onnx"}
    assert said["narrowed"]["bytes"] == {name: path.stat().st_size for name, path in sizes.items()}
    assert all(value > 0 for value in said["narrowed"]["milliseconds"].values())
    assert (said["narrowed"]["images"], said["narrowed"]["list"]) == (40, "val.txt")
    assert said["float32_parity"]["relative"] <= 1e-5
    assert "parity" not in said
    assert said["versions"]["onnxruntime"] == onnxruntime.__version__
    assert "40 images of val.txt: predictions agree on" in measured.lines()[1]


@pytest.mark.parametrize("parts", [exports.encoder, exports.autoencoder])
def test_other_outputs_than_predictions_are_compared_by_cosine(parts, tmp_path):
    agreement = exports.write(tmp_path / "served", parts(), "onnx", narrowing=narrowing("int8-static")).agreement
    assert 0.98 < agreement.agreement < 1 - 1e-6
    assert agreement.top1 is None
    said = json.loads((tmp_path / "served/export.json").read_text())["narrowed"]
    assert (said["calibration"], said["min_agreement"]) == ({"list": "train.txt", "images": 40}, 0.5)
    assert "outputs have a cosine of 0.9" in agreement.line()


def test_too_little_agreement_leaves_the_earlier_export_alone(tmp_path):
    exports.write(tmp_path / "served", exports.encoder())
    before = {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    with pytest.raises(AgreementError, match=r"below --min-agreement 1, nothing was exported") as caught:
        exports.write(tmp_path / "served", exports.encoder(), "onnx", narrowing=narrowing("int8", least=1.0))
    assert caught.value.exit_code == 2
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "served").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served", "weights.bin"]


def test_numbers_that_are_none_agree_with_nothing(tmp_path):
    agreement = exports.write(tmp_path / "served", exports.encoder(), "onnx", narrowing=narrowing("int8")).agreement
    with pytest.raises(AgreementError):
        type(agreement)(**{**vars(agreement), "agreement": float("nan")}).require(0.0)


def test_images_are_spread_over_the_list():
    images = Images(101)
    labels = [label for _, label in SpreadImages("val.txt", images, 3).batches(exports.classifier()[2])]
    batches = [inputs[0][0] for inputs, _ in SpreadImages("val.txt", images, 3).batches(exports.classifier()[2])]
    np.testing.assert_array_equal(batches, images.pixels[[0, 50, 100]])
    assert labels == [-1, 0, 0]
    assert len(SpreadImages("val.txt", images, 500)) == 101


def test_lists_are_opened_where_they_are_needed():
    opened = []
    narrowed = {
        kind: narrowing_on("val.txt", "train.txt", lambda name: opened.append(name) or Images(3), kind, 0.9)
        for kind in (None, *KINDS)
    }
    assert sorted(opened) == ["train.txt", *["val.txt"] * 3]
    assert narrowed[None] is None
    assert narrowed["int8"].calibration is None
    assert narrowed["int8-static"].calibration.name == "train.txt"


def test_a_narrow_file_is_onnx():
    assert [format_for(None, None), format_for(None, "int8"), format_for("paddle", "int8")] == [
        "paddle",
        "onnx",
        "paddle",
    ]


def test_what_cannot_be_narrowed_is_said_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="leave --format paddle out"):
        check_export(tmp_path / "served", "paddle", "int8")
    with pytest.raises(UserError, match="narrow='int4' is not known; use int8, int8-static, bfloat16"):
        check_export(tmp_path / "served", "onnx", "int4")
    for name in [name for name in sys.modules if name.startswith("onnxruntime.quantization")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UserError, match=re.escape(f"int8 needs ml_dtypes: {pip_install('mae-core', 'onnx')}")):
        require_narrowing("int8", "onnx")
    require_narrowing("bfloat16", "onnx")
