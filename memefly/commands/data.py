"""Commands that make data sets: `sample` draws one, `import` brings one into the canonical form."""

from __future__ import annotations

import sys
from pathlib import Path

from memefly.commands.parser import Command, positive, share
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
        "  memefly import memefly ~/memefly-data --out data/memes --link\n"
        "  memefly import coco ~/coco --download --limit 5000 --out data/coco\n"
        "  memefly import captions.csv --image-column photo --caption-column title --out data/mine\n\n"
        f"formats:\n{formats.described()}",
    )
    importer.add_argument("format", nargs="?", metavar="FORMAT", help="see below (what SOURCE looks like)")
    importer.add_argument("source", type=Path, metavar="SOURCE", help="folder of the data set, or its file")
    importer.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it")
    importer.add_argument("--limit", type=positive, metavar="N", help="only so many pictures")
    importer.add_argument("--link", action="store_true", help="link the pictures, and do not copy them")
    importer.add_argument(
        "--max-left-out", type=share, default=1.0, metavar="SHARE", help="of what is broken, above which it fails (1)"
    )
    importer.add_argument("--download", action="store_true", default=None, help="fetch what SOURCE lacks")
    importer.add_argument("--year", type=int, metavar="Y", help="of coco: 2014 or 2017 (2017, if it is there)")
    importer.add_argument("--val", type=share, metavar="SHARE", help="of coco's and flickr's train part, kept apart")
    for column, usual in (("image", "file_name"), ("caption", "caption"), ("group", "group"), ("split", "split")):
        importer.add_argument(f"--{column}-column", metavar="NAME", help=f"of a table ({usual})")


_OPTIONS = ("download", "year", "val", "image_column", "caption_column", "group_column", "split_column")


def _import(arguments) -> int:
    from memefly.datasets import formats
    from memefly.datasets.records import QUARANTINE

    name = arguments.format
    if name is None:
        name = formats.recognise(arguments.source)
        print(f"{arguments.source} looks like {name}", file=sys.stderr)
    written = formats.bring(
        name,
        arguments.source,
        arguments.out,
        limit=arguments.limit,
        link=arguments.link,
        max_left_out=arguments.max_left_out,
        progress=True,
        options={name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None},
    )
    if written.counts:
        print(
            f"memefly: left out {written.told()}; {arguments.out / QUARANTINE} has all. The first: {written.first[0]}",
            file=sys.stderr,
        )
    print(f"{written.pictures} pictures with {written.captions} captions in {arguments.out}")
    return 0
