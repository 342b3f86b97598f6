"""How long do users of `mae-pretrain serve` wait? Ten at once, each asking again as soon as it has its answer.

    python packages/mae-pretrain/benchmarks/web_latency.py

ViT-B at 224 pixels with random weights, a JPEG of 640 x 480. Requests are computed one after the other, so of ten users
each waits about ten times as long as one alone.
"""

import argparse
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
from PIL import Image

import mae_core
from mae_pretrain.web.application import Application
from mae_pretrain.web.served_model import ServedModel


def photo():
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def ask(port, path, data):
    started = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", path, data, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--requests", type=int, default=8, help="of each user")
    parser.add_argument("--model", default="mae_vit_base_patch16")
    args = parser.parse_args()
    model = ServedModel(mae_core.build_model(args.model), args.model)
    server = Application(model, "127.0.0.1").make_server(0)
    threading.Thread(target=server.run, daemon=True).start()
    port, data = server.effective_port, photo()
    for path in ("/reconstruct", "/attend"):
        ask(port, path, data)
        for users in args.users:
            with ThreadPoolExecutor(users) as pool:
                seconds = [*pool.map(lambda _: ask(port, path, data), range(users * args.requests))]  # noqa: B023
            p50, p95 = np.percentile(seconds, [50, 95])
            print(f"{path}, {users} users: p50 {p50:.2f} s, p95 {p95:.2f} s of {len(seconds)} requests", flush=True)


if __name__ == "__main__":
    main()
