"""Commands about what runs left in a ROOT: `runs` lists them, `diff` compares two, `history` says what was live,
`lineage` where a model comes from; and `doctor`, about the machine."""

from __future__ import annotations

import argparse
import contextlib
import sys

from memefly import textfile
from memefly.commands.parser import Command, add_root, not_negative, place, positive, server
from memefly.errors import UsageError
from memefly.quiet import import_tensorflow


def add(command: Command) -> None:
    add_runs(command)
    add_diff(command)
    add_history(command)
    add_lineage(command)
    add_doctor(command)
    add_wandb_sync(command)
    add_wandb_report(command)
    add_forget(command)
    add_gc(command)
    add_features(command)
    add_project(command)


def add_runs(command: Command) -> None:
    runs = command(
        "runs",
        _runs,
        "list the runs of a root, the newest first",
        "  memefly runs --root root\n  memefly runs --root root --limit 5 --json",
    )
    add_root(runs)
    runs.add_argument("--limit", type=positive, metavar="N", help="the newest N (all)")
    runs.add_argument("--json", action="store_true", help="one JSON object a run")


def _runs(arguments: argparse.Namespace) -> int:
    from memefly.operations import runs

    found = runs.read(arguments.root)[: arguments.limit]
    if arguments.json:
        for run in found:
            print(textfile.to_json(run.as_dict()))
        return 0
    labels = _labels(arguments.root)
    print(f"{'run':<18} {'state':<11} {'took':>8} {'pictures':>8} {'BLEU-4':>7} {'CIDEr':>7} {'bits':>6}  pushed")
    for run in found:
        scores = [_number(run.metrics.get(name), width) for name, width in _COLUMNS]
        pushed = " ".join([str(run.version), *labels.get(run.version, [])]) if run.version else ""
        told = pushed if run.state in ("pushed", "part", "blessed") else run.why.partition("\n")[0]
        pictures = "" if run.pictures is None else f"{run.pictures:,}"
        row = f"{run.run_id:<18} {run.state:<11} {_duration(run.seconds):>8} {pictures:>8} {' '.join(scores)}  {told}"
        print(row.rstrip())
    return 0


_COLUMNS = (("bleu4", 7), ("cider", 7), ("bits_a_character", 6))


def _labels(root: str) -> dict[int, list[str]]:
    from memefly.serving import promotion

    found: dict[int, list[str]] = {}
    for label, version in sorted(promotion.labels(root).items()):
        found.setdefault(version, []).append(label)
    return found


def _number(value: float | None, width: int) -> str:
    return f"{'' if value is None else format(value, '.3f'):>{width}}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02}" if hours else f"{minutes} min" if minutes >= 10 else f"{minutes}:{rest:02} min"


def add_diff(command: Command) -> None:
    diff = command(
        "diff",
        _diff,
        "say how two runs differ, and why a node of the second ran",
        "  memefly diff 20261126-093000 latest --root root\n  memefly diff 20261126 20261127-1 --root root --json",
    )
    diff.add_argument("before", metavar="RUN", help="its id, the beginning of it, or latest")
    diff.add_argument("after", metavar="RUN")
    add_root(diff)
    diff.add_argument("--json", action="store_true", help="as one JSON object")


def _diff(arguments: argparse.Namespace) -> int:
    from memefly.operations import diff, runs

    before, after = (runs.find(arguments.root, name) for name in (arguments.before, arguments.after))
    found = diff.compare(arguments.root, before, after)
    print(textfile.to_json(found.as_dict(), indent=2) if arguments.json else "\n".join(diff.describe(found)))
    return 0


def add_history(command: Command) -> None:
    history = command(
        "history",
        _history,
        "say which model was live when, by whom and why",
        "  memefly history --root root\n  memefly history --root root --json",
    )
    add_root(history)
    history.add_argument("--json", action="store_true", help="one JSON object an event")


