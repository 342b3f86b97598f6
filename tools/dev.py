#!/usr/bin/env python3
"""Work on this repository: install, test, lint, demo, curve, fuzz, bench, zoo, docs, affected, wheels, try, release.

Needs nothing but Python 3.10 or newer; every step is printed before it runs.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - says why before the imports below fail
    sys.exit(f"tools/dev.py: Python {sys.version.split()[0]} is too old; use 3.10 or newer")

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from affected import affected, changed_paths
from environment import DEFAULT_FOLDERS, DEFAULT_PADDLE, Environment, docs_environment, install, wheel_environment
from wheels import SUPPORTED_PADDLES, build_distributions, try_files, unpack_paddle
from workspace import ROOT, WorkspaceError, dependency_graph, read_packages, run, tagged_package, with_dependencies


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if not args.command:
        parser.print_help()
        return 0
    if rest and args.command not in PASSES_ARGUMENTS_ON:
        parser.error(f"{args.command} does not know {' '.join(rest)}; see: tools/dev.py {args.command} --help")
    args.rest = rest[1:] if rest[:1] == ["--"] else rest
    try:
        return int(COMMANDS[args.command](args))
    except WorkspaceError as error:
        print(f"tools/dev.py {args.command}: {error}", file=sys.stderr)
        return error.exit_code


def run_install(args: argparse.Namespace) -> int:
    """Make or update an environment."""
    env = environment(args.paddle, args.venv)
    install(env, read_packages(), args.packages, args.extras)
    print(f"ready: {env.folder} (Paddle {env.paddle})")
    return 0


def run_test(args: argparse.Namespace) -> int:
    """Run pytest on one version of Paddle or on each in turn."""
    versions = list(DEFAULT_FOLDERS) if args.paddle == "all" else [args.paddle]
    if len(versions) > 1 and args.venv:
        raise WorkspaceError("--paddle all needs one environment a version; leave --venv out")
    folders = [f"packages/{name}/tests" for name in args.packages]
    codes = {}
    for version in versions:
        chosen = ["-m", "not once"] if version != versions[0] else []
        env = environment(version, args.venv)
        install(env, read_packages(), args.packages, args.extras)
        # loadgroup: tests that share a costly fixture stay on one worker.
        pytest = [str(env.python), "-m", "pytest", "-n", "auto", "--dist", "loadgroup"]
        codes[version] = run([*pytest, *chosen, *folders, *args.rest])
    failed = {version: code for version, code in codes.items() if code}
    if failed and len(versions) > 1:
        print(f"tests failed on Paddle {' and '.join(failed)}", file=sys.stderr)
    return next(iter(failed.values()), 0)


def run_lint(args: argparse.Namespace) -> int:
    """Check style, format, types and workflows; all of them run even when one fails."""
    programs = installed().python.parent
    return max([run([str(programs / program), *words]) for program, *words in CHECKS])


def run_demo(args: argparse.Namespace) -> int:
    """Run the demo with the remaining arguments."""
    return run([str(installed().python), "tools/demo.py", *args.rest])


def run_curve(args: argparse.Namespace) -> int:
    """Measure the learning curve with the remaining arguments."""
    return run([str(installed().python), "tools/learning_curve.py", *args.rest])


def run_fuzz(args: argparse.Namespace) -> int:
    """Mutate small files of every kind with the remaining arguments."""
    return run([str(installed().python), "tools/fuzz.py", *args.rest])


def run_bench(args: argparse.Namespace) -> int:
    """Run the benchmarks, one after the other; the first that fails stops the rest."""
    files = [path.relative_to(ROOT) for path in sorted(ROOT.glob("packages/*/benchmarks/*.py"))]
    chosen = [file for file in files if not args.words or any(word in str(file) for word in args.words)]
    if not chosen:
        raise WorkspaceError(f"no benchmark has {' or '.join(args.words)} in its path; see packages/*/benchmarks")
    python = str(installed().python)
    return next((code for file in chosen if (code := run([python, str(file)]))), 0)


def run_zoo(args: argparse.Namespace) -> int:
    """Write the page of models and weights."""
    return run([str(installed().python), "tools/zoo.py"])


def run_docs(args: argparse.Namespace) -> int:
    """Build the documentation site with the remaining arguments."""
    env = docs_environment(read_packages())
    return run([str(env.python), "tools/site/build_site.py", *args.rest])


def run_affected(args: argparse.Namespace) -> int:
    """Print the packages that a change touches."""
    graph = dependency_graph(read_packages())
    names = sorted(graph) if args.all else affected(changed_paths(args.base), graph)
    if args.json:
        print(json.dumps(names))
    elif names:
        print("\n".join(names))
    return 0


def run_wheels(args: argparse.Namespace) -> int:
    """Build source distributions and wheels of the named packages, of that of a tag, or of all."""
    packages = read_packages()
    names = [tagged_package(args.tag, packages).name] if args.tag else args.packages
    with_dependencies(names, dependency_graph(packages))  # refuses an unknown name
    wanted = [packages[name] for name in names or packages]
    python = wheel_environment().python
    paddles = [unpack_paddle(python, version) for version in args.paddles or []] or None
    for file in build_distributions(python, wanted, args.folder.resolve(), paddles):
        print(file)
    return 0


def run_try(args: argparse.Namespace) -> int:
    """Install built files into a clean environment and train there."""
    try_files(installed().python, read_packages(), args.folder.resolve())
    print(f"{args.folder}: installed, pre-trained, fine-tuned and probed")
    return 0


def run_release(args: argparse.Namespace) -> int:
    """Release a package with the remaining arguments."""
    return run([str(installed().python), "tools/release.py", *args.rest])


def environment(paddle: str = DEFAULT_PADDLE, folder: Path | None = None) -> Environment:
    """Name the environment of a version of Paddle."""
    return Environment((folder or DEFAULT_FOLDERS[paddle]).absolute(), paddle)


def installed() -> Environment:
    """Bring the default environment up to date and return it."""
    env = environment()
    install(env, read_packages())
    return env


CHECKS = [
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("actionlint", "-shellcheck="),  # not every machine has a shellcheck, nor the same one
    ("zizmor", "--quiet", "--offline", "."),
]
COMMANDS = {
    "install": run_install,
    "test": run_test,
    "lint": run_lint,
    "demo": run_demo,
    "curve": run_curve,
    "fuzz": run_fuzz,
    "bench": run_bench,
    "zoo": run_zoo,
    "docs": run_docs,
    "affected": run_affected,
    "wheels": run_wheels,
    "try": run_try,
    "release": run_release,
}
PASSES_ARGUMENTS_ON = {"test", "demo", "curve", "fuzz", "docs", "release"}


def make_parser() -> argparse.ArgumentParser:
    """Declare the commands and their flags."""
    parser = argparse.ArgumentParser(prog="tools/dev.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    versions = list(DEFAULT_FOLDERS)
    making = add("install", "make or update the environment with the packages in it, editable")
    testing = add("test", "run pytest, without the slow tests or with --slow only those; further arguments go to it")
    for command, choices in ((making, versions), (testing, [*versions, "all"])):
        command.add_argument("--paddle", choices=choices, default=DEFAULT_PADDLE)
        command.add_argument("--packages", nargs="+", default=[], metavar="NAME", help="only these and what they need")
        command.add_argument(
            "--with", dest="extras", nargs="+", default=[], metavar="EXTRA", help="also what the packages declare so"
        )
        command.add_argument(
            "--venv", type=Path, metavar="DIR", help=f"default: {DEFAULT_FOLDERS[DEFAULT_PADDLE].name}"
        )
    add("lint", "ruff check, ruff format --check, mypy; actionlint and zizmor for the workflows")
    add("demo", "run the demo; further arguments go to it")
    add("curve", "measure what pre-training is worth over its steps (an hour); further arguments go to it")
    add("fuzz", "mutate small files of every kind that is read, for a minute; further arguments go to it")
    bench = add("bench", "run the benchmarks of all packages")
    bench.add_argument("words", nargs="*", metavar="WORD", help="only files with one of these words in their path")
    add("zoo", "write packages/mae-core/MODELS.md from tools/model_zoo.yaml")
    add("docs", "build the documentation site into tools/site/build/html; --serve shows it at a local address")
    change = add("affected", "list the packages that a change touches, dependents included")
    change.add_argument(
        "--base", default="main", metavar="REF", help="what the change is measured from (default: main)"
    )
    change.add_argument("--all", action="store_true", help="list every package, whatever changed")
    change.add_argument("--json", action="store_true", help="print one JSON list")
    wheels = add("wheels", "build source distributions, and wheels from them")
    wheels.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist", help="where to (default: dist/)")
    wheels.add_argument(
        "--paddles",
        nargs="+",
        choices=SUPPORTED_PADDLES,
        metavar="VERSION",
        help=f"have operators in mae-core's wheel for these only, of {', '.join(SUPPORTED_PADDLES)}",
    )
    which = wheels.add_mutually_exclusive_group()
    which.add_argument("--packages", nargs="+", default=[], metavar="NAME", help="only these")
    which.add_argument("--tag", metavar="TAG", help="only what this tag releases; refused when it is not its version")
    trying = add("try", "install built files into a clean environment and run a tiny training of each stage from it")
    trying.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist", help="where they lie (default: dist/)")
    add("release", "release one package: PACKAGE VERSION shows what would be done, with --yes it is done")
    return parser


if __name__ == "__main__":
    sys.exit(main())
