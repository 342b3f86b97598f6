"""Small files that would grow, hang or crash: pickles, and zips around them.

`python hostile_pickles.py FOLDER [BYTES]` writes them there, reads each in a process of its own and prints what that
cost, as JSON: {file: {"mb": growth of the peak, "seconds": ..., "code": exit status, "said": the refusal}}.
"""

import io
import json
import os
import resource
import struct
import sys
import time
import zipfile
from pathlib import Path

SIZE = int(sys.argv[2]) if __name__ == "__main__" and sys.argv[2:] else 600_000  # bytes of a file, about
MANY = SIZE // 6
OD = b"ccollections\nOrderedDict\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FLOATS = b"cnumpy\ndtype\nS'f4'\n\x85R"
STORAGE = b"ctorch\nFloatStorage\n"


def text(length, character=b"a"):
    """A text, memoised as 0."""
    return b"X" + struct.pack("<I", length) + character * length + b"q\x00"


def number(length):
    """A number of so many bytes, memoised as 0."""
    return b"\x8b" + struct.pack("<i", length) + b"\x01" * length + b"q\x00"


def pairs(length):
    """A list of pairs, memoised as 0."""
    return b"](" + b"".join(b"M" + struct.pack("<H", i) + b"N\x86" for i in range(length)) + b"eq\x00"


def doubled(levels=64):
    """The same pair in a pair in a pair: some bytes that print as 2**levels pieces."""
    return b"K\x01" + b"2\x86" * levels


def again(first, call, many=MANY):
    """Something memoised, then a call on it again and again, every result kept."""
    return b"\x80\x04" + first + call * many + b"."


def array(shape):
    """An array of so hostile a shape."""
    return b"\x80\x04" + ARRAY + b"(K\x01" + shape + FLOATS + b"\x89C\x00tb."


def storage(key, rest=b"S'cpu'\nK\x01"):
    return b"(S'storage'\n" + STORAGE + key + rest + b"tQ"


def tensor(name, key, numel, size):
    """An entry of a state dict: a view of `size` numbers in a storage said to hold `numel`."""
    sizes = b"J" + struct.pack("<i", size) + b"\x85K\x01\x85"
    stored = storage(key, b"S'cpu'\nJ" + struct.pack("<i", numel))
    return b"S'" + name + b"'\nctorch._utils\n_rebuild_tensor_v2\n(" + stored + b"K\x00" + sizes + b"\x89NtR"


