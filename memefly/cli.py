"""The command line. Every command imports what it needs when it runs: `memefly --help` loads no TensorFlow."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

EXIT = """\
exit status: 0 done (for run: and blessed); 1 failed; 2 wrong use or bad input;
3 ran to the end, but the gate said no and nothing was pushed
"""


def main(argv: list[str] | None = None, further: Sequence[Callable] = ()) -> int:
    """Runs a command and returns its exit status. `further` add commands of packages that stand above this one."""
    arguments = _parser(further).parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")  # about Python 3.10, which TFX needs
    from memefly.errors import MemeflyError

    try:
        return arguments.command(arguments)
    except MemeflyError as error:
        print(f"memefly: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("memefly: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _parser(further: Sequence[Callable]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memefly",
        description="Learns to write captions for pictures, memes above all, and ships a model that has earned it.",
        epilog=EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, help: str, examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        return sub

    sample = command("sample", _sample, "draw the sample memes", "  memefly sample data/sample --images 1200 --seed 0")
    sample.add_argument("dir", type=Path, metavar="DIR", help="where to write the data set")
    sample.add_argument("--images", type=_positive, default=1200, metavar="N", help="how many (1200)")
    sample.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other memes (0)")

    importer = command(
        "import",
        _import,
        "bring a data set into the canonical form",
        "  memefly import flickr8k ~/Flickr8k --out data/flickr8k\n"
        "  memefly import flickr8k ~/Flickr8k --out data/small --limit 1000\n"
        "  memefly import memefly ~/memefly-data --out data/memes",
    )
    importer.add_argument("format", choices=("flickr8k", "memefly"), metavar="FORMAT", help="flickr8k | memefly")
    importer.add_argument("source", type=Path, metavar="SOURCE", help="folder of the data set")
    importer.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it")
    importer.add_argument("--limit", type=_positive, metavar="N", help="only so many pictures")
    importer.add_argument("--val", type=float, metavar="SHARE", help="of flickr8k's train part, kept apart (0.1)")

    caption = command(
        "caption",
        _caption,
        "caption pictures with an exported model",
        "  memefly caption --model root/serving/captioner cat.jpg dog.webp\n"
        "  memefly caption --model root/serving/captioner --beam 3 --json cat.jpg\n"
        "  memefly caption --model root/serving/captioner --beam 5 --decode temperature=0.8 --decode seed=7 cat.jpg",
    )
    caption.add_argument(
        "--model", required=True, type=Path, metavar="DIR", help="a version, or the folder of versions"
    )
    caption.add_argument("--beam", type=_positive, metavar="K", help="search with a beam of K and show all K captions")
    caption.add_argument(
        "--decode",
        action="append",
        default=[],
        metavar="KNOB=VALUE",
        help="another value than the model's own: temperature, top_k, top_p, seed, groups, diversity, min_length, "
        "max_length, length_penalty, block_ngram; may be repeated",
    )
    caption.add_argument("--json", action="store_true", help="one JSON object a picture")
    caption.add_argument("images", nargs="+", type=Path, metavar="IMAGE")

    evaluator = command(
        "evaluate",
        _evaluate,
        "score an exported model on a data set",
        "  memefly evaluate --model root/serving/captioner --data data/flickr8k\n"
        "  memefly evaluate --model root/serving/captioner/1700086400 --against root/serving/captioner/1700000000 "
        "--data data/flickr8k",
    )
    evaluator.add_argument(
        "--model", required=True, type=Path, metavar="DIR", help="a version, or the folder of versions"
    )
    evaluator.add_argument("--data", required=True, type=Path, metavar="DIR", help="a data set in the canonical form")
    evaluator.add_argument("--split", choices=("train", "val", "eval"), default="eval", metavar="S", help="(eval)")
    evaluator.add_argument("--against", type=Path, metavar="DIR", help="another model, on the same pictures")
    evaluator.add_argument("--beam", type=_positive, metavar="K", help="search with a beam of K (each model's own)")
    evaluator.add_argument("--pictures", type=_positive, metavar="N", help="the first so many only")
    evaluator.add_argument(
        "--tokenizer",
        choices=("memefly", "ptb"),
        default="memefly",
        metavar="T",
        help="memefly: as training cuts words | ptb: as coco-caption does, for published figures (memefly)",
    )
    evaluator.add_argument("--json", action="store_true", help="one JSON object, with the captions")

    exporter = command(
        "export",
        _export,
        "write a smaller form of an exported model, if it is good enough",
        "  memefly export --model root/serving/captioner --out small --precision int8 --data data/flickr8k",
    )
    exporter.add_argument(
        "--model", required=True, type=Path, metavar="DIR", help="a version, or the folder of versions"
    )
    exporter.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="gets a folder named after the version"
    )
    exporter.add_argument(
        "--precision",
        required=True,
        choices=("bf16", "int8"),
        metavar="P",
        help="bf16: a SavedModel | int8: for LiteRT",
    )
    exporter.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="the data set of the model: train calibrates, eval is what both forms are compared on",
    )
    exporter.add_argument("--calibration", type=_positive, default=200, metavar="N", help="pictures of train (200)")
    exporter.add_argument("--pictures", type=_positive, metavar="N", help="the first so many of eval only")
    exporter.add_argument(
        "--tolerance", type=float, default=0.003, metavar="T", help="of BLEU-4, a fraction, that it may lose (0.003)"
    )
    exporter.add_argument("--json", action="store_true", help="the comparison as one JSON object")

    report = command(
        "report",
        _report,
        "write the HTML report of a run again",
        "  memefly report --root root\n  memefly report --root root --run 20260101-120000",
    )
    report.add_argument("--run", default="latest", metavar="ID", help="which run (the latest)")
    promote = command(
        "promote",
        _promote,
        "put a label of TensorFlow Serving on a pushed version",
        "  memefly promote --root root --version latest --to canary --why 'first of the new data'\n"
        "  memefly promote --root root --version 1700000000 --to stable",
    )
    promote.add_argument("--version", required=True, metavar="V", help="a folder of ROOT/serving/captioner, or latest")
    promote.add_argument("--to", required=True, metavar="LABEL", help="canary | stable")
    promote.add_argument(
        "--base-path", metavar="DIR", help="where the server finds the folder of versions (at first: /models/captioner)"
    )
    rollback = command(
        "rollback",
        _rollback,
        "put a label back on the version it was on before",
        "  memefly rollback --root root\n  memefly rollback --root root --label canary --why 'worse on dogs'",
    )
    rollback.add_argument("--label", default="stable", metavar="LABEL", help="canary | stable (stable)")
    for sub in (report, promote, rollback):
        sub.add_argument("--root", required=True, type=Path, metavar="DIR", help="of the pipeline")
    for sub in (promote, rollback):
        sub.add_argument(
            "--server", metavar="HOST:PORT", help="TensorFlow Serving's gRPC: waits until it has loaded the version"
        )
        sub.add_argument("--why", default="", metavar="TEXT", help="goes into the history")
        sub.add_argument("--json", action="store_true", help="the move as one JSON object")

    serve = command(
        "serve",
        _serve,
        "answer over HTTP with captions",
        "  memefly serve --model root/serving/captioner\n"
        "  memefly serve --tf-serving localhost:8500 --label stable --host 0.0.0.0 --port 8000",
    )
    source = serve.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", type=Path, metavar="DIR", help="a version, or the folder of versions: in this process"
    )
    source.add_argument("--tf-serving", metavar="HOST:PORT", help="TensorFlow Serving's gRPC interface")
    serve.add_argument(
        "--label", metavar="LABEL", help="of TensorFlow Serving's version: stable | canary (the highest)"
    )
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on (127.0.0.1: this machine)"
    )
    serve.add_argument("--port", type=_positive, default=8000, metavar="P", help="(8000)")
    serve.add_argument(
        "--largest-batch", type=_positive, metavar="B", help="pictures through the model at once (as it was warmed for)"
    )
    for add in further:
        add(command)
    return parser


def _version() -> str:
    from memefly import __version__

    return f"memefly {__version__}"


def _positive(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {value!r}")
    return int(value)


def _sample(arguments) -> int:
    from memefly.datasets import sample

    written = sample.generate(arguments.dir, arguments.images, arguments.seed)
    print(f"{written.pictures} memes with {written.captions} captions in {arguments.dir}")
    return 0


def _import(arguments) -> int:
    from memefly.datasets import flickr8k, memefly
    from memefly.errors import DataError

    convert = {"flickr8k": flickr8k.convert, "memefly": memefly.convert}[arguments.format]
    share = {} if arguments.val is None else {"val": arguments.val}
    if share and arguments.format != "flickr8k":
        raise DataError("--val is for flickr8k: memes are parted caption by caption, a tenth of them val")
    written = convert(arguments.source, arguments.out, arguments.limit, **share)
    print(f"{written.pictures} pictures with {written.captions} captions in {arguments.out}")
    return 0


def _caption(arguments) -> int:
    from memefly import export, images
    from memefly.errors import PictureError

    version = export.newest_version(arguments.model)
    knobs = dict(map(_knob, arguments.decode)) | ({"beam": arguments.beam} if arguments.beam else {})
    readable, failed = {}, {}
    for path in arguments.images:
        try:
            readable[path] = images.read(path).data
        except PictureError as error:
            failed[path] = error
    model = export.load(version) if readable else None
    captions = dict(zip(readable, model.caption(list(readable.values()), **knobs))) if model else {}
    for path in arguments.images:
        if path in failed:
            print(f"memefly: {path}: {failed[path]}", file=sys.stderr)
        if arguments.json:
            found = [{"caption": c.text, "score": c.score} for c in captions.get(path, [])[: arguments.beam or 1]]
            record = {"image": str(path), "captions": found}
            record |= {"error": str(failed[path]), "reason": failed[path].reason} if path in failed else {}
            print(json.dumps(record, ensure_ascii=False))
        elif path in captions:
            for caption in captions[path][: arguments.beam or 1]:
                score = f"  ({caption.score:.2f})" if (arguments.beam or 1) > 1 else ""
                print(f"{path}: {caption.text}{score}")
    return 2 if failed else 0


def _knob(argument: str) -> tuple[str, float]:
    from memefly.errors import UsageError

    name, _, value = argument.partition("=")
    try:
        return name, float(value) if "." in value or "e" in value else int(value)
    except ValueError:
        raise UsageError(f"--decode takes KNOB=NUMBER, such as temperature=0.8; got {argument!r}") from None


def _serve(arguments) -> int:
    import uvicorn

    from memefly import export
    from memefly.app.backends import LocalModel, TensorFlowServing
    from memefly.app.service import create_app

    if arguments.model:
        print(f"memefly: loads {arguments.model}", file=sys.stderr)
        backend = LocalModel(arguments.model, arguments.largest_batch or export.LARGEST_BATCH)
    else:
        backend = TensorFlowServing(arguments.tf_serving, arguments.label)
    print(f"memefly: {backend.status().detail}; http://{arguments.host}:{arguments.port}/v1/captions", file=sys.stderr)
    uvicorn.run(create_app(backend), host=arguments.host, port=arguments.port, log_level="warning")
    return 0


# What `memefly evaluate` tells, in this order: key, name, and the format of its values.
_METRICS = (
    ("bleu1", "BLEU-1", ".4f"),
    ("bleu2", "BLEU-2", ".4f"),
    ("bleu3", "BLEU-3", ".4f"),
    ("bleu4", "BLEU-4", ".4f"),
    ("constant_bleu4", "BLEU-4 of the best constant caption", ".4f"),
    ("cider", "CIDEr-D", ".4f"),
    ("others_cider", "CIDEr-D beside other pictures", ".4f"),
    ("rouge_l", "ROUGE-L", ".4f"),
    ("chrf", "chrF", ".4f"),
    ("distinct_captions", "distinct captions", ".0f"),
    ("distinct_1", "distinct-1", ".4f"),
    ("distinct_2", "distinct-2", ".4f"),
    ("self_bleu4", "self-BLEU-4", ".4f"),
    ("vocabulary", "words used", ".0f"),
    ("length", "words a caption", ".2f"),
    ("valid_share", "well-formed captions", ".2%"),
    ("copied_share", "copied from training", ".2%"),
    ("nearest_similarity", "nearness to training", ".4f"),
    ("template_recall", "template recall", ".2%"),
)


def _evaluate(arguments) -> int:
    from tqdm import tqdm

    from memefly import evaluation, export, text
    from memefly.metrics import ptb

    cut = ptb.tokenize if arguments.tokenizer == "ptb" else text.tokenize
    folder = export.newest_version(arguments.model)
    shares = export.read_manifest(folder)["config"].get("splits")
    examples = evaluation.read(arguments.data, arguments.split, shares, arguments.pictures, cut)
    knobs = {"beam": arguments.beam} if arguments.beam else {}
    found = []
    for model in filter(None, (arguments.model, arguments.against)):
        with tqdm(total=len(examples.pictures), desc=f"captions, {model.name}", unit=" pictures", disable=None) as bar:
            found.append(evaluation.evaluate(model, examples, cut, bar.update, **knobs))
    ours, *theirs = found
    differences = evaluation.compare(ours, theirs[0]) if theirs else {}
    if arguments.json:
        told = {"split": arguments.split, "tokenizer": arguments.tokenizer, **_told(ours)}
        told["captions"] = dict(zip(examples.images, ours.captions))
        if theirs:
            told["against"] = _told(theirs[0])
            told["differences"] = {name: dataclasses.asdict(d) for name, d in differences.items()}
        print(json.dumps(told, ensure_ascii=False))
        return 0
    print(f"{ours.model}: {ours.pictures} pictures of {arguments.split}, words as {arguments.tokenizer} cuts them")
    if theirs:
        print(f"against {theirs[0].model}")
    for key, name, form in _METRICS:
        if key not in ours.metrics:
            continue
        line = f"{name:<36} {ours.metrics[key]:>8{form}}"
        if theirs:
            line += f" {theirs[0].metrics[key]:>8{form}}"
        if key in differences:
            d = differences[key]
            line += f"   {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]  p {d.p:.3f}"
        elif key in ours.intervals and not theirs:
            line += f"   [{ours.intervals[key].low:.4f}, {ours.intervals[key].high:.4f}]"
        print(line)
    print(f"best constant caption: {ours.constant_caption}")
    print("[ ]: 95 % of draws of the pictures with replacement" + (", the same for both models" if theirs else ""))
    return 0


def _told(evaluation) -> dict:
    return {
        "model": evaluation.model,
        "version": evaluation.version,
        "pictures": evaluation.pictures,
        "metrics": evaluation.metrics,
        "intervals": {name: dataclasses.asdict(i) for name, i in evaluation.intervals.items()},
        "constant_caption": evaluation.constant_caption,
    }


def _export(arguments) -> int:
    from tqdm import tqdm

    from memefly import reduced

    with tqdm(desc="compares on eval", unit=" pictures", disable=None, delay=0.1) as bar:

        def compared(pictures: int, of: int) -> None:
            bar.total = of
            bar.update(pictures)

        verdict, out = reduced.reduce(
            arguments.model,
            arguments.out,
            arguments.precision,
            arguments.data,
            calibration=arguments.calibration,
            pictures=arguments.pictures,
            tolerance=arguments.tolerance,
            on_progress=lambda message: print(f"memefly: {message}", file=sys.stderr),
            on_compared=compared,
        )
    if arguments.json:
        told = {**dataclasses.asdict(verdict), "blessed": verdict.blessed}
        print(json.dumps(told | {"out": str(out) if out else None}))
    else:
        print(f"BLEU-4 on {verdict.pictures} pictures: {verdict.bleu4:.4f} before, {verdict.small_bleu4:.4f} after")
        print(f"{verdict.bytes / 1e6:.1f} MB, {verdict.bytes / verdict.bytes_before:.0%} of what it was")
        print(f"{out}" if out else f"worse by more than {arguments.tolerance}: not kept")
    return 0 if verdict.blessed else 3


def _promote(arguments) -> int:
    from memefly import promotion

    move = promotion.promote(
        arguments.root,
        arguments.version,
        arguments.to,
        arguments.why,
        base_path=arguments.base_path,
        wait=_until_loaded(arguments.server),
    )
    return _moved(arguments, move)


def _rollback(arguments) -> int:
    from memefly import promotion

    return _moved(
        arguments,
        promotion.rollback(arguments.root, arguments.label, arguments.why, wait=_until_loaded(arguments.server)),
    )


def _until_loaded(server: str | None):
    """What `promote` does between the two configurations; see there."""
    from memefly import promotion

    if server:
        return promotion.until_available(server)

    def wait(version: int) -> None:
        print(
            f"memefly: {promotion.CONFIG} names version {version} now; waits {promotion.SETTLE:.0f} s for a server to "
            "load it before the label moves (--server HOST:PORT asks the server instead)",
            file=sys.stderr,
        )
        time.sleep(promotion.SETTLE)

    return wait


def _moved(arguments, move) -> int:
    from memefly import promotion

    if arguments.json:
        print(json.dumps(dataclasses.asdict(move), ensure_ascii=False))
    else:
        print(f"{move.label}: {move.before or 'no version'} -> {move.version}")
        stand = ", ".join(f"{label} {version}" for label, version in sorted(promotion.labels(arguments.root).items()))
        print(f"{arguments.root / 'serving' / promotion.CONFIG}: {stand}")
    return 0


def _report(arguments) -> int:
    from memefly import report

    print(report.write(arguments.root / "runs" / arguments.run))
    return 0
