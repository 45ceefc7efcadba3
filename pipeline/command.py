"""The `memefly` command: the library's commands, and `run` and `sweep`, which only the pipeline can offer."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from memefly import textfile
from memefly.commands import models, parser
from memefly.commands.main import FAMILIES
from memefly.commands.parser import Command, positive


def main(argv: list[str] | None = None) -> int:
    families = [partial(family, of_root=_evaluate) if family is models.add else family for family in FAMILIES]
    return parser.main(argv, [*families, add])


def add(command: Command) -> None:
    add_run(command)
    add_parts(command)
    add_sweep(command)
    add_worker_pool(command)
    add_compile(command)


def add_run(command: Command) -> None:
    run = command(
        "run",
        _run,
        "run the pipeline: data in, a gated model out",
        "  memefly run --data data/sample --root root --config demo\n"
        "  memefly run --data data/mine --root root --config my.yaml --set training.epochs=5\n"
        "  memefly run --data data/mine --root root --config my.yaml --from Trainer --set network.units=256",
    )
    _add_what_is_run(run)
    run.add_argument(
        "--from", dest="from_node", metavar="NODE", help="start here, on what the latest run left that has it all"
    )
    run.add_argument("--to", dest="to_node", metavar="NODE", help="stop after this node")
    run.add_argument("--json", action="store_true", help="print the run's summary as JSON")


def add_parts(command: Command) -> None:
    for name, help in (
        ("log-raw-data", "read, clean and split a data set, and log it in W&B: the first part of `run`"),
        ("process-data", "validate what was read, make features and vocabulary, log them: the second part of `run`"),
        ("train", "train on what was processed, and log the model: the third part of `run`"),
    ):
        part = command(
            name,
            partial(_part, name),
            help,
            f"  memefly {name} --data data/mine --root root --config my.yaml\n\n"
            "in order they equal `run`: log-raw-data, process-data, train, evaluate --root; then promote. Each goes on "
            "from\nwhat was made of the same data with the same configuration, and W&B tells it by its job type",
        )
        _add_what_is_run(part)
        part.add_argument("--json", action="store_true", help="print the run's summary as JSON")


def _evaluate(arguments: argparse.Namespace) -> int:
    """`memefly evaluate --root ROOT`, the last part of the pipeline."""
    return _part("evaluate", arguments)


def _part(name: str, arguments: argparse.Namespace) -> int:
    arguments.from_node = arguments.to_node = None
    arguments.part = name
    return _run(arguments)


def add_sweep(command: Command) -> None:
    sweep = command(
        "sweep",
        _sweep,
        "search hyper-parameters, each trial trained on the same transformed data",
        "  memefly sweep --data data/sample --root root --config demo --space space.yaml\n"
        "  memefly sweep --data data/mine --root root --config my.yaml --space space.yaml --trials 20 --name rates\n"
        "  memefly run --data data/mine --root root --config root/sweeps/rates/best.yaml\n\n"
        "a space.yaml, in the format of W&B's sweeps:\n"
        "  method: random                          # or grid; bayes where WANDB_API_KEY is set\n"
        "  metric: {name: val/cider, goal: maximize}\n"
        "  trials: 12\n"
        "  parameters:\n"
        "    training.learning_rate: {min: 0.0003, max: 0.003, distribution: log_uniform_values}\n"
        "    network.units: {values: [128, 256]}",
    )
    _add_what_is_run(sweep)
    sweep.add_argument("--space", required=True, metavar="FILE", help="what to search (YAML, see below)")
    sweep.add_argument("--trials", type=positive, metavar="N", help="how many (what the space says; a grid: all)")
    sweep.add_argument("--name", metavar="NAME", help="its folder in ROOT/sweeps (a digest of what is searched)")
    sweep.add_argument("--json", action="store_true", help="print what came of it as JSON")


def add_worker_pool(command: Command) -> None:
    pool = command(
        "worker-pool",
        _worker_pool,
        "serve workers to the engine that Beam's stages run on, until interrupted",
        "  memefly worker-pool --port 50000\n\n"
        "for a configuration with, for example,\n"
        "  beam:\n"
        "    - --runner=PortableRunner\n"
        "    - --job_endpoint=localhost:8099        # of Flink's, Spark's or Prism's job server\n"
        "    - --environment_type=EXTERNAL\n"
        "    - --environment_config=localhost:50000 # as the engine calls this machine",
    )
    pool.add_argument("--port", type=positive, default=50000, metavar="N", help="where it listens (%(default)s)")


def add_compile(command: Command) -> None:
    compile_ = command(
        "compile",
        _compile,
        "write the pipeline as Kubeflow Pipelines and Vertex AI run it (KFP v2)",
        "  memefly compile --config my.yaml --image registry/memefly:1 --out pipeline.yaml\n"
        "  memefly compile --config my.yaml --image registry/memefly:1 --out pipeline.yaml --data data/mine\n"
        "  memefly compile --config my.yaml --image registry/memefly:1 --out pipeline.yaml "
        "--volume-claim memefly --mount /srv/memefly\n\n"
        "a run of it is asked for root_folder and data_folder, which all containers see by these paths, and for\n"
        "encoder_weights where encoder.weights is a file; see docs/kubeflow.md",
    )
    compile_.add_argument("--config", metavar="FILE|PRESET", help="a YAML file, or tiny, demo, flickr8k, memes")
    compile_.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key; may be repeated"
    )
    compile_.add_argument("--image", required=True, metavar="IMAGE", help="that has this package, and runs each task")
    compile_.add_argument("--out", required=True, metavar="FILE", help="where it goes, a .yaml")
    compile_.add_argument(
        "--data", metavar="DIR", help="the data that it will see: its digest lets what was made of it be reused"
    )
    compile_.add_argument("--volume-claim", metavar="NAME", help="a PersistentVolumeClaim that every task mounts")
    compile_.add_argument("--mount", metavar="DIR", help="where (%(default)s)", default="/srv/memefly")


def _compile(arguments: argparse.Namespace) -> int:
    from memefly.quiet import Quiet

    def work(terminal) -> int:
        from pipeline import config, kubeflow

        tasks = kubeflow.compile_to(
            arguments.out,
            config.load(arguments.config, arguments.set),
            image=arguments.image,
            data=arguments.data,
            volume=kubeflow.Volume(arguments.volume_claim, arguments.mount) if arguments.volume_claim else None,
        )
        print(f"{arguments.out}: {len(tasks)} tasks: {', '.join(tasks)}", file=terminal.out)
        return 0

    with Quiet(Path(os.devnull)) as terminal:
        return _telling(work, terminal)[0]


def _worker_pool(arguments: argparse.Namespace) -> int:
    import logging
    import signal

    from pipeline import worker_pool

    def stop(number, frame) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that its workers end with it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with worker_pool.serving(arguments.port) as address:
        print(f"worker pool at {address}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


def _add_what_is_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="DIR", help="a canonical data set (see import, sample)")
    parser.add_argument("--root", required=True, metavar="DIR", help="where the pipeline keeps everything")
    parser.add_argument("--config", metavar="FILE|PRESET", help="a YAML file, or tiny, demo, flickr8k, memes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key; may be repeated"
    )


def _run(arguments: argparse.Namespace) -> int:
    root = Path(arguments.root)
    log = root / "runs" / f".log-{os.getpid()}"

    def work(terminal) -> int:
        from memefly import lock
        from pipeline import cluster, config, local_runner
        from pipeline.parts import PARTS
        from pipeline.progress import Progress
        from pipeline.summary import describe

        configuration = config.load(arguments.config, arguments.set)
        if place := cluster.helper(configuration):
            return _follow(root, place, configuration.workers.wait_seconds, terminal)
        _warn_of_random_weights(configuration, terminal.err)
        # With --json, standard output is for the summary alone.
        stream = terminal.err if arguments.json else terminal.out
        with lock.held(root), Progress(stream) as progress, cluster.leading(configuration, root):

            def on_event(name: str, values: dict) -> None:
                if name == "start":
                    values["log"] = str(Path(values["folder"]) / "run.log")
                    os.replace(log, values["log"])
                progress.on_event(name, values)

            summary = local_runner.run(
                configuration,
                arguments.data,
                arguments.root,
                from_node=arguments.from_node,
                to_node=arguments.to_node,
                part=PARTS.get(getattr(arguments, "part", None) or ""),
                on_event=on_event,
            )
        if arguments.json:
            print(textfile.to_json(summary.as_dict(), indent=2), file=terminal.out)
        else:
            for line in describe(summary, root):
                print(line, file=terminal.out)
        return 0 if summary.blessed or not summary.judged else 3

    return _quietly(log, work)


def _sweep(arguments: argparse.Namespace) -> int:
    log = Path(arguments.root) / "sweeps" / f".log-{os.getpid()}"

    def work(terminal) -> int:
        from memefly import lock
        from pipeline import cluster, config, sweep
        from pipeline.sweep.progress import SweepProgress

        if place := cluster.helper(configuration := config.load(arguments.config, arguments.set)):
            return _follow(arguments.root, place, configuration.workers.wait_seconds, terminal)
        folder: Path | None = None
        stream = terminal.err if arguments.json else terminal.out
        root = arguments.root
        with lock.held(root), SweepProgress(stream) as progress, cluster.leading(configuration, root):

            def on_event(name: str, values: dict) -> None:
                nonlocal folder
                if name == "sweep":
                    folder = Path(values["folder"])
                elif name == "start":
                    assert folder is not None  # a sweep tells of itself before its first run starts
                    values["log"] = str(folder / sweep.LOG)
                    os.replace(log, values["log"])
                progress.on_event(name, values)

            search = sweep.Sweep(
                arguments.space,
                arguments.data,
                arguments.root,
                source=arguments.config,
                overrides=arguments.set,
                trials=arguments.trials,
                name=arguments.name,
                on_event=on_event,
            )
            _warn_of_random_weights(search.config, terminal.err)
            outcome = search.run()
        if arguments.json:
            print(textfile.to_json(outcome.as_dict(), indent=2), file=terminal.out)
        else:
            for line in sweep.describe(outcome):
                print(line, file=terminal.out)
        return 0 if outcome.best else 1

    return _quietly(log, work)


def _follow(root: str | Path, place: str, wait: float, terminal) -> int:
    """Helps the chief, as one of the other workers."""
    from pipeline import cluster
    from pipeline.progress import Progress

    with Progress(terminal.err):
        cluster.follow(root, place, wait)
    return 0


def _quietly(log: Path, work: Callable) -> int:
    """Does `work` with the terminal to itself, and says on it what went wrong; libraries speak to the log."""
    from memefly.quiet import Quiet
    from pipeline import root_folder

    root_folder.check(log.parent.parent)
    log.parent.mkdir(exist_ok=True)
    log.touch()
    with Quiet(log) as terminal:
        status, expected = _telling(work, terminal)
    if expected:
        log.unlink(missing_ok=True)  # where nothing ran that a log is kept of
    return status


def _telling(work: Callable, terminal) -> tuple[int, bool]:
    """Does `work`, and says on the terminal what went wrong: its exit status, and whether that was to be expected."""
    from memefly.errors import MemeflyError, refused

    try:
        return work(terminal), True
    except MemeflyError as error:
        print(f"memefly: {error}", file=terminal.err)
        return error.exit_code, True
    except KeyboardInterrupt:
        print("\nmemefly: interrupted; the same command goes on where this one stopped", file=terminal.err)
        return 130, False
    except Exception as error:
        if isinstance(error, OSError) and (ours := refused(error)):
            print(f"memefly: {ours}", file=terminal.err)
            return ours.exit_code, False
        # A fault of ours: where the libraries' words go, nobody would see it.
        traceback.print_exc()
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
        print(f"memefly: failed unexpectedly: {type(error).__name__}: {error}\n  {where}", file=terminal.err)
        return 1, False


def _warn_of_random_weights(configuration, stream) -> None:
    if configuration.encoder.weights == "random":
        print(
            "NOTE: the encoder has RANDOM weights. That does for drawn samples and for tests; for photographs "
            "set encoder.weights to imagenet or to a model file.",
            file=stream,
        )


if __name__ == "__main__":
    sys.exit(main())