PICKLES = {
    "ordered dict of 999 pairs": again(pairs(999), OD + b"h\x00\x85R"),
    "ordered dict of 999 pairs by NEWOBJ": again(pairs(999), OD + b"h\x00\x85\x81"),
    "tuple of 999": again(pairs(999), b"c__builtin__\ntuple\nh\x00\x85R"),
    "bytes of 999 characters": again(text(999), b"c_codecs\nencode\nh\x00S'latin1'\n\x86R"),
    "call with many arguments": again(b"(" + b"N" * SIZE + b"tq\x00", b"cargparse\nNamespace\nh\x00R"),
    "doubled pair as persistent id": again(doubled(), b"Q", 1),
    "doubled pair as storage key": again(b"", storage(doubled()), 1),
    "doubled pair as storage": again(b"", b"ctorch._utils\n_rebuild_parameter\n" + doubled() + b"\x85R", 1),
    "doubled pair as number type": again(b"", b"cnumpy\ndtype\n" + doubled() + b"\x85R", 1),
    "doubled pair as encoding": again(b"", b"c_codecs\nencode\nS'a'\n" + doubled() + b"\x86R", 1),
    "doubled pair as dictionary key": again(b"}", doubled() + b"Ns", 1),
    "doubled pair as name": again(b"", doubled() + b"S'a'\n\x93", 1),
    "doubled pair as ordered dict": again(b"", OD + doubled() + b"\x85R", 1),
    "doubled pair as weights": again(b"}S'model'\n", doubled() + b"s", 1),
    "doubled pair as array shape": array(doubled()),
    "doubled pair as unknown opcode's argument": again(doubled(), b"}\x92", 1),
    "long number as key": again(number(SIZE) + b"}", b"h\x00Ns"),
    "long number as name of weights": again(number(SIZE) + b"}", b"h\x00Ns", 1),
    "long number as storage key": again(b"", storage(number(SIZE)), 1),
    "long number as array shape": array(number(SIZE) + b"\x85"),
    "long text as key": again(text(SIZE // 2) + text(SIZE // 2).replace(b"q\x00", b"q\x01") + b"}", b"h\x00Nsh\x01Ns"),
    "digits": b"\x80\x04L" + b"9" * SIZE + b"L\n.",
    "array of many dimensions": array(b"(" + (b"\x8a\x08" + b"\xff" * 7 + b"\x0f") * (SIZE // 10) + b"t"),
    "persistent id of many parts": again(b"(S'storage'\n" + STORAGE + b"N" * SIZE + b"tq\x00", b"h\x00Q"),
    "lists": b"\x80\x04" + b"]" * SIZE + b".",
    "dictionaries": b"\x80\x04" + b"}" * SIZE + b".",
    "sets": b"\x80\x04" + b"\x8f" * SIZE + b".",
    "memo": b"\x80\x04N" + b"\x94" * SIZE + b".",
    "more sets": b"\x80\x04" + b"\x8f" * 600_000 + b".",
    "nested tuples": b"\x80\x04)" + b"\x85" * SIZE + b".",
    "nested lists": b"\x80\x04" + b"]" * (SIZE // 2) + b"a" * (SIZE // 2 - 1) + b".",
    "nested dictionaries": b"\x80\x04" + b"}K\x01" * (SIZE // 4) + b"N" + b"s" * (SIZE // 4) + b".",
    "nested calls": b"\x80\x04" + OD + b"q\x000"
    + b"h\x00]K\x01" * (SIZE // 9) + b"N" + b"\x86a\x85R" * (SIZE // 9) + b".",
    "dup": b"\x80\x04N" + b"2" * SIZE + b".",
    "wide text": b"\x80\x04X" + struct.pack("<I", SIZE + 4) + b"\xf0\x9f\x98\x80" + b"a" * SIZE + b".",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", SIZE) + b"\xff" * SIZE + b".",
    "arrays of one run of bytes": again(
        b"B" + struct.pack("<I", SIZE // 2 * 2) + b"a" * SIZE + b"q\x00}",
        b"".join(b"M" + struct.pack("<H", i) + ARRAY + b"(K\x01J" + struct.pack("<i", SIZE // 4) + b"\x85" + FLOATS
                 + b"\x89h\x00tbs" for i in range(2_000)),
        1,
    ),
    "one storage with two sizes": again(
        b"}", tensor(b"a", b"S'0'\n", 2, 2) + b"s" + tensor(b"b", b"S'0'\n", 9**7, 9**6) + b"s", 1
    ),
}  # fmt: skip


def zipped(parts):
    """A zip file as PyTorch writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def overlapping(many=4_000, size=SIZE // 2):
    """A zip whose parts lie in each other: every local header belongs to the data of those before it."""
    tensors = b"".join(tensor(b"t%05d" % i, b"S'%05d'\n" % i, 1, 1) + b"s" for i in range(many))
    content = b"\x80\x04}" + tensors + b"."
    entries, body = [], bytes(size)
    for name, data in [(f"archive/data/{i:05d}", None) for i in range(many)] + [("archive/data.pkl", content)]:
        inner = body if data is None else data
        head = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zipfile.crc32(inner), len(inner), len(inner), len(name), 0)
        local = b"PK\x03\x04" + head + name.encode()
        entries.append((head, name.encode(), len(local) + len(inner)))
        body = local + inner if data is None else body
        if data is not None:
            body = local + inner + body
    total, central = len(body), b""
    for head, name, length in entries:
        place = 0 if name.endswith(b".pkl") else total - length
        central += b"PK\x01\x02\x14\x00" + head + struct.pack("<HHHII", 0, 0, 0, 0, place) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(central), total, 0)
    return body + central + b"PK\x05\x06" + end


ZIPS = {
    "overlapping parts": overlapping(),
    "zip in a zip": zipped({"data.pkl": zipped({"data.pkl": bytes(SIZE)})}),
    "many parts": zipped({"data.pkl": b"N.", **{f"data/{i}": b"" for i in range(5_000)}}),
}


TORCH_ONLY = ("storage", "persistent")  # what other pickles may not even name


def write_corpus(folder):
    """Write every attack in the format that it is for."""
    for name, content in PICKLES.items():
        stem = folder / name.replace(" ", "_")
        if any(word in name for word in TORCH_ONLY):
            stem.with_suffix(".pth").write_bytes(zipped({"data.pkl": content, "data/0": bytes(8)}))
        else:
            stem.with_suffix(".pdparams").write_bytes(content)
    for name, content in ZIPS.items():
        (folder / f"{name.replace(' ', '_')}.pth").write_bytes(content)


def _read(file):
    from mae_core.errors import CheckpointError
    from mae_core.weights.sources import read_weights

    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_weights(file)
        said = None
    except CheckpointError as error:
        said = str(error)
    mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"mb": round(mb, 1), "seconds": round(time.perf_counter() - started, 2), "said": said}


def _measure(file, limit=20):
    """Read a file in a child, so that its peak is its own and a crash or a hang ends only that."""
    out, into = os.pipe()
    if child := os.fork():
        os.close(into)
        with open(out) as answer:
            told = answer.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {**(json.loads(told) if told else {"mb": None, "seconds": None, "said": None}), "code": code}
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    os.write(into, json.dumps(_read(file)).encode())
    os._exit(0)


if __name__ == "__main__":
    import mae_core.weights.sources  # noqa: F401  (before the fork, so that no child pays for it)

    folder = Path(sys.argv[1])
    write_corpus(folder)
    print(json.dumps({file.name: _measure(file) for file in sorted(folder.iterdir())}, indent=1))
