"""The demo: real handwritten digits through all stages on a CPU, to numbers, pictures and a report.

Everything is done by the commands a user would type; each is printed before it runs. Two models are
pre-trained: on plain pixels, for pictures that can be judged by eye, and on normalised ones, for features.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from demo_report import Results, write_report
from digits import (
    FEW_LABELS,
    FINETUNE,
    PRETRAIN,
    PROBE,
    call,
    call_together,
    few_labels,
    last_top1,
    prepare,
    top1,
    words_of,
    write_initial_weights,
)

NAMES = ("MAE", "random init")


def main() -> int:
    """Run the demo; a command that fails ends it with its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for data, runs and the report")
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="of pre-training, such as TRAIN.NUM_EPOCHS 5")
    args = parser.parse_args()
    started = time.perf_counter()
    digits, run = args.output / "digits", _next_run(args.output)
    prepare(digits)
    few = few_labels(digits, seed=0)
    errors = _pretrain(digits, run, args.pairs)
    accuracy = _classify(digits, run, few)
    _look_inside(digits, run)
    results = Results(errors, accuracy, round(time.perf_counter() - started))
    (run / "results.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    report = write_report(run, results)
    print(_summary(results, report))
    return 0


def _next_run(output: Path) -> Path:
    """Return a run folder that does not exist yet: nothing of an earlier demo is overwritten."""
    numbers = [int(p.name[4:]) for p in output.glob("run-*") if p.name[4:].isdigit()]
    return output / f"run-{max(numbers, default=0) + 1}"


def _pretrain(digits: Path, run: Path, pairs: list[str]) -> dict[str, float]:
    """Pre-train both models; returns the errors of the one for pictures and of its yardsticks."""
    common = ["mae-pretrain", "-cfg", PRETRAIN, "-data_path", digits]
    call_together(
        [
            [*common, "-output", run / "features", "MODEL.NORM_PIX_LOSS", True, *pairs],
            [*common, "-output", run / "pixels", *pairs],
        ]
    )
    drawing = ["mae-pretrain", "visualize", "-pretrained", run / "pixels", "-output", run / "reconstruction.png"]
    scores = run / "reconstruction.json"
    scoring = [*common, "-eval", "-pretrained", run / "pixels", "--json", scores, *pairs]
    call_together([scoring, [*drawing, *_samples(digits, range(10))]])
    found = json.loads(scores.read_text())
    return {"MAE": found["mae"], "inpainting": found["inpainting"], "mean image": found["mean_image"]}


def _classify(digits: Path, run: Path, few: str) -> dict[str, dict[str, float]]:
    """Classify by both models' features and by fine-tuning; returns held-out accuracies in percent."""
    weights = (run / "features", write_initial_weights(run / "initial.safetensors"))
    common = ["-cfg", PROBE, "-data_path", digits]
    ten = ["DATA.TRAIN_LIST", few]
    knn = _score_features(run, weights, "knn", [*common, "--k", 10])
    logistic = _score_features(run, weights, "logistic", [*common, *ten])
    cached = ["TRAIN.CACHE_FEATURES", True, "TRAIN.BASE_LR", 64.0]
    probes = (run / "probe", run / "probe-random")
    call_together(
        [["mae-probe", *common, "-pretrained", w, "-output", o, *cached] for w, o in zip(weights, probes, strict=True)]
    )
    tuned = (run / "finetune", run / "scratch")
    starts: tuple[list[object], ...] = (["-pretrained", weights[0]], ["TRAIN.LAYER_DECAY", 1.0])
    tuning = ["mae-finetune", "-cfg", FINETUNE, "-data_path", digits]
    few_words = [*ten, *words_of(FEW_LABELS)]
    call_together([[*tuning, "-output", o, *few_words, *s] for o, s in zip(tuned, starts, strict=True)])
    return {
        "kNN, k = 10, all labels": dict(zip(NAMES, knn, strict=True)),
        "linear probe on cached features, all labels": dict(zip(NAMES, map(last_top1, probes), strict=True)),
        "logistic regression, 10 labels per class": dict(zip(NAMES, logistic, strict=True)),
        "fine-tuning, 10 labels per class": dict(zip(NAMES, map(last_top1, tuned), strict=True)),
    }


def _score_features(run: Path, weights: Sequence[Path], command: str, words: Sequence[object]) -> list[float]:
    """Classify by the features of both models with `mae-probe COMMAND`; returns their accuracies in percent."""
    files = [run / f"{command}-{number}.json" for number in range(len(weights))]
    pairs = zip(weights, files, strict=True)
    call_together(
        [["mae-probe", command, "--no-yardsticks", *words, "-pretrained", w, "--json", file] for w, file in pairs]
    )
    return [top1(file) for file in files]


def _samples(digits: Path, numbers: Iterable[int]) -> list[Path]:
    """Return the first held-out image of each of some digits."""
    return [min((digits / "val" / str(number)).glob("*.jpg")) for number in numbers]


def _look_inside(digits: Path, run: Path) -> None:
    """Draw attention maps, and score the fine-tuned classifier class by class."""
    classifier = max((run / "finetune" / "checkpoints").glob("step_*"))
    attention = ["mae-probe", "attention", "-cfg", PROBE, "-pretrained", run / "features", "-output", run / "attention"]
    scoring = ["mae-finetune", "-eval", "-cfg", FINETUNE, "-data_path", digits, "-pretrained", classifier]
    call_together([[*attention, *_samples(digits, (2, 5, 8))], [*scoring, "-output", run / "finetune"]])
    for name in ("features", "pixels"):
        call("mae-pretrain", "curve", run / name)


def _summary(results: Results, report: Path) -> str:
    """Lay the figures out as tables, with where the rest is."""
    errors = results.reconstruction_mse
    return "\n".join(
        [
            "",
            "Held-out digits, mean squared error of the removed pixels (0 to 1), and as a share of the mean image's:",
            *(f"  {name:38}{error:.4f}  {error / errors['mean image']:5.0%}" for name, error in errors.items()),
            "",
            f"Held-out digits, top-1 accuracy (%):      {NAMES[0]:>10}{NAMES[1]:>15}",
            *(f"  {way:44}{row[NAMES[0]]:6.1f}{row[NAMES[1]]:15.1f}" for way, row in results.accuracy.items()),
            "  More pre-training, three seeds: tools/results/learning_curve.png",
            "",
            f"report with pictures: {report}",
            f"the numbers:          {report.with_name('results.json')}",
            f"took {results.seconds} s",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
