"""Commands that make data sets: `sample` draws one, `import` brings one into the canonical form."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from memefly.commands.parser import Command, positive
from memefly.datasets import formats


def add(command: Command) -> None:
    add_sample(command)
    add_import(command)


def add_sample(command: Command) -> None:
    sample = command("sample", _sample, "draw the sample memes", "  memefly sample data/sample --images 1200 --seed 0")
    sample.add_argument("dir", type=Path, metavar="DIR", help="where to write the data set")
    sample.add_argument("--images", type=positive, default=1200, metavar="N", help="how many (1200)")
    sample.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other memes (0)")


def _sample(arguments) -> int:
    from memefly.datasets import sample

    written = sample.generate(arguments.dir, arguments.images, arguments.seed)
    print(f"{written.pictures} memes with {written.captions} captions in {arguments.dir}")
    return 0


def add_import(command: Command) -> None:
    importer = command(
        "import",
        _import,
        "bring a data set into the canonical form",
        "  memefly import ~/Flickr8k --out data/flickr8k\n"
        "  memefly import flickr8k ~/Flickr8k --out data/small --limit 1000\n"
        "  memefly import memefly ~/memefly-data --out data/memes --link\n\n"
        f"formats:\n{formats.described()}",
    )
    importer.add_argument("format", nargs="?", metavar="FORMAT", help="see below (what SOURCE looks like)")
    importer.add_argument("source", type=Path, metavar="SOURCE", help="folder of the data set, or its file")
    importer.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it")
    importer.add_argument("--limit", type=positive, metavar="N", help="only so many pictures")
    importer.add_argument("--link", action="store_true", help="link the pictures, and do not copy them")
    for column, usual in (("image", "file_name"), ("caption", "caption"), ("group", "group"), ("split", "split")):
        importer.add_argument(f"--{column}-column", metavar="NAME", help=f"of a table ({usual})")
    importer.add_argument("--val", type=float, metavar="SHARE", help="of flickr8k's train part, kept apart (0.1)")


def _import(arguments) -> int:
    from memefly.datasets.records import QUARANTINE

    if arguments.format is None:
        name = formats.recognise(arguments.source)
        print(f"{arguments.source} looks like {name}", file=sys.stderr)
    else:
        name = arguments.format
    given = {name: getattr(arguments, f"{name}_column") for name in ("image", "caption", "group", "split")}
    options = {name: value for name, value in (given | {"val": arguments.val}).items() if value is not None}
    written = formats.importer(name, options)(
        arguments.source, arguments.out, limit=arguments.limit, link=arguments.link, **options
    )
    if written.left_out:
        counts = Counter(f"{entry['what']}s: {entry['reason']}" for entry in written.left_out)
        told = ", ".join(f"{number} {what}" for what, number in counts.most_common())
        first = written.left_out[0]["detail"]
        print(f"memefly: left out {told}; {arguments.out / QUARANTINE} has all. The first: {first}", file=sys.stderr)
    print(f"{written.pictures} pictures with {written.captions} captions in {arguments.out}")
    return 0