def _history(arguments: argparse.Namespace) -> int:
    from memefly.operations import history
    from memefly.serving import promotion

    events = history.read(arguments.root)
    for event in events:
        if arguments.json:
            print(textfile.to_json(event.as_dict()))
            continue
        when = event.when[:19].replace("T", " ") + " UTC"
        if event.what == "pushed":
            print(f"{when}  {event.version} pushed by run {event.who}")
        else:
            came = "" if event.before is None else f", from {event.before}"
            back = "back to" if event.what == "rollback" else "on"
            why = f": {event.why}" if event.why else ""
            print(f"{when}  {event.label} {back} {event.version}{came}, by {event.who}{why}")
    if not arguments.json:
        now = ", ".join(f"{label} {version}" for label, version in sorted(promotion.labels(arguments.root).items()))
        print(
            f"now: {now}" if now else "now: no label is on a version" + ("" if events else "; nothing was pushed yet")
        )
    return 0


def add_doctor(command: Command) -> None:
    doctor = command(
        "doctor",
        _doctor,
        "say what of this machine and installation is wrong, and what to do",
        "  memefly doctor\n  memefly doctor --root root --tf-serving localhost:8500\n"
        "  memefly doctor --job-endpoint localhost:8099 --worker-pool localhost:50000",
    )
    doctor.add_argument("--root", metavar="DIR", help="of the pipeline, whose disk is looked at")
    doctor.add_argument("--tf-serving", type=server, metavar="URL", help="HOST:PORT of gRPC, or http://HOST:PORT")
    doctor.add_argument("--job-endpoint", metavar="HOST:PORT", help="of the job server of Beam's engine")
    doctor.add_argument("--worker-pool", metavar="HOST:PORT", help="of the pool of its workers")
    doctor.add_argument("--json", action="store_true", help="one JSON object a finding")


def _doctor(arguments: argparse.Namespace) -> int:
    from memefly.operations import doctor

    found = doctor.examine(arguments.root, arguments.tf_serving, arguments.job_endpoint, arguments.worker_pool)
    for one in found:
        if arguments.json:
            print(textfile.to_json(one.as_dict()))
            continue
        print(f"{one.state:<6} {one.about:<10} {one.told}")
        if one.advice:
            print(f"{'':<17} -> {one.advice}")
    return int(any(one.state == doctor.WRONG for one in found))


def add_wandb_sync(command: Command) -> None:
    sync = command(
        "wandb-sync",
        _wandb_sync,
        "send W&B what was tracked offline: runs, artifacts, what used them, labels",
        "  WANDB_API_KEY=... memefly wandb-sync --root root\n  memefly wandb-sync --root /mnt/root --json\n\n"
        "as often as one likes, from any machine that has ROOT: what the server has is not sent again",
    )
    add_root(sync)
    sync.add_argument("--json", action="store_true", help="what was sent, and what was not, as one JSON object")


def _wandb_sync(arguments: argparse.Namespace) -> int:
    from memefly.tracking import sync

    told = (lambda line: print(line, file=sys.stderr)) if arguments.json else print
    said = sync.sync(arguments.root, told)
    if arguments.json:
        print(textfile.to_json(said.as_dict(), indent=2))
    elif said.left:
        print(f"{said.runs} runs and {said.entries} entries sent; not sent: {len(said.left)}; ask again for the rest")
    else:
        print(f"{said.runs} runs and {said.entries} entries sent; W&B has all that is here")
    return 1 if said.left else 0


def add_wandb_report(command: Command) -> None:
    report = command(
        "wandb-report",
        _wandb_report,
        "make a report in W&B, of its tables and curves",
        "  WANDB_API_KEY=... memefly wandb-report --root root\n"
        "  memefly wandb-report --root root --title 'Cats, November'",
    )
    add_root(report)
    report.add_argument("--title", default="Captions", metavar="TEXT", help="of the report (Captions)")


def _wandb_report(arguments: argparse.Namespace) -> int:
    from memefly.tracking import wandb_report

    print(wandb_report.save(arguments.root, arguments.title))
    return 0


