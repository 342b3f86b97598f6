"""`mae-pretrain serve` without a browser: what is answered, and what is refused."""

import base64
import io
import json
import re
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
import paddle
import pytest
from PIL import Image

import mae_core
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.ops import products
from mae_core.report import image_server
from mae_core.report.http_server import is_own_name
from mae_core.report.image_server import name_of
from mae_core.training.checkpoints.checkpoint import save_checkpoint
from mae_core.training.optim import build_adamw
from mae_core.weights.checkpoint_state import State
from mae_data.errors import DataError
from mae_pretrain import reconstruct
from mae_pretrain.cli import main
from mae_pretrain.web.application import Application
from mae_pretrain.web.served_model import ServedModel

waitress = pytest.importorskip("waitress", reason="the demo extra is not installed")

SMALL = {"img_size": (16, 24), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
PATCHES = 24


def image_bytes(kind="PNG", size=(30, 20)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def autoencoder():
    return ServedModel(MaskedAutoencoderViT(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, **SMALL), "mae")


@pytest.fixture(scope="module")
def classifier():
    return ServedModel(VisionTransformer(num_classes=3, class_names=["<b>cat</b>", "dog", "cow"], **SMALL), "vit")


@pytest.fixture(scope="module")
def server(autoencoder):
    """The port of a running server; its thread ends with the process."""
    server = Application(autoencoder, "127.0.0.1").make_server(0)
    threading.Thread(target=server.run, daemon=True).start()
    return server.effective_port


def ask(port, path, body=b"", method="POST", **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/octet-stream", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def pixels_of(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_reconstruction_is_that_of_the_library(server, autoencoder):
    data = image_bytes()
    status, body, _ = ask(server, "/reconstruct?ratio=0.5&seed=3", data)
    told = json.loads(body)
    expected = reconstruct(autoencoder.model, Image.open(io.BytesIO(data)), mask_ratio=0.5, seed=3)
    assert status == 200
    np.testing.assert_array_equal(pixels_of(told["original"]), expected.original[0])
    np.testing.assert_array_equal(pixels_of(told["reconstruction"]), expected.pasted[0])
    assert [int(digit) for digit in told["removed"]] == expected.mask[0].astype(int).tolist()


@pytest.mark.parametrize("count", [1, 5, PATCHES - 1])
def test_a_drawn_mask_is_the_one_that_is_removed(server, autoencoder, count):
    mask = "1" * count + "0" * (PATCHES - count)
    told = json.loads(ask(server, f"/reconstruct?removed={mask}", image_bytes())[1])
    assert told["removed"] == mask
    shown, source = pixels_of(told["reconstruction"]), pixels_of(told["original"])
    differs = (shown != source).any(axis=-1).reshape(4, 4, 6, 4).any(axis=(1, 3)).reshape(-1)
    assert differs.tolist() == [digit == "1" for digit in mask]


def test_attention_is_a_share_of_one_for_each_head(server):
    told = json.loads(ask(server, "/attend", image_bytes())[1])
    heads = np.array(told["heads"])
    assert heads.shape == (2, PATCHES)
    assert (heads.sum(axis=1) > 0.5).all()  # the rest is the class token's own
    assert (heads.sum(axis=1) < 1).all()


def test_a_classifier_names_and_reconstructs_nothing(classifier):
    told = classifier.classify(image_bytes("JPEG"))
    assert {guess["name"] for guess in told["classes"]} == {"<b>cat</b>", "dog", "cow"}
    assert sum(guess["probability"] for guess in told["classes"]) == pytest.approx(1)
    assert classifier.describe()["can"] == ["attend", "classify"]
    assert np.shape(classifier.attend(image_bytes())["heads"]) == (2, PATCHES)
    with pytest.raises(mae_core.errors.UserError, match="no decoder"):
        classifier.reconstruct(image_bytes(), 0.5, 0, "")


def bomb():
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    head = bytearray(image_bytes())
    head[16:24] = (60000).to_bytes(4, "big") * 2
    head[29:33] = zlib.crc32(bytes(head[12:29])).to_bytes(4, "big")
    return bytes(head)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/reconstruct", b"no image at all", 400, "no image that can be used"),
        ("/reconstruct", image_bytes("JPEG")[:-300], 400, "no image that can be used"),
        ("/reconstruct", bomb(), 400, "pixels"),
        ("/reconstruct", b"", 400, "no image was sent"),
        ("/attend", b"GIF89a" + b"\0" * 50, 400, "no image that can be used"),
        ("/reconstruct?ratio=1", image_bytes(), 400, "above 0 and below 1"),
        ("/reconstruct?ratio=0.9999", image_bytes(), 400, "leaves 0 of 24 patches; give 0.0417 to 0.9583"),
        ("/reconstruct?ratio=1e-17", image_bytes(), 400, "leaves 24 of 24 patches"),
        ("/reconstruct?ratio=nan", image_bytes(), 400, "above 0 and below 1"),
        ("/reconstruct?seed=-1", image_bytes(), 400, "whole number"),
        ("/reconstruct?seed=<b>", image_bytes(), 400, "whole number"),
        ("/reconstruct?removed=" + "0" * PATCHES, image_bytes(), 400, "at least one of each"),
        ("/reconstruct?removed=" + "1" * PATCHES, image_bytes(), 400, "at least one of each"),
        ("/reconstruct?removed=0101", image_bytes(), 400, "give 24 times 0 or 1"),
        ("/classify", image_bytes(), 400, "no classifier"),
        ("/../../etc/passwd", b"", 405, "only read"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(server, path, body, status, words):
    answered, told, headers = ask(server, path, body)
    assert answered == status
    assert words in json.loads(told)["error"]
    assert headers["Content-Type"] == "application/json"
    assert ask(server, "/model", method="GET")[0] == 200  # it goes on


def array_bytes(shape, kind):
    file = io.BytesIO()
    np.save(file, np.full(shape, 7, kind))
    return file.getvalue()


@pytest.mark.parametrize(
    ("depth", "body", "takes", "why"),
    [
        (
            {"in_chans": 3},
            array_bytes((20, 30, 3), np.uint16),
            "JPEG, PNG, WebP, GIF, BMP, TIFF or NumPy (.npy) of 8-bit numbers, in colour or grey",
            "uint16 values, but the value range 255 is one of uint8",
        ),
        (
            {"in_chans": 4, "value_range": 10000},
            array_bytes((20, 30, 3), np.uint16),
            "TIFF or NumPy (.npy) of 16-bit numbers, of which 10000 is white, with 4 channels",
            "the image has 3 channels, 4 are asked for",
        ),
        (
            {"in_chans": 1, "value_range": (0.0, 1.0)},
            array_bytes((20, 30, 1), np.float32),
            "TIFF or NumPy (.npy) of floating-point numbers from 0 to 1, with 1 channel",
            "values from 7 to 7 leave the value range [0, 1]",
        ),
        (
            {"in_chans": 1, "value_range": 65535},
            b"GIF",
            "PNG, TIFF or NumPy (.npy) of 16-bit numbers, of which 65535 is white, with 1 channel",
            "not an image, or none of JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM",
        ),
        (
            {"in_chans": 2, "bands": [3, 1]},
            array_bytes((20, 30, 2), np.uint8),
            "TIFF or NumPy (.npy) of 8-bit numbers, with the bands 3, 1",
            "",
        ),
    ],
)
def test_the_page_says_which_images_the_model_takes_and_names_no_flag(depth, body, takes, why):
    model = ServedModel(VisionTransformer(num_classes=3, **{**SMALL, **depth}), "vit")
    assert model.describe()["takes"] == takes
    with pytest.raises(DataError) as refused:
        model.attend(body)
    said = str(refused.value)
    assert said.startswith(f"this is no image that can be used: {why}")
    assert said.endswith(f"; the model takes {takes}")
    assert "--" not in said
    assert not re.search("[A-Z]+_[A-Z]+", said)


def test_requests_of_others_are_refused(server):
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert ask(server, "/attend", image_bytes(), **headers)[0] == 403
    assert ask(server, "/attend", image_bytes(), Origin=f"http://127.0.0.1:{server}")[0] == 200
    for kind in ("multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded"):
        assert ask(server, "/attend", image_bytes(), Content_Type=kind)[0] == 415
    assert ask(server, "/attend", method="GET")[0] == 405
    assert ask(server, "/%2e%2e/pyproject.toml", method="GET")[0] == 404
    policy = ask(server, "/", method="GET")[2]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("127.0.0.1:8123@evil.com", False),
        ("localhost@evil.com", False),
        ("evil.com:127.0.0.1", False),
        ("localhost:80:80", False),
        ("localhost..", False),
        ("[::1]evil.com", False),
        ("", False),
        ("LOCALHOST:8123", True),
        ("localhost.", True),
        ("localhost.:80", True),
        ("[::1]:80", True),
        ("127.0.0.1", True),
    ],
)
def test_only_own_names_are_answered(header, own):
    assert is_own_name("127.0.0.1", header) == own
    assert is_own_name("0.0.0.0", header)


def test_stopping_under_load_is_quiet_and_soon(autoencoder, monkeypatch, capsys):
    began = threading.Event()

    def attend(data):
        began.set()
        time.sleep(0.5)
        return {}

    monkeypatch.setattr(autoencoder, "attend", attend)
    application = Application(autoencoder, "127.0.0.1")

    def call(_):
        said = []
        application(environ(), lambda status, headers: said.append(status))
        return said[0]

    with ThreadPoolExecutor(8) as users:
        answers = [users.submit(call, i) for i in range(8)]
        began.wait(10)
        started = time.monotonic()
        application.queue.close(4)
        late = call(None)
        told = sorted(a.result() for a in answers)
    assert time.monotonic() - started < 5
    assert told == ["200 OK"] + ["503 Service Unavailable"] * 7
    assert late == "503 Service Unavailable"
    assert capsys.readouterr().err == ""


def environ():
    return {
        "PATH_INFO": "/attend", "REQUEST_METHOD": "POST", "HTTP_HOST": "localhost", "CONTENT_TYPE": "image/png",
        "wsgi.input": io.BytesIO(b"x"),
    }  # fmt: skip


def test_a_hundred_megabytes_are_refused_before_they_are_sent(server):
    with socket.create_connection(("127.0.0.1", server), timeout=10) as client:
        client.sendall(b"POST /attend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n")
        client.sendall(b"x" * 65536)
        assert client.recv(100).split(b"\r\n")[0] == b"HTTP/1.1 413 Request Entity Too Large"


def test_slow_and_silent_clients_keep_nobody_waiting(server):
    slow = [socket.create_connection(("127.0.0.1", server)) for _ in range(30)]
    for client in slow:
        client.sendall(b"POST /attend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc")
    started = time.monotonic()
    assert ask(server, "/attend", image_bytes())[0] == 200
    assert time.monotonic() - started < 5
    for client in slow:
        client.close()


def test_many_at_once_are_computed_one_by_one_or_asked_to_come_again(autoencoder, monkeypatch):
    monkeypatch.setattr(image_server, "PLACES", 3)
    running, most, first = [], [], threading.Event()

    def attend(data):
        running.append(1)
        most.append(len(running))
        first.wait(10)
        running.pop()
        return {}

    monkeypatch.setattr(autoencoder, "attend", attend)
    application = Application(autoencoder, "127.0.0.1")

    def call(_):
        said = []
        environ = {
            "PATH_INFO": "/attend", "REQUEST_METHOD": "POST", "HTTP_HOST": "localhost", "CONTENT_TYPE": "image/png",
            "wsgi.input": io.BytesIO(b"x"),
        }  # fmt: skip
        body = b"".join(application(environ, lambda status, headers: said.append(status)))
        return said[0], body

    with ThreadPoolExecutor(8) as users:
        answers = [users.submit(call, i) for i in range(8)]
        while sum(a.done() for a in answers) < 5:
            time.sleep(0.01)
        first.set()
        told = [a.result() for a in answers]
    application.queue.close()
    assert sorted(status for status, _ in told) == ["200 OK"] * 3 + ["503 Service Unavailable"] * 5
    assert any(b"try again" in body for _, body in told)
    assert max(most) == 1


def test_what_is_computed_is_in_the_context_that_was_given(autoencoder):
    seen = []
    for around in ({}, {"around": products.in_bfloat16}):
        application = Application(autoencoder, "127.0.0.1", **around)
        seen.append(application.queue.run(products.rounds, paddle.ones([1])))
        application.queue.close()
    assert seen == [False, True]


def test_a_fault_inside_is_no_page_of_code(autoencoder, monkeypatch, capsys):
    monkeypatch.setattr(autoencoder, "attend", lambda data: 1 / 0)
    application = Application(autoencoder, "127.0.0.1")
    environ = {
        "PATH_INFO": "/attend", "REQUEST_METHOD": "POST", "HTTP_HOST": "[::1]:80", "CONTENT_TYPE": "image/png",
        "wsgi.input": io.BytesIO(b"x"),
    }  # fmt: skip
    (body,) = application(environ, lambda status, headers: None)
    application.queue.close()
    assert json.loads(body)["error"] == "this could not be computed; the console says why"
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nope.pth"], 4, "no such file"),
        (["RUN", "--port", "70000"], 2, "1 to 65535"),
        (["RUN", "--host", "no.such.host.invalid"], 2, "the server cannot listen at no.such.host.invalid:8000"),
    ],
)
def test_what_cannot_be_served_is_one_line(tmp_path, capsys, words, code, message):
    model = MaskedAutoencoderViT(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, **SMALL)
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints", model, build_adamw(model), State(1, config={"DATA": {"CROP_PCT": 1.0}}))
    assert main(["serve", *(str(tmp_path) if word == "RUN" else word for word in words)]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_run_is_looked_at_as_it_was_evaluated(tmp_path):
    model = MaskedAutoencoderViT(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, **SMALL)
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints", model, build_adamw(model), State(1, config={"DATA": {"CROP_PCT": 1.0}}))
    told = ServedModel.load(tmp_path).reconstruct(image_bytes(), 0.5, 0, "")
    expected = reconstruct(model, Image.open(io.BytesIO(image_bytes())), mask_ratio=0.5, crop_pct=1.0)
    np.testing.assert_array_equal(pixels_of(told["original"]), expected.original[0])


def test_a_checkpoint_is_called_by_its_run(tmp_path):
    file = tmp_path / "photos/checkpoints/step_00000040/model.safetensors"
    file.parent.mkdir(parents=True)
    (tmp_path / "photos/best").symlink_to("checkpoints/step_00000040")
    assert name_of(tmp_path / "photos") == "photos"
    assert name_of(file.parent) == name_of(tmp_path / "photos/best") == "photos, step_00000040"
    assert name_of(tmp_path / "vit.safetensors") == "vit.safetensors"
