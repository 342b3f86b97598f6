"""Hostile and damaged weight files: nothing runs, nothing large is allocated, each is refused by name, exit code 4."""

import io
import json
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mae_core import cli
from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import PLAIN, RefusedPickle
from mae_core.weights.formats.pickles import read_pickle
from mae_core.weights.sources import read_weights

pytestmark = pytest.mark.once  # files are read without Paddle

CANARY = "mae_core_canary"  # a module that counts what is called and imported


class Canary:
    """Everything asked of it is counted."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self.calls.append(f"get {name}")
        return lambda *args, **kwargs: self.calls.append(f"call {name}")


@pytest.fixture
def canary(monkeypatch):
    module = Canary()
    monkeypatch.setitem(sys.modules, CANARY, module)
    return module


class SetState:
    """An object whose unpickling runs `__setstate__`."""

    def __getstate__(self):
        return 1

    def __setstate__(self, state):
        sys.modules[CANARY].calls.append("setstate")


class Slots:
    __slots__ = ("x",)


class Keys:
    """`__new__` with keyword arguments: NEWOBJ_EX."""

    def __getnewargs_ex__(self):
        return (), {"key": 1}

    def __new__(cls, key=None):
        return super().__new__(cls)


class Reduce:
    def __init__(self, function, *args):
        self.value = (function, args)

    def __reduce__(self):
        return self.value


def text(value):
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data  # SHORT_BINUNICODE


CALL = b"(S'x'\ntR."
OD = b"ccollections\nOrderedDict\n"
# opcode by opcode: every way from a pickle to a callable
PAYLOADS = {
    "GLOBAL": (b"c" + CANARY.encode() + b"\nrun\n.", CANARY),
    "GLOBAL REDUCE": (b"c" + CANARY.encode() + b"\nrun\n" + CALL, CANARY),
    "os.system": (b"cos\nsystem\n(S'touch /tmp/never'\ntR.", r"os\.system"),
    "builtins eval": (b"c__builtin__\neval\n" + CALL, r"__builtin__\.eval"),
    "getattr": (b"cbuiltins\ngetattr\n" + CALL, r"builtins\.getattr"),
    "STACK_GLOBAL": (b"\x80\x04" + text(CANARY) + text("run") + b"\x93" + CALL, CANARY),
    "STACK_GLOBAL dotted name": (b"\x80\x04" + text("collections") + text("OrderedDict.update") + b"\x93.", "update"),
    "STACK_GLOBAL os.system dotted": (b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + CALL, r"os\.system"),
    "STACK_GLOBAL dunder": (b"\x80\x04" + text("builtins") + text("tuple.__class__") + b"\x93.", "__class__"),
    "STACK_GLOBAL from memo": (b"\x80\x04" + text(CANARY) + b"\x940" + b"h\x00" + text("run") + b"\x93.", CANARY),
    "STACK_GLOBAL of numbers": (b"\x80\x04K\x01K\x02\x93.", "no text"),
    "INST": (b"(S'x'\ni" + CANARY.encode() + b"\nrun\n.", "INST"),
    "INST allowed name": (b"(iargparse\nNamespace\n.", "INST"),
    "OBJ": (b"(c" + CANARY.encode() + b"\nrun\nS'x'\no.", CANARY),
    "OBJ allowed name": (b"(ccollections\nOrderedDict\no.", "OBJ"),
    "NEWOBJ": (b"\x80\x02c" + CANARY.encode() + b"\nrun\n)\x81.", CANARY),
    "NEWOBJ_EX": (b"\x80\x04" + OD + b")}\x92.", "NEWOBJ_EX"),
    "NEWOBJ_EX by pickle": (pickle.dumps(Keys(), 4), "Keys"),
    "EXT1": (b"\x80\x02\x82\x01.", "EXT1"),
    "EXT2": (b"\x80\x02\x83\x01\x00.", "EXT2"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
    "PERSID": (b"Pwhatever\n.", "persistent id"),
    "BINPERSID": (b"\x80\x02S'x'\nQ.", "persistent id"),
    "BUILD setstate": (pickle.dumps(SetState(), 4), "SetState"),
    "BUILD slots": (pickle.dumps(Slots(), 4), "Slots"),
    "BUILD on a name": (b"\x80\x02" + OD + b"}(S'__setstate__'\nS'x'\nub.", "state set on a Name"),
    "BUILD slots state on a name": (b"\x80\x02" + OD + b"N}S'__code__'\nS'x'\ns\x86b.", "state set on a Name"),
    "BUILD on a list": (b"\x80\x02]}b.", "state set on a list"),
    "REDUCE of text": (b"\x80\x02S'os.system'\n)R.", "calls str"),
    "REDUCE of a value": (b"\x80\x02" + OD + b")R)R.", "calls Attributed"),
    "REDUCE of a name for mention only": (b"\x80\x02cnumpy\nndarray\n)R.", r"numpy\.ndarray"),
    "REDUCE arguments no tuple": (b"\x80\x02" + OD + b"]R.", "OrderedDict"),
    "APPEND on a name": (b"\x80\x02" + OD + b"K\x01a.", "appended to a Name"),
    "APPENDS on a dict": (b"\x80\x02" + OD + b")R(K\x01e.", "appended to a"),
    "ADDITEMS on a list": (b"\x80\x04](K\x01\x90.", "added to a list"),
    "SETITEM on a name": (b"\x80\x02" + OD + b"K\x01K\x02s.", "keys set on a Name"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "newline in a name": (
        b"\x80\x04" + text("os\nerror: fine") + text("system") + b"\x93.",
        r"os\?error: fine\.system",
    ),
    "subprocess by pickle": (
        pickle.dumps(Reduce(__import__("subprocess").check_call, ["false"]), 4),
        r"subprocess\.check_call",
    ),
    "exec by pickle": (pickle.dumps(Reduce(exec, "raise SystemExit"), 4), r"builtins\.exec"),
    "numpy's own loader": (pickle.dumps(Reduce(np.load, "x.npy"), 4), r"numpy.*load"),
}
DAMAGED = {
    "empty": b"",
    "cut off": pickle.dumps({"a": np.ones(3)}, 4)[:60],
    "no stop": b"\x80\x02K\x01",
    "unknown opcode": b"\x80\x02\xff.",
    "nothing on the stack": b"\x80\x02.",
    "pop of nothing": b"\x80\x020.",
    "tuple without mark": b"\x80\x02t.",
    "mark as a value": b"\x80\x02(\x85.",
    "get of nothing": b"\x80\x02h\x05.",
    "odd number of items": b"\x80\x02}(K\x01u.",
    "text that is no text": b"\x80\x04\x8c\x01\xff.",
    "long of many digits": b"L" + b"9" * 5000 + b"L\n.",
    "an array of wrong size": pickle.dumps(np.ones(3), 4).replace(b"K\x03\x85", b"K\x04\x85"),
    "an array of 99 dimensions": pickle.dumps(np.ones(1), 4).replace(b"K\x01\x85", b"(" + b"K\x01" * 99 + b"t"),
    "an array of objects": pickle.dumps(np.array([None]), 4),
}


def wrapped(payload, suffix):
    """Put a pickle where the format has one; the payload is a whole pickle, ended by STOP."""
    if suffix == ".pdparams":
        return payload
    if suffix == ".pth":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
            archive.writestr("archive/version", "3\n")
        return file.getvalue()
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + payload + pickle.dumps([], 2)


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".bin"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_no_opcode_runs_anything(tmp_path, canary, capsys, name, suffix):
    payload, named = PAYLOADS[name]
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(wrapped(payload, suffix))
    if suffix != ".pdparams" and "PERSID" in name:
        named = "storage|values to unpack"  # PyTorch's files have persistent ids; these are none of theirs
    before = set(sys.modules)
    with pytest.raises(CheckpointError, match=named):
        read_weights(file)
    assert cli.main(["inspect", str(file)]) == 4
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}")
    assert said.count("\n") == 1
    assert canary.calls == []
    assert {module.partition(".")[0] for module in set(sys.modules) - before} <= {"mae_core", "encodings"}


def test_the_canary_would_sing(canary):
    for name in ("GLOBAL REDUCE", "STACK_GLOBAL", "BUILD setstate"):
        pickle.loads(PAYLOADS[name][0])
    assert [call for call in canary.calls if not call.startswith("get")] == ["call run", "call run", "setstate"]


def test_every_opcode_of_the_format_is_known_or_refused():
    import pickletools

    from mae_core.weights.formats import pickles

    machine = pickles._Machine(PLAIN, None)
    refused = set()
    for opcode in pickletools.opcodes:
        try:
            machine.step(opcode.name, None)
        except RefusedPickle as error:
            refused |= {opcode.name} if "opcode" in str(error) else set()
        except Exception:
            pass  # known, with nothing on the stack to work on
    buffers = {"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert refused == {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "FROZENSET"} | buffers


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".bin"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles_are_refused(tmp_path, name, suffix):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(wrapped(DAMAGED[name], suffix))
    with pytest.raises(CheckpointError, match="weights"):
        read_weights(file)


def test_nesting_without_end_neither_crashes_nor_recurses(tmp_path):
    file = tmp_path / "deep.pdparams"
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000
    file.write_bytes(deep + b".")
    with pytest.raises(CheckpointError, match="holds a tuple"):
        read_weights(file)
    file.write_bytes(b"\x80\x02}" + deep[2:] + b"K\x01s.")  # as a key it would have to be hashed
    with pytest.raises(CheckpointError, match="tuple as a dictionary key"):
        read_weights(file)
    file.write_bytes(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.")  # a dictionary inside itself
    with pytest.raises(CheckpointError, match="no tensors"):
        read_weights(file)


HUGE = {
    "memo index": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2**60": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
    "frame of 2**60": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "array of 2**60": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    + b"(K\x01\x8a\x08"
    + struct.pack("<q", 1 << 60)
    + b"\x85cnumpy\ndtype\nS'f4'\n\x85R\x89C\x00tb.",
}


@pytest.mark.parametrize("name", HUGE)
def test_announced_sizes_are_not_believed(tmp_path, name):
    file = tmp_path / "huge.pdparams"
    file.write_bytes(HUGE[name])
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        read_weights(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


MANY = 2_000  # times 1 MB, or 8 MB as a tuple


def long_text(length=1 << 20):
    return b"X" + struct.pack("<I", length) + b"a" * length


def repeated(call):
    """A small file in which one long text is memoised and handed to a call again and again."""
    return b"\x80\x02" + long_text() + b"q\x00" + (call + b"0") * MANY + b"."


def shared_array(many=MANY):
    """Many arrays over the same bytes, which as bfloat16 would be widened one by one."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    state = b"(K\x01J" + struct.pack("<i", 1 << 19) + b"\x85cnumpy\ndtype\nS'u2'\n\x85R\x89h\x00tb"
    data = b"B" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    items = b"".join(b"S'%d'\n" % i + array + state for i in range(many))
    return b"\x80\x03" + data + b"q\x000}(" + items + b"u."


BOMBS = {
    "one text as many bytes": (repeated(b"c_codecs\nencode\nh\x00S'latin1'\n\x86R"), "more than the file holds"),
    "one text as many tuples": (repeated(b"cbuiltins\ntuple\nh\x00\x85R"), "more than the file holds"),
    "many arrays of the same bytes": (shared_array(), "over 4 times the file's"),
}


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".bin"])
@pytest.mark.parametrize("name", BOMBS)
def test_small_files_do_not_grow(tmp_path, name, suffix):
    payload, named = BOMBS[name]
    if suffix != ".pdparams" and "arrays" in name:
        named = "no tensors"  # PyTorch's files hold PyTorch's
    file = tmp_path / f"bomb{suffix}"
    file.write_bytes(wrapped(payload, suffix))
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=named):
        read_weights(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


def test_no_small_file_grows_or_hangs(tmp_path):
    program = Path(__file__).with_name("hostile_pickles.py")
    words = [sys.executable, str(program), str(tmp_path), "100000"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found) > 35
    for name, cost in found.items():
        assert (cost["code"], bool(cost["said"])) == (0, True), name
        assert cost["mb"] < 130, (name, cost)  # 500,000 empty sets; most take less than 10
        assert cost["seconds"] < 10, (name, cost)  # a second or two where the machine is idle


def test_many_views_of_one_storage_are_refused(tmp_path):
    pickle_of_one = torch_pickle(size=(1 << 18,), numel=1 << 18)
    tensor = pickle_of_one[pickle_of_one.index(b"ctorch._utils") : -2]
    items = b"".join(b"S'blocks.%d.attn.qkv.weight'\n" % i + tensor for i in range(100))
    file = tmp_path / "views.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + items + b"u.")
        archive.writestr("archive/data/0", bytes(1 << 20))
    with pytest.raises(CheckpointError, match=r"take 104,857,600 bytes, over 4 times the file's"):
        read_weights(file)


@pytest.mark.parametrize("place", range(5))
def test_no_pickle_of_the_older_stream_runs_anything(tmp_path, canary, place):
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": 1}, []]
    stream = [pickle.dumps(part, 2) for part in parts]
    stream[place] = b"\x80\x02c" + CANARY.encode() + b"\nrun\n" + CALL
    file = tmp_path / "old.pth"
    file.write_bytes(b"".join(stream))
    with pytest.raises(CheckpointError, match=CANARY if place < 4 else "no tensors|refers to"):
        read_weights(file)
    assert canary.calls == []


def test_registered_extensions_are_not_looked_up(tmp_path, canary):
    import copyreg

    canary.run.__module__, code = CANARY, 77
    copyreg.add_extension(CANARY, "run", code)
    try:
        file = tmp_path / "extension.pdparams"
        file.write_bytes(b"\x80\x02\x82" + bytes([code]) + CALL)
        canary.calls.clear()
        with pytest.raises(CheckpointError, match="EXT1"):
            read_weights(file)
        assert canary.calls == []
        pickle.loads(file.read_bytes())
        assert canary.calls == ["get run", "call run"]  # it would have been
    finally:
        copyreg.remove_extension(CANARY, "run", code)


def torch_pickle(size=(2,), strides=(1,), offset=0, numel=2, kind="FloatStorage", key="0"):
    from mae_core.weights.formats import torch_writer as writer

    storage = b"(" + writer._text("storage") + f"ctorch\n{kind}\n".encode() + writer._text(key) + writer._text("cpu")
    storage += writer._integer(numel) + b"tQ"
    arguments = storage + writer._integer(offset) + writer._sizes(size) + writer._sizes(strides) + b"\x89N"
    return b"\x80\x02}" + writer._text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": (3,)}, "storage of 2 numbers"),
        ({"offset": 1}, "storage of 2 numbers"),
        ({"offset": -1}, "not sizes"),
        ({"size": (1 << 20, 1 << 20), "strides": (0, 0)}, "storage of 2 numbers"),
        ({"strides": (-1,)}, "not sizes"),
        ({"strides": (1, 1)}, "not sizes"),
        ({"numel": 1 << 36, "size": (1 << 36,)}, "over 4 times the file"),
        ({"numel": 99, "size": (99,)}, "8 bytes of 396"),
        ({"numel": 3}, "8 bytes of 12"),
        ({"size": (1, 2), "strides": (1 << 64, 1)}, "2 dimensions"),
        ({"size": (0, 1 << 64), "strides": (1, 1)}, "2 dimensions"),
        ({"size": (0, *(1 << 30,) * 3), "strides": (1,) * 4}, "4 dimensions"),
        ({"size": (1,) * 99, "strides": (1,) * 99}, "99 dimensions"),
        ({"key": "7"}, "lacks archive/data/7"),
        ({"key": "../../etc/passwd"}, "lacks archive/data"),
        ({"kind": "ComplexFloatStorage"}, r"torch\.ComplexFloatStorage"),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, capsys, change, named):
    file = tmp_path / "views.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", torch_pickle(**change))
        archive.writestr("archive/data/0", np.ones(2, np.float32).tobytes())
    with pytest.raises(CheckpointError, match=named):
        read_weights(file)


