"""Commands of memes: `meme` writes words on pictures, one's own or a model's; `template` says which there are."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from memefly import textfile
from memefly.commands.knobs import add_knobs, drawn, knobs_of
from memefly.commands.parser import Command, place, positive
from memefly.errors import DataError, PictureError, UnsafeError, UsageError
from memefly.exported.manifest import newest_version, read_manifest
from memefly.quiet import import_tensorflow

if TYPE_CHECKING:
    from memefly.memes.render import Format
    from memefly.memes.template import Box, Template


def add(command: Command) -> None:
    add_meme(command)
    add_templates(command)


def add_meme(command: Command) -> None:
    meme = command(
        "meme",
        _meme,
        "write words on pictures, one's own or a model's",
        "  memefly meme cat.jpg --out meme.png --text 'one does not simply' --text 'feed the cat'\n"
        "  memefly meme cat.jpg dog.webp --out memes/ --model root/serving/captioner --n 3\n"
        "  memefly meme --templates templates --template drake --out drake.webp --model root/serving/captioner",
    )
    meme.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    meme.add_argument(
        "--out", required=True, metavar="FILE", help="*.png, .jpg, .webp or .gif; a folder where it ends in /"
    )
    meme.add_argument(
        "--model", type=place, metavar="DIR", help="writes the words: a version, or the folder of versions"
    )
    meme.add_argument(
        "--text", action="append", metavar="TEXT", help="words of one's own: once a text box, or once for all of them"
    )
    meme.add_argument("--n", type=positive, default=1, metavar="N", help="so many memes of each picture (1)")
    _add_folder(meme)
    meme.add_argument("--template", metavar="KEY", help="one of them, in the place of pictures")
    meme.add_argument("--size", type=positive, metavar="P", help="pixels of the longer side (as the picture has)")
    meme.add_argument("--no-mark", action="store_true", help="without the small print that a machine wrote the words")
    add_knobs(meme, beam="search with a beam of K; at least N")
    meme.add_argument("--json", action="store_true", help="one JSON object a meme")


def _add_folder(parser) -> None:
    parser.add_argument(
        "--templates", type=Path, metavar="DIR", help="a folder of templates (*.yaml), or a data set of memes"
    )


@dataclass(frozen=True)
class _Ground:
    """What memes are made on."""

    label: str
    data: bytes
    boxes: tuple[Box, ...]
    name: str = ""


def _meme(arguments) -> int:
    from memefly.memes import render

    if bool(arguments.images) == bool(arguments.template):
        raise UsageError("expected pictures, or --template KEY with --templates DIR: one of both")
    if bool(arguments.text) == bool(arguments.model):
        raise UsageError("expected --text with words of your own, or --model DIR that writes them: one of both")
    if arguments.text and arguments.n > 1:
        raise UsageError("--n is for --model: words of one's own make one meme of each picture")
    place = _Place(arguments.out, several=max(1, len(arguments.images)) * arguments.n > 1)
    if arguments.size and not render.SMALLEST <= arguments.size <= render.LARGEST:
        raise UsageError(f"--size: expected {render.SMALLEST} to {render.LARGEST} pixels, got {arguments.size}")
    failed: list[UsageError | UnsafeError] = []
    grounds = list(_grounds(arguments, failed))
    seed: dict[str, int] = {}
    if arguments.text:
        words = {ground.label: [_own(arguments.text, ground)] for ground in grounds}
    else:
        words, seed = _written(arguments, grounds, failed)
    for ground in grounds:
        for number, texts in enumerate(words.get(ground.label, []), start=1):
            try:
                meme = render.render(
                    ground.data, texts, ground.boxes, format=place.format, size=arguments.size,
                    mark=bool(arguments.model) and not arguments.no_mark, name=ground.name,
                )  # fmt: skip
            except PictureError as error:
                failed.append(_of(ground.label, error))
                continue
            path = place.path(ground.label, number, meme.format)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(meme.data)
            _told(arguments, path, ground, meme, seed)
    for wrong in failed:
        print(f"memefly: {wrong}", file=sys.stderr)
    return max((wrong.exit_code for wrong in failed), default=0)


def _told(arguments, path: Path, ground: _Ground, meme, seed: dict[str, int]) -> None:
    if arguments.json:
        said = {"meme": str(path), "picture": ground.label, "alt": meme.alt, "width": meme.width, "height": meme.height}
        print(textfile.to_json({**said, "texts": [dataclasses.asdict(one) for one in meme.written], **seed}))
        return
    print(f"{path}: {' / '.join(one.text for one in meme.written if one.text)}")
    for one in meme.written:
        if one.shortened:
            print(f"memefly: {path}: {one.text!r} is too long for its box; it ends in an ellipsis", file=sys.stderr)
        if one.left_out:
            print(f"memefly: {path}: no font has {one.left_out!r}; left out", file=sys.stderr)


class _Place:
    """Where memes are written to. Raises `UsageError` for a name that is of no format."""

    def __init__(self, out: str, several: bool):
        self._folder = Path(out) if out.endswith("/") or Path(out).is_dir() else None
        self._file, self._several = Path(out), several
        self.format = None if self._folder else _format(self._file)

    def path(self, label: str, number: int, format: str) -> Path:
        if self._folder:
            return self._folder / f"{Path(label).stem}-{number}.{'jpg' if format == 'jpeg' else format}"
        if not self._several:
            return self._file
        return self._file.with_name(f"{self._file.stem}-{Path(label).stem}-{number}{self._file.suffix}")


def _format(path: Path) -> Format:
    from memefly.memes.render import FORMATS

    suffix = path.suffix.lower().removeprefix(".").replace("jpg", "jpeg")
    if suffix not in FORMATS:
        raise UsageError(f"--out {path}: expected a name that ends in .png, .jpg, .webp or .gif, or a folder and /")
    return cast("Format", suffix)


def _grounds(arguments, failed: list) -> Iterator[_Ground]:
    from memefly import images
    from memefly.memes.template import BOXES, Templates

    if arguments.template:
        if not arguments.templates:
            raise UsageError("--template wants --templates DIR, where it is")
        template = _found(Templates.read(arguments.templates), arguments.template)
        yield _Ground(template.key, images.read_file(template.picture), template.boxes, template.name)
        return
    for path in arguments.images:
        try:
            yield _Ground(str(path), images.read_file(path), BOXES)
        except PictureError as error:
            failed.append(_of(str(path), error))


def _found(templates, wanted: str) -> Template:
    if wanted in templates.by_key:
        return templates.by_key[wanted]
    alike = templates.search(wanted)
    if len(alike) == 1:
        return alike[0]
    told = ", ".join(one.key for one in alike[:10]) if alike else "`memefly template` lists them"
    raise DataError(f"no template {wanted!r}: {'several are found by it, ' if alike else ''}{told}")


def _of(label: str, error: PictureError) -> PictureError:
    said = str(error)
    return error if label in said else PictureError(error.reason, f"{label}: {said}")


def _own(texts: list[str], ground: _Ground) -> list[str]:
    from memefly.memes import parting
    from memefly.memes.render import MAX_TEXT

    for text in texts:
        if len(text) > MAX_TEXT:
            raise UsageError(f"--text of {len(text)} characters; a box takes {MAX_TEXT} at most")
    if len(texts) > len(ground.boxes):
        raise UsageError(f"{len(texts)} times --text for the {len(ground.boxes)} text boxes of {ground.label}")
    return list(texts) if len(texts) > 1 else parting.part(texts[0], len(ground.boxes))


def _written(arguments, grounds: list[_Ground], failed: list) -> tuple[dict[str, list[list[str]]], dict[str, int]]:
    """By picture, the texts of each of its memes; and the seed that they were drawn with."""
    from memefly import images
    from memefly.memes import parting

    version = newest_version(arguments.model)  # says what is wrong before TensorFlow is loaded
    import_tensorflow()
    from memefly.exported import loading

    readable: dict[str, bytes] = {}
    for ground in grounds:
        try:
            readable[ground.label] = images.canonical(ground.data).data
        except PictureError as error:
            failed.append(_of(ground.label, error))
    if not readable:
        return {}, {}
    knobs = knobs_of(arguments)
    knobs["beam"] = max(arguments.n, int(knobs.get("beam", 1))) if arguments.n > 1 or "beam" in knobs else 0
    knobs = {name: value for name, value in knobs.items() if name != "beam" or value}
    seed = drawn(read_manifest(version), knobs)
    if seed and not arguments.json:
        print(f"memefly: drawn with --decode seed={seed['seed']}", file=sys.stderr)
    captions = dict(zip(readable, loading.load(version).caption(list(readable.values()), **knobs, **seed)))
    words = {}
    for ground in grounds:
        if ground.label in readable:
            found = captions[ground.label][: arguments.n]
            begin = knobs.get("prefix", "")
            words[ground.label] = [parting.part_after(begin, one.text, len(ground.boxes)) for one in found]
            if not found:
                failed.append(UnsafeError())
    return words, seed


def add_templates(command: Command) -> None:
    templates = command(
        "template",
        _templates,
        "list the templates of memes in a folder or a data set",
        "  memefly template --templates templates\n  memefly template --templates data/imgflip --search 'grumpy'",
    )
    _add_folder(templates)
    templates.add_argument("--search", default="", metavar="WORDS", help="only those that these words find")
    templates.add_argument("--json", action="store_true", help="one JSON object a template")


def _templates(arguments) -> int:
    from memefly.memes.template import Templates

    if not arguments.templates:
        raise UsageError("expected --templates DIR: a folder of templates, or a data set of memes")
    for one in Templates.read(arguments.templates).search(arguments.search):
        if arguments.json:
            print(textfile.to_json(one.model_dump(mode="json")))
        else:
            print(f"{one.key:40} {len(one.boxes)} text boxes  {one.name}")
    return 0
