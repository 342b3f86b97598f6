"""Images per second of one core: this package against the predecessor's pipeline, torchvision and timm.

    python packages/mae-data/benchmarks/pipelines.py [ROUNDS]

Every pipeline takes the same JPEG files to a crop of 224x224, turn by turn in one process; the time is processor time,
the least of the rounds, so that other work on the machine counts little. Those that are not installed are left out.
Photographs: scikit-learn's china and flower, and where scikit-image is installed those it brings; pieces of them at
500x375, mosaics of them in their own resolution at 2000x1500.
"""

import io
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle  # noqa: F401  (before others bring their own libraries)
from PIL import Image
from sklearn.datasets import load_sample_images

from mae_data.images.formats import open_image
from mae_data.images.jpeg import open_lazily
from mae_data.images.native_code import native, pillow_resized
from mae_data.rng import sample_rng
from mae_data.transforms.pipelines import make_finetune_transform, make_pretrain_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {
    "500x375, quality 90": ((500, 375), 40, {"quality": 90}),
    "500x375, progressive": ((500, 375), 40, {"quality": 90, "progressive": True}),
    "2000x1500, quality 90": ((2000, 1500), 10, {"quality": 90}),
    "2000x1500, progressive": ((2000, 1500), 10, {"quality": 90, "progressive": True}),
}
Pipeline = Callable[[str, int], object]


def photographs() -> list[Image.Image]:
    """Open the photographs that installed packages bring."""
    found = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    try:
        from skimage import data
    except ImportError:
        return found
    for name in ("astronaut", "chelsea", "coffee", "retina", "rocket", "stereo_motorcycle"):
        try:
            pixels = getattr(data, name)()
        except Exception:  # not in the wheel: it would have to be downloaded
            continue
        found.append(Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels).convert("RGB"))
    return found


def compose(photos: list[Image.Image], size: tuple[int, int], number: int) -> Image.Image:
    """Cut a small picture out of a photograph, or lay photographs side by side for a large one."""
    rng, (width, height) = random.Random(number), size
    if width <= 640:
        photo = photos[number % len(photos)]
        scale = min(photo.width / width, photo.height / height)
        box = int(width * scale), int(height * scale)
        left, top = rng.randint(0, photo.width - box[0]), rng.randint(0, photo.height - box[1])
        return photo.resize(size, Image.Resampling.LANCZOS, (left, top, left + box[0], top + box[1]))
    picture = Image.new("RGB", size)
    for top in range(0, height, 375):
        for left in range(0, width, 500):
            picture.paste(rng.choice(photos), (left, top))
    return picture


def predecessor() -> Pipeline:
    """Build what the predecessor loads: Pillow, paddle.vision's bicubic random resized crop, float, normalise."""
    from paddle.vision import transforms as t

    resize = t.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation="bicubic")
    steps = t.Compose([resize, t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)])

    def run(path: str, number: int) -> object:
        random.seed(number)
        with open(path, "rb") as file:
            return steps(Image.open(file).convert("RGB"))

    return run


def torchvision_v2() -> Pipeline:
    """Build the same of torchvision: Pillow decodes, as in its ImageFolder, then uint8 tensors."""
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    resize = v2.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    steps = v2.Compose([v2.PILToTensor(), resize, v2.RandomHorizontalFlip()])

    def run(path: str, number: int) -> object:
        torch.manual_seed(number)
        with open(path, "rb") as file:
            return steps(Image.open(file).convert("RGB"))

    return run


def timm_finetune() -> Pipeline:
    """Build timm's fine-tuning transform on Pillow, with RandAugment, up to float and normalising."""
    from timm.data import create_transform

    steps = create_transform(
        224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25,
        re_mode="pixel", re_count=1, mean=MEAN, std=STD,
    )  # fmt: skip

    def run(path: str, number: int) -> object:
        random.seed(number)
        np.random.seed(number)
        with open(path, "rb") as file:
            return steps(Image.open(file).convert("RGB"))

    return run