def test_zip_files_that_are_not_pytorch(tmp_path):
    file = tmp_path / "other.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_weights(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # a bomb would be packed
        archive.writestr("archive/data.pkl", b"0" * 1_000_000)
    with pytest.raises(CheckpointError, match="compressed"):
        read_weights(file)
    data = file.read_bytes()
    file.write_bytes(
        data.replace(b"archive/data.pkl", b"archive/\xff\xfe\xfd\xfc.pkl").replace(
            b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\x08"
        )
    )
    with pytest.raises(CheckpointError, match="not a readable zip file"):  # a name that claims to be UTF-8
        read_weights(file)
    for cut in (3, 10, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match="other"):
            read_weights(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", torch_pickle())
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(CheckpointError, match="big-endian"):
        read_weights(file)


def header(entries, data=b"", length=None):
    content = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "empty": b"",
    "short": b"\x01\x02",
    "length beyond the file": header({}, length=1 << 62),
    "not JSON": header(b"not json"),
    "not UTF-8": header(b'{"\xff": 1}'),
    "a list": header([]),
    "offsets beyond the file": header({"a": {**ENTRY, "shape": [4], "data_offsets": [0, 16]}}, b"\0" * 8),
    "offsets backwards": header({"a": {**ENTRY, "data_offsets": [8, 0]}}, b"\0" * 8),
    "shape and size differ": header({"a": {**ENTRY, "shape": [3]}}, b"\0" * 8),
    "overflowing shape": header({"a": {**ENTRY, "shape": [1 << 62, 8]}}, b"\0" * 8),
    "negative shape": header({"a": {**ENTRY, "shape": [-2]}}, b"\0" * 8),
    "overlap": header({"a": ENTRY, "b": ENTRY}, b"\0" * 8),
    "a hole": header({"a": {**ENTRY, "data_offsets": [8, 16]}}, b"\0" * 16),
    "unknown type": header({"a": {**ENTRY, "dtype": "X9"}}, b"\0" * 8),
    "type that no weights have": header({"a": {**ENTRY, "dtype": "F8_E4M3", "shape": [8]}}, b"\0" * 8),
    "metadata no text": header({"__metadata__": {"format": 3}, "a": ENTRY}, b"\0" * 8),
    "architecture no JSON": header(
        {"__metadata__": {"format": "mae-core", "architecture": "{"}, "a": ENTRY}, b"\0" * 8
    ),
    "99 dimensions": header({"a": {**ENTRY, "shape": [1] * 98 + [2]}}, b"\0" * 8),
    "trailing bytes": header({"a": ENTRY}, b"\0" * 9),
    "shape beyond any array": header({"a": {**ENTRY, "shape": [0, 1 << 62], "data_offsets": [0, 0]}}),
    "shape beyond 64 bits": header({"a": {**ENTRY, "shape": [0, 1 << 63], "data_offsets": [0, 0]}}),
    "pickle inside": pickle.dumps({"a": 1}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_safetensors_headers_that_lie_are_refused(tmp_path, capsys, name):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(HEADERS[name])
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        read_weights(file)
    assert cli.main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_protocols_0_to_4_of_plain_values_are_read():
    value = {"a": [1, -2, 1 << 70, 2.5, None, True, "text", "ü\n", b"\x00\xff"], 1: (), "t": (1, (2, 3), 4, 5)}
    for protocol in range(5):
        assert read_pickle(pickle.dumps(value, protocol), PLAIN) == value