def add_lineage(command: Command) -> None:
    lineage = command(
        "lineage",
        _lineage,
        "say where a pushed model comes from, and what judged it",
        "  memefly lineage latest --root root\n"
        "  memefly lineage --seen data/mine/images/cat.jpg --root root      # which models saw this picture\n"
        "  memefly lineage --seen 'one does not simply walk' --root root    # or this caption\n"
        "  memefly lineage stable --root root --json\n"
        "  memefly lineage 1700000000 --root root --mermaid > lineage.mmd",
    )
    asked = lineage.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "version", nargs="?", metavar="MODEL", help="a folder of ROOT/serving/captioner, a label, or latest"
    )
    asked.add_argument(
        "--seen", metavar="IMAGE|CAPTION", help="the other way: the models that were given this picture or caption"
    )
    add_root(lineage)
    form = lineage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as one JSON object")
    form.add_argument("--mermaid", action="store_true", help="a drawing, in Mermaid's language")


def _lineage(arguments: argparse.Namespace) -> int:
    from memefly.operations import lineage

    if arguments.seen is not None:
        return _seen(arguments)
    found = lineage.read(arguments.root, arguments.version)
    if arguments.json:
        print(textfile.to_json(found.as_dict(), indent=2))
    else:
        print(lineage.mermaid(found) if arguments.mermaid else "\n".join(lineage.describe(found)))
    return 0


def _seen(arguments: argparse.Namespace) -> int:
    import_tensorflow()
    from memefly.operations import sightings

    if arguments.mermaid:
        raise UsageError("--mermaid draws where a model comes from; --seen has no drawing")
    found = sightings.seek(arguments.root, sightings.sought(arguments.root, arguments.seen))
    print(textfile.to_json(found.as_dict(), indent=2) if arguments.json else "\n".join(sightings.describe(found)))
    return 0


def add_forget(command: Command) -> None:
    forget = command(
        "forget",
        _forget,
        "take a picture or a caption out of data, features, Examples and reports, and never let it in again",
        "  memefly forget data/mine/images/cat.jpg --data data/mine --root root --why 'she asked for it'\n"
        "  memefly forget 'that one joke' --data data/mine --root root\n"
        "  memefly forget images/cat.jpg --data data/mine --root root --dry-run",
    )
    forget.add_argument(
        "what",
        metavar="IMAGE|CAPTION",
        help="a picture's file, its name in the data set, the SHA-256 of its file; or words",
    )
    forget.add_argument("--data", required=True, type=place, metavar="DIR", help="the data set it is in, or was")
    add_root(forget)
    forget.add_argument("--why", default="", metavar="TEXT", help="goes into the record, which has nothing of it else")
    forget.add_argument("--dry-run", action="store_true", help="only say which models saw it")
    forget.add_argument("--json", action="store_true", help="what was done as one JSON object")


def _say_step(step: str) -> None:
    print(f"memefly: forgets: {step}", file=sys.stderr)


def _forget(arguments: argparse.Namespace) -> int:
    import_tensorflow()
    from memefly import lock
    from memefly.operations import forget, sightings

    what = sightings.sought(arguments.root, arguments.what, arguments.data)
    if arguments.dry_run:
        found = sightings.seek(arguments.root, what)
        print(textfile.to_json(found.as_dict(), indent=2) if arguments.json else "\n".join(sightings.describe(found)))
        return 0
    with lock.held(arguments.root):
        done = forget.forget(arguments.root, what, arguments.data, arguments.why, told=_say_step)
    print(textfile.to_json(done.as_dict(), indent=2) if arguments.json else "\n".join(forget.describe(done)))
    return 0


def add_gc(command: Command) -> None:
    gc = command(
        "gc",
        _gc,
        "say what in a root nobody needs any more; delete it with --delete",
        "  memefly gc --root root\n  memefly gc --root root --keep 10 --days 30\n  memefly gc --root root --delete",
    )
    add_root(gc)
    gc.add_argument("--keep", type=positive, default=3, metavar="N", help="the newest N runs keep all they made (3)")
    gc.add_argument(
        "--days", type=not_negative, default=7.0, metavar="D",
        help="checkpoints, W&B's runs and leftovers that were touched since are kept (7)",
    )  # fmt: skip
    gc.add_argument("--delete", action="store_true", help="delete it; without, nothing is")
    gc.add_argument("--json", action="store_true", help="as one JSON object")