def ours(decoder: str) -> Pipeline:
    """Build this package's pre-training pipeline."""
    transform = make_pretrain_transform(image_size=224)
    return lambda path, number: transform(open_lazily(Path(path).read_bytes(), 3, decoder), sample_rng(0, 0, number))


def ours_finetune() -> Pipeline:
    """Build this package's fine-tuning pipeline."""
    transform = make_finetune_transform(image_size=224, mean=MEAN, std=STD)
    return lambda path, number: transform(open_lazily(Path(path).read_bytes()), sample_rng(0, 0, number))


def ours_by_pillow() -> Pipeline:
    """Build the pre-training pipeline as it is without the compiled part."""
    transform = make_pretrain_transform(image_size=224)

    def run(path: str, number: int) -> object:
        image, rng = open_image(path), sample_rng(0, 0, number)
        box = transform.draw_crop((image.height, image.width), transform.scale, transform.ratio, rng)
        return pillow_resized(image, box, (224, 224), None, rng.random() < 0.5)

    return run


PRETRAIN: dict[str, Callable[[], Pipeline]] = {
    "predecessor": predecessor,
    "torchvision v2": torchvision_v2,
    "ours without the compiled part": ours_by_pillow,
    "ours, exact": lambda: ours("exact"),
    "ours, fast": lambda: ours("fast"),
}
FINETUNE: dict[str, Callable[[], Pipeline]] = {"timm on Pillow": timm_finetune, "ours, fine-tuning": ours_finetune}


def build(makers: dict[str, Callable[[], Pipeline]]) -> dict[str, Pipeline]:
    """Build the pipelines whose libraries are installed."""
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name} left out: {error}")
    return found


def race(pipelines: dict[str, Pipeline], files: list[str], rounds: int) -> dict[str, float]:
    """Return milliseconds of processor time per image: the least of some rounds, in which all take turns."""
    best = dict.fromkeys(pipelines, float("inf"))
    for _ in range(rounds):
        for name, run in pipelines.items():
            started = time.process_time()
            for number, file in enumerate(files):
                run(file, number)
            best[name] = min(best[name], (time.process_time() - started) / len(files) * 1000)
    return best


def show(best: dict[str, float]) -> None:
    """Print a table; the first pipeline is the yardstick."""
    yardstick = next(iter(best.values()))
    for name, milliseconds in best.items():
        print(
            f"  {name:32} {milliseconds:7.2f} ms {1000 / milliseconds:7.0f} images/s {yardstick / milliseconds:6.2f}x"
        )


def show_differences(files: list[str]) -> None:
    """Print how far `fast` is from `exact`, in grey levels."""
    pair = [ours(decoder) for decoder in ("exact", "fast")]
    pixels = [np.stack([np.asarray(run(file, n), int) for n, file in enumerate(files)]) for run in pair]
    difference = np.abs(pixels[0] - pixels[1])
    print(f"  fast differs from exact by {difference.mean():.2f} grey levels on average, {difference.max()} at most")


def main() -> None:
    """Race all pipelines on all kinds of files."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    photos = photographs()
    print(f"{len(photos)} photographs; compiled part: {'yes' if native() else 'no'}; {rounds} rounds")
    pretrain, finetune = build(PRETRAIN), build(FINETUNE)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (size, count, options) in KINDS.items():
            files, total = [], 0
            for number in range(count):
                data = io.BytesIO()
                compose(photos, size, number).save(data, "JPEG", **options)
                path = Path(folder, f"{len(kind)}_{number}.jpg")
                total += path.write_bytes(data.getvalue())
                files.append(str(path))
            print(f"\n{kind}: {count} files of {total / count / 1000:.0f} kB")
            for pipelines in (pretrain, finetune):
                show(race(pipelines, files, rounds))
            show_differences(files)


if __name__ == "__main__":
    main()
