"""Commands on exported models and runs: `caption`, `evaluate`, `export`, `report`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from memefly import textfile
from memefly.commands.knobs import add_knobs, drawn, knobs_of
from memefly.commands.parser import Command, add_model, add_root, finite, place, positive
from memefly.errors import PictureError, UnsafeError, UsageError
from memefly.exported.manifest import newest_version, read_manifest
from memefly.quiet import import_tensorflow

OfRoot = Callable[[argparse.Namespace], int]


def add(command: Command, of_root: OfRoot | None = None) -> None:
    """`of_root`: does what `evaluate --root` asks for, a part of a pipeline, of which this library knows nothing."""
    add_caption(command)
    add_evaluate(command, of_root)
    add_export(command)
    add_report(command)


def add_caption(command: Command) -> None:
    caption = command(
        "caption",
        _caption,
        "caption pictures with an exported model",
        "  memefly caption --model root/serving/captioner cat.jpg dog.webp\n"
        "  memefly caption --model root/serving/captioner --beam 3 --json cat.jpg\n"
        "  memefly caption --model root/serving/captioner --beam 5 --decode temperature=0.8 --decode seed=7 cat.jpg",
    )
    add_model(caption)
    add_knobs(caption, beam="search with a beam of K and show all K captions")
    caption.add_argument("--json", action="store_true", help="one JSON object a picture")
    caption.add_argument("images", nargs="+", type=Path, metavar="IMAGE")


def _caption(arguments) -> int:
    version = newest_version(arguments.model)  # says what is wrong before TensorFlow is loaded
    import_tensorflow()
    from memefly import images
    from memefly.exported import loading

    knobs = knobs_of(arguments)
    readable: dict[Path, bytes] = {}
    failed: dict[Path, PictureError | UnsafeError] = {}
    for path in arguments.images:
        try:
            readable[path] = images.read(path).data
        except PictureError as error:
            failed[path] = error
    model = loading.load(version) if readable else None
    seed = drawn(read_manifest(version), knobs) if readable else {}
    knobs |= seed
    if seed and not arguments.json:
        print(f"memefly: drawn with --decode seed={seed['seed']}", file=sys.stderr)
    captions = dict(zip(readable, model.caption(list(readable.values()), **knobs))) if model else {}
    failed |= {path: UnsafeError() for path, found in captions.items() if not found}
    for path in arguments.images:
        if path in failed:
            print(f"memefly: {path}: {failed[path]}", file=sys.stderr)
        if arguments.json:
            best = captions.get(path, [])[: arguments.beam or 1]
            found = [{"caption": c.text, "boxes": c.boxes, "score": c.score} for c in best]
            record = {"image": str(path), "captions": found, **seed}
            record |= {"error": str(failed[path]), "reason": failed[path].reason} if path in failed else {}
            print(textfile.to_json(record))
        elif path in captions:
            for caption in captions[path][: arguments.beam or 1]:
                score = f"  ({caption.score:.2f})" if (arguments.beam or 1) > 1 else ""
                print(f"{path}: {' / '.join(caption.boxes)}{score}")
    return max((error.exit_code for error in failed.values()), default=0)


def add_evaluate(command: Command, of_root: OfRoot | None = None) -> None:
    evaluator = command(
        "evaluate",
        partial(_evaluate, of_root),
        "score an exported model on a data set; or, with --root, gate the model that a pipeline trained: its last part",
        "  memefly evaluate --root root --data data/flickr8k --config flickr8k\n"
        "  memefly evaluate --model root/serving/captioner --data data/flickr8k\n"
        "  memefly evaluate --model root/serving/captioner/1700086400 --against root/serving/captioner/1700000000 "
        "--data data/flickr8k",
    )
    judged = evaluator.add_mutually_exclusive_group(required=True)
    judged.add_argument("--model", type=place, metavar="DIR", help="a version, or the folder of versions")
    judged.add_argument("--root", type=Path, metavar="DIR", help="of a pipeline; with --config and --set as for train")
    evaluator.add_argument("--data", required=True, type=place, metavar="DIR", help="a data set in the canonical form")
    evaluator.add_argument("--config", metavar="FILE|PRESET", help="of the pipeline, with --root")
    evaluator.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="likewise; may be repeated")
    evaluator.add_argument("--split", choices=("train", "val", "eval"), default="eval", metavar="S", help="(eval)")
    evaluator.add_argument("--against", type=place, metavar="DIR", help="another model, on the same pictures")
    evaluator.add_argument("--beam", type=positive, metavar="K", help="search with a beam of K (each model's own)")
    evaluator.add_argument(
        "--draws", type=positive, default=1, metavar="N", help="captions of each picture, of a model that draws (1)"
    )
    evaluator.add_argument(
        "--distances", action="store_true", help="how far captions are from people's; needs memefly[sentences]"
    )
    evaluator.add_argument("--pictures", type=positive, metavar="N", help="the first so many only")
    evaluator.add_argument(
        "--tokenizer",
        choices=("memefly", "ptb"),
        default="memefly",
        metavar="T",
        help="memefly: as training cuts words | ptb: as coco-caption does, for published figures (memefly)",
    )
    evaluator.add_argument("--json", action="store_true", help="one JSON object, with the captions")


_UNTOLD = ("bleu4_gain", "cider_gain", "distinct_share", "captions")  # by `memefly evaluate`: others say as much
_OF_MODELS = {  # what `evaluate` takes with --model alone, and what it is where nobody says it
    "split": "eval", "against": None, "beam": None, "draws": 1, "distances": False, "pictures": None,
    "tokenizer": "memefly",
}  # fmt: skip
_WHOLE, _SHARES = ("distinct_captions", "vocabulary"), ("_share", "template_recall")


def _form(metric: str) -> str:
    return ".0f" if metric in _WHOLE else ".2%" if metric.endswith(_SHARES) else ".4f"


def _evaluate(of_root: OfRoot | None, arguments: argparse.Namespace) -> int:
    if arguments.root:
        if of_root is None:
            raise UsageError(
                "evaluate --root runs a part of the pipeline, which is not here: pip install 'memefly[pipeline]', and "
                "call `memefly`"
            )
        given = {name: getattr(arguments, name) for name in _OF_MODELS}
        if wrong := [name for name, value in given.items() if value != _OF_MODELS[name]]:
            raise UsageError(f"--{wrong[0]} is for --model alone; how --root judges, its configuration says")
        return of_root(arguments)
    if arguments.config or arguments.set:
        raise UsageError("--config and --set are of a pipeline, with --root; a model knows its own configuration")
    for model in filter(None, (arguments.model, arguments.against)):
        newest_version(model)  # both, before one is judged for nothing
    import_tensorflow()
    from tqdm import tqdm

    from memefly import evaluation, text
    from memefly.cleaning import Cleaning
    from memefly.datasets.splits import Splitting
    from memefly.metrics import ptb, sentences
    from memefly.metrics.titles import TITLES
    from memefly.safety import SafetyConfig

    if arguments.distances:
        sentences.encoder()  # says what is missing before a model is judged for nothing
    cut = ptb.tokenize if arguments.tokenizer == "ptb" else text.tokenize
    folder = newest_version(arguments.model)
    config = read_manifest(folder)["config"]
    if arguments.draws > 1 and not config["decoding"].get("temperature"):
        raise UsageError(
            f"--draws is {arguments.draws}, but {folder} searches for its captions: it would say the same each time; "
            "leave --draws out, or run it with a decoding.temperature"
        )
    safety = SafetyConfig(**(config.get("safety") or {}))
    cleaning = Cleaning.model_validate(config.get("cleaning") or []).with_safety(safety)
    splitting = Splitting.of_model(config)
    examples = evaluation.read(arguments.data, arguments.split, splitting, arguments.pictures, cut, cleaning)
    options = {"beam": arguments.beam} if arguments.beam else {}
    options |= {"draws": arguments.draws, "embed": sentences.embed if arguments.distances else None}
    found = []
    for model in filter(None, (arguments.model, arguments.against)):
        of = f"captions, {model.name}"
        with tqdm(total=arguments.draws * len(examples.pictures), desc=of, unit=" captions", disable=None) as bar:
            found.append(evaluation.evaluate(model, examples, cut, bar.update, **options))
    ours, *theirs = found
    differences = evaluation.compare(ours, theirs[0]) if theirs else {}
    if arguments.json:
        told = {"split": arguments.split, "tokenizer": arguments.tokenizer, **_told(ours)}
        names = examples.images
        told["captions"] = {
            name: ours.captions[i] if arguments.draws == 1 else ours.captions[i :: len(names)]
            for i, name in enumerate(names)
        }
        if theirs:
            told["against"] = _told(theirs[0])
            told["differences"] = {name: dataclasses.asdict(d) for name, d in differences.items()}
        print(textfile.to_json(told))
        return 0
    drawn = f" of {arguments.draws} captions each" if arguments.draws > 1 else ""
    pictures = f"{ours.pictures} pictures of {arguments.split}{drawn}"
    print(f"{ours.model}: {pictures}, words as {arguments.tokenizer} cuts them")
    if theirs:
        print(f"against {theirs[0].model}")
    for key, name in TITLES.items():
        if key not in ours.metrics or key in _UNTOLD or key.endswith("_excess"):
            continue
        form = _form(key)
        line = f"{name:<36} {ours.metrics[key]:>8{form}}"
        if theirs:
            line += f" {theirs[0].metrics.get(key, math.nan):>8{form}}"
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


def add_export(command: Command) -> None:
    exporter = command(
        "export",
        _export,
        "write a smaller or faster form of an exported model, if it is good enough",
        "  memefly export --model root/serving/captioner --out small --precision int8 --data data/flickr8k",
    )
    add_model(exporter)
    exporter.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="gets a folder named after the version"
    )
    exporter.add_argument(
        "--precision",
        required=True,
        choices=("bf16", "int8", "fp32"),
        metavar="P",
        help="bf16: a SavedModel | int8: for LiteRT, a quarter of the size | fp32: for LiteRT, as exact as before",
    )
    exporter.add_argument(
        "--data",
        required=True,
        type=place,
        metavar="DIR",
        help="the data set of the model: train calibrates, eval is what both forms are compared on",
    )
    exporter.add_argument("--calibration", type=positive, default=200, metavar="N", help="pictures of train (200)")
    exporter.add_argument("--pictures", type=positive, metavar="N", help="the first so many of eval only")
    exporter.add_argument(
        "--tolerance", type=finite, default=0.003, metavar="T", help="of BLEU-4, a fraction, that it may lose (0.003)"
    )
    exporter.add_argument("--json", action="store_true", help="the comparison as one JSON object")


def _export(arguments) -> int:
    import_tensorflow()
    from tqdm import tqdm

    from memefly.exported import reduced

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


def add_report(command: Command) -> None:
    report = command(
        "report",
        _report,
        "write the HTML report of a run again",
        "  memefly report --root root\n  memefly report --root root --run 20260101-120000",
    )
    report.add_argument("--run", default="latest", metavar="ID", help="which run (the latest)")
    add_root(report)


def _report(arguments) -> int:
    from memefly.report import report

    print(report.write(arguments.root / "runs" / arguments.run))
    return 0