def _gc(arguments: argparse.Namespace) -> int:
    import_tensorflow()
    from memefly import lock
    from memefly.operations import gc

    with lock.held(arguments.root) if arguments.delete else contextlib.nullcontext():
        found = gc.plan(arguments.root, arguments.keep, arguments.days)
        if arguments.delete:
            gc.collect(arguments.root, found)
    if arguments.json:
        print(textfile.to_json(found.as_dict() | {"deleted": arguments.delete}, indent=2))
        return 0
    print("\n".join(gc.describe(found)))
    print("deleted" if arguments.delete else "nothing is deleted; --delete does it")
    return 0


def add_features(command: Command) -> None:
    features = command(
        "features",
        _features,
        "say what a root's store of features holds, and with --check whether all of it is whole",
        "  memefly features --root root\n"
        "  memefly features --root root --check\n"
        "  memefly features --root root --check --delete     # what is damaged, for ImageFeatures to encode again\n"
        "  memefly features --root root --compact            # large packs of small ones",
    )
    add_root(features)
    features.add_argument("--check", action="store_true", help="read every entry and verify its checksum")
    features.add_argument("--delete", action="store_true", help="remove what --check finds damaged")
    features.add_argument("--compact", action="store_true", help="make large packs of small ones, and of single files")
    features.add_argument("--json", action="store_true", help="one JSON object an encoder")


def _features(arguments: argparse.Namespace) -> int:
    from memefly import lock
    from memefly.errors import UsageError
    from memefly.operations import features

    if arguments.delete and not arguments.check:
        raise UsageError("--delete removes what --check finds; give both")
    with lock.held(arguments.root) if arguments.delete or arguments.compact else contextlib.nullcontext():
        found = features.read(arguments.root, arguments.check, arguments.delete, arguments.compact)
    for one in found:
        if arguments.json:
            print(textfile.to_json(one.as_dict()))
            continue
        size = f"{one.bytes / 2**20:,.1f} MiB"
        packs = f", {one.packs:,} pack{'s' if one.packs > 1 else ''}" if one.packs else ""
        print(f"encoder {one.encoder}: {one.entries:,} entries{packs}, {size}", end="")
        print(f", {one.cut_off} left by writers that were killed" if one.cut_off else "")
        for key in one.damaged:
            print(f"  damaged: {key}")
        if one.damaged:
            do = "removed; the next run encodes them again" if arguments.delete else "--delete removes them"
            print(f"  {len(one.damaged)} of {one.entries:,} are damaged: {do}")
        elif arguments.check:
            print("  all are whole")
    return 1 if any(one.damaged for one in found) and not arguments.delete else 0


def add_project(command: Command) -> None:
    project = command(
        "project",
        _project,
        "fit a projection of features onto fewer channels (PCA), on the pictures of train that a root has features of",
        "  memefly project --root root --channels 256 --out pca256.npz\n"
        "  memefly run --data data/flickr8k --root small --set encoder.projection=pca256.npz",
    )
    add_root(project)
    project.add_argument("--channels", required=True, type=positive, metavar="C", help="to be left")
    project.add_argument("--out", required=True, type=place, metavar="FILE", help="for encoder.projection")
    project.add_argument("--pictures", type=positive, default=2000, metavar="N", help="to fit on at most (2000)")
    project.add_argument("--json", action="store_true", help="one JSON object")


def _project(arguments: argparse.Namespace) -> int:
    import_tensorflow()
    from memefly.operations import project

    found = project.fit(arguments.root, arguments.channels, arguments.out, arguments.pictures)
    if arguments.json:
        told = {"channels": found.channels, "of": len(found.mean), "kept": found.kept, "pictures": found.pictures}
        print(textfile.to_json(told | {"out": str(arguments.out)}))
    else:
        print(
            f"{arguments.out}: {len(found.mean):,} channels to {found.channels:,}, with {found.kept:.1%} of the "
            f"variance of {found.pictures:,} pictures of train"
        )
    return 0
