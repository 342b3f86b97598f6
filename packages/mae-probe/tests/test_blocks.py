"""Features of any block: against the blocks applied by hand, one pass for several, kept apart, tables, token files."""

import json
import shutil

import numpy as np
import paddle
import pytest
from safetensors import safe_open
from stage_runs import PROBE, records, weights

import mae_core
import mae_probe
from mae_core.errors import UserError
from mae_data.loading.preprocess import preprocess
from mae_probe.cli import main
from mae_probe.commands.yardsticks import sweep_lines
from mae_probe.extraction import encoding
from mae_probe.extraction.feature_file import read_features
from mae_probe.extraction.pooling import Part, block_numbers

TINY = PROBE.tiny


@pytest.fixture
def passes(monkeypatch):
    """How often a list was encoded."""
    seen, encode = [], encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda *args: seen.append(1) or encode(*args))
    return seen


@pytest.fixture
def words(pretrained, data, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run", ignore=shutil.ignore_patterns("features"))
    return [str(word) for word in ("-pretrained", run, "-data_path", data, *TINY)]


def by_hand(run, files, block):
    """Tokens behind a block and the last norm, the blocks called one after the other."""
    model = mae_core.load(str(run))
    model.eval()
    pixels = paddle.to_tensor(preprocess(files, (16, 24)))
    x = model.embed(model.normalize(model.patchify(pixels)))
    for layer in list(model.blocks)[: block + 1]:
        x = layer(x)
    return model.norm(x).numpy()


def test_token_files_hold_what_the_blocks_make(words, pretrained, data, tmp_path, capsys):
    size = ["DATA.IMAGE_SIZE", "[16, 24]", "--no-cache"]
    for suffix in ("npz", "safetensors"):
        output = ["-output", str(tmp_path / f"t.{suffix}")]
        assert main(["features", *words, *size, "--tokens", "--block", "0", "-1", *output]) == 0
    assert "t-1.npz: 7 images, 4 x 6 tokens of 16 numbers each" in capsys.readouterr().out
    for block in (0, 1):
        with np.load(tmp_path / f"t-{block}.npz", allow_pickle=False) as file:
            tokens, paths = file["tokens"], [str(path) for path in file["paths"]]
            assert (file["grid"].tolist(), int(file["block"][0]), file["labels"].tolist()[:3]) == (
                [4, 6],
                block,
                [0, 1, 2],
            )
        assert (tokens.dtype, tokens.shape) == (np.float16, (7, 24, 16))
        expected = by_hand(pretrained, [data / path for path in paths], block)[:, 1:]
        np.testing.assert_allclose(tokens, expected, atol=4e-3)
        with safe_open(tmp_path / f"t-{block}.safetensors", "numpy") as file:
            np.testing.assert_array_equal(file.get_tensor("tokens"), tokens)
            assert json.loads(file.metadata()["paths"]) == paths
    with pytest.raises(UserError, match=r"t-0\.npz is no readable feature file"):
        read_features(tmp_path / "t-0.npz")


def test_token_tables_hold_what_token_files_do(words, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("t.npz", "t.parquet"):
        assert main(["features", *words, "--no-cache", "--tokens", "-output", str(tmp_path / name)]) == 0
    table = parquet.read_table(tmp_path / "t.parquet")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as file:
        assert json.loads(table.schema.metadata[b"grid"]) == file["grid"].tolist()
        assert [json.loads(table.schema.metadata[b"block"])] == file["block"].tolist()
        assert table["path"].to_pylist() == file["paths"].tolist()
        assert table["label"].to_pylist() == file["labels"].tolist()
        assert str(table["tokens"].type.value_type.value_type) == "halffloat"
        np.testing.assert_array_equal(np.array(table["tokens"].to_pylist(), np.float16), file["tokens"])
    with pytest.raises(UserError, match=r"t\.parquet is no readable feature file"):
        read_features(tmp_path / "t.parquet")


def test_python_takes_a_block_too(pretrained, data):
    files = sorted((data / "val").rglob("*.jpg"))[:3]
    for block, pool in ((0, "mean"), (-2, "mean"), (1, "class")):
        tokens = by_hand(pretrained, files, block % 2)
        expected = tokens[:, 0] if pool == "class" else tokens[:, 1:].mean(axis=1)
        found = mae_probe.features(pretrained, files, block=block, pool=pool)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(UserError, match="block 2 is not there; the encoder has 2: 0 to 1, or -1 for the last"):
        mae_probe.features(pretrained, files, block=2)


def test_blocks_are_compared_in_one_pass_and_kept_apart(words, passes, capsys):
    assert (
        main(["knn", *words, "--k", "5", "--k", "10", "--json", "-", "--block", "all", "--pool", "class", "mean"]) == 0
    )
    printed = capsys.readouterr()
    said, rows = json.loads(printed.out), [line for line in printed.err.splitlines() if " --pool " in line]
    assert len(passes) == 4  # as many by random weights
    assert list(said["random_init"]) == ["0 class", "0 mean", "1 class", "1 mean"]
    assert (said["block"], said["pool"]) == ([0, 1], ["class", "mean"])
    assert list(said["top1"]) == ["0 class", "0 mean", "1 class", "1 mean"]
    (random,) = (row for row in rows if row.startswith("random init --block"))
    highest = max(max(by_k.values()) for by_k in said["random_init"].values())
    assert max(map(float, random.split()[-2:])) == pytest.approx(highest, abs=0.005)
    for row, (key, by_k) in zip(rows, said["top1"].items(), strict=False):
        assert row.split() == ["--block", key[0], "--pool", key[2:], *(f"{by_k[k]:.2f}" for k in ("5", "10"))]
    best = max(value for by_k in said["top1"].values() for value in by_k.values())
    (named,) = (row for row in rows if row.startswith("best: --block"))
    assert named.endswith(f"{best:.2f}")
    for block, key in (("-1", "1 mean"), ("0", "0 mean")):
        assert main(["knn", *words, "--k", "5", "--json", "-", "--block", block, "--pool", "mean"]) == 0
        assert json.loads(capsys.readouterr().out)["top1"]["5"] == said["top1"][key]["5"]
    assert len(passes) == 4  # read from features/


def test_logistic_regression_of_blocks_is_a_table(words, capsys):
    pytest.importorskip("sklearn")
    assert main(["logistic", *words, "--block", "0", "1", "--no-cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = (i for i, line in enumerate(lines) if line.split() == ["logistic", "regression,", "C=1", "top-1"])
    rows = {line.split()[1]: float(line.split()[-1]) for line in lines[first + 1 : first + 3]}
    assert list(rows) == ["0", "1"]
    assert [line.split("  ")[0] for line in lines[first + 4 : first + 5]] == ["raw pixels"]
    assert lines[first + 3].startswith("random init --block")
    assert float(lines[first + 5].split()[-1]) == max(rows.values())


def test_a_table_names_the_largest_figure():
    figures = {Part("mean", 0): {"k=5": 3.0, "k=10": 7.5}, Part("mean", 1): {"k=5": 9.25, "k=10": 1.0}}
    lines = sweep_lines("kNN", figures, {"raw pixels": {"k=5": 99.0, "k=10": 2.0}})
    assert lines == [
        "kNN             k=5     k=10",
        "--block 0      3.00     7.50",
        "--block 1      9.25     1.00",
        "raw pixels    99.00     2.00",
        "best: --block 1, k=5 9.25",
    ]


@pytest.mark.parametrize("head", ["linear", "attentive"])
def test_a_probe_of_a_block_reads_it_and_holds_no_later_one(words, pretrained, data, head, cli, tmp_path):
    flags = ["MODEL.HEAD", head, "MODEL.NUM_QUERIES", 4, "DATA.IMAGE_SIZE", "[16, 24]"]
    run = tmp_path / "probe"
    result = cli(*words, *flags, "--block", -2, "-batch_size", 8, "-output", run)
    assert result.returncode == 0, result.stderr
    arrays = weights(run)[1]
    assert {name.split(".")[1] for name in arrays if name.startswith("blocks.")} == {"0"}
    result = cli("-eval", "-pretrained", run, "-data_path", data, "--json", tmp_path / "scores.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "scores.json").read_text())
    last = [record for record in records(run) if "top1" in record][-1]
    assert (found["top1"], found["val_loss"]) == (last["top1"], pytest.approx(last["val_loss"], rel=1e-5))
    if head == "linear":
        files = sorted((data / "val").rglob("*.jpg"))[:3]
        classes = by_hand(pretrained, files, 0)[:, 0]
        normed = (classes - arrays["head.0._mean"]) / np.sqrt(arrays["head.0._variance"] + 1e-6)
        logits = mae_core.load(str(run))(paddle.to_tensor(preprocess(files, (16, 24)))).numpy()
        np.testing.assert_allclose(logits, normed @ arrays["head.1.weight"] + arrays["head.1.bias"], atol=1e-4)


def test_numbers_of_blocks():
    assert block_numbers(["all"], 3) == [0, 1, 2]
    assert block_numbers(["-1", "0", "2"], 3) == [2, 0]
    with pytest.raises(UserError, match="block -4 is not there"):
        block_numbers(["-4"], 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["features", "--tokens", "--pool", "mean"], "--tokens and --pool exclude each other"),
        (["features", "--tokens", "-output", "t.csv"], "t.csv has suffix .csv; use .npz, .safetensors or .parquet"),
        (["knn", "--block", "7"], "block 7 is not there; the encoder has 2"),
        (["--block", "2"], "MODEL.BLOCK=2 is not there; the encoder has 2: use 0 to 1, or -1 for the last"),
        (["knn", "--block", "x"], "'x' is neither the number of a block nor all"),
        (["knn", "--train", "a.npz", "--val", "b.npz", "--block", "1"], "--block is for images"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(flags, message, words, capsys):
    assert main([*flags, *([] if "--train" in flags else words)]) == 2
    assert message in capsys.readouterr().err
