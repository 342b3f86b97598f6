#!/usr/bin/env python3
"""Mutate small files of every kind that is read, and require an answer in words, soon, in little memory.

A finding is an exception that is not of the reader's own, a crash, a case of over 2 s, or 500 MB more than before; the
file of it is kept. `--sanitizers` compiles mae-data's native code with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

import argparse
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz_readers
from workspace import ROOT

SECONDS, MEGABYTES = 2.0, 500
PATIENCE = 60  # seconds for what is loaded, and for a last case
NUMBERS = (0, 1, 127, 128, 255, 2**16 - 1, 2**31 - 1, 2**32 - 1)
NATIVE = ROOT / "packages/mae-data/csrc"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1", "-ffp-contract=off")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of a file."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, length = rng.randrange(len(made) + 1), rng.choice((1, 2, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0 and made:
            made[place % len(made)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            size = rng.choice((1, 2, 4))
            number = rng.choice(NUMBERS) % 2 ** (8 * size)
            made[place : place + size] = number.to_bytes(size, rng.choice(("big", "little")))
        elif kind == 2:
            del made[place : place + length]
        elif kind == 3:
            made[place:place] = made[place : place + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            made[place : place + length] = rng.randbytes(length)
        else:
            del made[place:]
    return bytes(made)


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def try_case(read: Callable[[bytes], object], own: tuple[type[BaseException], ...], data: bytes) -> str:
    """Read a file; return what is wrong with the way it was answered, empty where nothing is."""
    started, before = time.monotonic(), peak()
    try:
        read(data)
    except own:
        pass
    except BaseException:
        return traceback.format_exc()
    if (seconds := time.monotonic() - started) > SECONDS:
        return f"took {seconds:.1f} s"
    return f"took {peak() - before:.0f} MB" if peak() - before > MEGABYTES else ""


def fuzz(
    name: str, seed: int, seconds: float, folder: Path, count: "multiprocessing.sharedctypes.Synchronized[int]"
) -> None:
    """Run one reader in this process; exits with 1 at a finding, whose file stays in the folder."""
    warnings.simplefilter("ignore")
    rng, (seeds, read, own) = random.Random(f"{name} {seed}"), fuzz_readers.READERS[name](folder)
    for data in seeds:
        read(data)  # what was not touched is good, and nothing is loaded in a case that is timed
    current, end = folder / f"{name}.case", time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(rng.choice(seeds), rng)
        current.write_bytes(data)
        count.value += 1
        if wrong := try_case(read, own, data):
            print(f"{name}, case {count.value}: {wrong}\n{current}", file=sys.stderr, flush=True)
            os._exit(1)
    current.unlink()


def with_sanitizers(words: Sequence[str], folder: Path) -> int:
    """Compile the native code with sanitizers and run again with their runtime loaded first; image readers only."""
    library = folder / "_pixels.so"
    sources = [str(path) for path in NATIVE.glob("*.c")]
    subprocess.run(
        ["gcc", "-std=gnu11", "-shared", "-fPIC", *SANITIZE, *sources, "-ldl", "-o", str(library)], check=True
    )
    runtime = [
        subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    env = os.environ | {
        "LD_PRELOAD": " ".join(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",
        "MAE_FUZZ_PIXELS": str(library),
    }
    command = [sys.executable, __file__, *words, "--readers", "photographs", "stored"]
    return subprocess.run(command, env=env, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the chosen readers, as many at a time as there are cores; return 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", choices=fuzz_readers.READERS, default=list(fuzz_readers.READERS))
    parser.add_argument("--output", type=Path, default=ROOT / "runs/fuzz", help="where files of findings go")
    parser.add_argument("--sanitizers", action="store_true", help="compile the native code anew, with sanitizers")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.sanitizers:
        words = ["--seconds", str(args.seconds), "--seed", str(args.seed), "--output", str(args.output)]
        return with_sanitizers(words, args.output)
    cores = len(os.sched_getaffinity(0))
    share = args.seconds * min(cores, len(args.readers)) / len(args.readers)
    with ThreadPoolExecutor(cores) as pool:
        codes = list(pool.map(lambda name: run_reader(name, args.seed, share, args.output), args.readers))
    return int(any(codes))


def run_reader(name: str, seed: int, seconds: float, folder: Path) -> int:
    """Fuzz one reader in a process of its own, since it may crash; say how many cases it was, return its exit code."""
    context = multiprocessing.get_context("spawn")
    count, place = context.Value("q", 0), folder / name
    place.mkdir(exist_ok=True)
    process = context.Process(target=fuzz, args=(name, seed, seconds, place, count))
    process.start()
    process.join(seconds + PATIENCE)
    if process.is_alive():  # a case that does not end; its file is there
        process.kill()
        process.join()
    code = process.exitcode or 0
    print(f"{name}: {count.value} cases" + (f", FOUND (exit code {code})" if code else ""), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
