"""The `memefly` command: the library's commands, and `run`, which only the pipeline can offer."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from memefly import cli


def main(argv: list[str] | None = None) -> int:
    return cli.main(argv, further=[add_run])


def add_run(command) -> None:
    run = command(
        "run",
        _run,
        "run the pipeline: data in, a gated model out",
        "  memefly run --data data/sample --root root --config demo\n"
        "  memefly run --data data/mine --root root --config my.yaml --set training.epochs=5\n"
        "  memefly run --data data/mine --root root --config my.yaml --from Trainer --set network.units=256",
    )
    run.add_argument("--data", required=True, metavar="DIR", help="a canonical data set (see import, sample)")
    run.add_argument("--root", required=True, metavar="DIR", help="where the pipeline keeps everything")
    run.add_argument("--config", metavar="FILE|PRESET", help="a YAML file, or tiny, demo, flickr8k, memes")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key; may be repeated"
    )
    run.add_argument("--from", dest="from_node", metavar="NODE", help="start here, on what the run before left")
    run.add_argument("--to", dest="to_node", metavar="NODE", help="stop after this node")
    run.add_argument("--json", action="store_true", help="print the run's summary as JSON")


def _run(arguments: argparse.Namespace) -> int:
    from memefly.errors import MemeflyError
    from memefly.quiet import Quiet

    root = Path(arguments.root)
    log = root / "runs" / f".log-{os.getpid()}"
    with Quiet(log) as terminal:
        try:
            from pipeline import config, local_runner
            from pipeline.progress import Progress

            configuration = config.load(arguments.config, arguments.set)
            if configuration.encoder.weights == "random":
                print(
                    "NOTE: the encoder has RANDOM weights. That does for drawn samples and for tests; for photographs "
                    "set encoder.weights to imagenet or to a model file.",
                    file=terminal.err,
                )
            # With --json, standard output is for the summary alone.
            with Progress(terminal.err if arguments.json else terminal.out) as progress:

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
                    on_event=on_event,
                )
        except MemeflyError as error:
            print(f"memefly: {error}", file=terminal.err)
            log.unlink(missing_ok=True)
            return error.exit_code
        except KeyboardInterrupt:
            print("\nmemefly: interrupted; the same command goes on where this one stopped", file=terminal.err)
            return 130
        if arguments.json:
            print(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False), file=terminal.out)
        else:
            for line in local_runner.describe(summary, root):
                print(line, file=terminal.out)
        return 0 if summary.blessed or not summary.judged else 3


if __name__ == "__main__":
    sys.exit(main())
