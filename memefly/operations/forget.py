"""Takes a picture, or a caption, out of all that can be taken back: the data set, features, Examples, statistics,
galleries, reports, cards and W&B's tables; and sees to it that no later run brings it back.

    >>> done = forget("root", sought("root", "images/cat.jpg", "data/mine"), "data/mine", why="she asked for it")
    >>> done.models                              # that learned from it: they are not untaught
    [Model(run='20261127-211825', split='train', part='learned from it', version=1700000000, …)]

What is left of it is a line in ROOT/forgotten.jsonl: when, who, why, and the digest of the picture's file or of the
caption's words, by which CaptionExampleGen knows it again. That line comes first: who is cut off asks again.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memefly import inventory, layout, storage, textfile
from memefly.datasets import forgotten
from memefly.datasets import records as lines
from memefly.encoders.feature_store import FLIPPED, FeatureStore
from memefly.errors import UsageError
from memefly.layout import Layout
from memefly.operations import sightings
from memefly.operations.sightings import CAPTION, PICTURE, Model, Sightings, Sought
from memefly.provenance import file_digest
from memefly.report import card, report
from memefly.serving import promotion
from memefly.storage import Place

WORD = "(forgotten)"  # where something was told of
_TABLES = "wandb/*run-*/files/media/table/**/*.table.json"
_STAGED = "wandb/artifacts/staging/*"  # what `wandb sync` is to send: the same tables, and the pictures in them
_KNOWN = ("*.json", "*.jsonl")  # what of runs and artifacts is text that may tell of it


@dataclass
class Forgotten:
    kind: str
    digest: str
    data: int = 0  # records of the data set that were changed or taken out
    pictures: int = 0  # files of the data set
    features: int = 0  # entries of the feature store
    examples: int = 0  # Examples that were changed or taken out
    files: list[str] = field(default_factory=list)  # others under ROOT that told of it
    models: list[Model] = field(default_factory=list)  # that were given it
    left: list[str] = field(default_factory=list)  # files that have it still

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forget(
    root: str | Path,
    what: Sought,
    data: str | Place,
    why: str = "",
    who: str | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Forgotten:
    """Does it; `told` hears of every step. Raises `UsageError` where neither ROOT nor the data set has it,
    `DataError` where the data set is none. Nothing else may be at work in ROOT."""
    root, data = Path(root).resolve(), storage.at(data)
    lines.captions_file(data)
    found = sightings.seek(root, what)
    known = what.digest in forgotten.read(root)[what.kind]
    affected = list(_records(data, what))
    if not (found.examples or affected or known):
        raise UsageError(
            f"{what.told!r}: neither {data} nor anything under {root} has such a {what.kind}; a picture is "
            "named by its file, its name in the data set or its digest, a caption by its words"
        )
    done = Forgotten(what.kind, what.digest, models=found.models)
    forgotten.add(root, what.kind, what.digest, why, who or promotion.user())
    for _, image, captions in affected if what.kind == PICTURE else ():
        found.sources.add(image)
        found.together.add(frozenset(captions))
    told("the data set")
    _clean_data(data, what, done)
    told("features")
    _clean_features(root, what, done)
    told("Examples")
    for folder in sorted(layout.of(root).artifacts.glob("*/*/*/Split-*")):
        _clean_examples(folder, what, found, done)
    told("galleries, reports, tables and cards")
    _clean_texts(root, what, found, done)
    _clean_statistics(root, found, done)
    told("what is left of it")
    done.left = sorted(_left(root, what, found))
    return done


# --- the data set -----------------------------------------------------------------------------------------------------


def _records(data: Place, what: Sought) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, picture, captions) of the records that have it; of a picture all that name a file with its content."""
    size = next((path.stat().st_size for path in (Path(what.told), data / what.told) if _is_file(path)), None)
    for line in lines.read_lines(data):
        try:
            record = lines.parse(line)
        except lines.RecordError:
            continue
        if what.kind == CAPTION:
            if any(what.is_said(caption) for caption in record.captions):
                yield line.number, record.image, record.captions
            continue
        path = data / record.image
        if not _is_file(path) or (size is not None and path.stat().st_size != size):
            continue
        if file_digest(path) == what.digest:
            yield line.number, record.image, record.captions


def _is_file(path: Place) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _clean_data(data: Place, what: Sought, done: Forgotten) -> None:
    """The captions first, by one rename; then the pictures that no record names any more."""
    affected = {number: image for number, image, _ in _records(data, what)}
    if not affected:
        return
    path = lines.captions_file(data)
    images: set[str] = set()
    with storage.replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for line in lines.read_lines(data):
            content = line.content.rstrip("\r\n")
            if line.number in affected:
                done.data += 1
                content = "" if what.kind == PICTURE else _without(content, what)
                if not content:
                    images.add(affected[line.number])
            if content:
                file.write(content + "\n")
    kept = {record.image for record in _parsed(data)}
    for image in sorted(images - kept) if what.kind == PICTURE else ():
        (data / image).unlink(missing_ok=True)  # of a link, the link
        done.pictures += 1


def _parsed(data: Place) -> Iterator[lines.Record]:
    for line in lines.read_lines(data):
        try:
            yield lines.parse(line)
        except lines.RecordError:
            continue


def _without(content: str, what: Sought) -> str:
    """A line of a data set without a caption; empty where it has no other."""
    record = json.loads(content)
    said = record["captions"] if isinstance(record["captions"], list) else [record["captions"]]
    kept = [caption for caption in said if not what.is_said(caption)]
    return textfile.to_json(record | {"captions": kept}) if kept else ""


# --- what was made of it ----------------------------------------------------------------------------------------------


def _clean_features(root: Path, what: Sought, done: Forgotten) -> None:
    if what.kind == PICTURE:
        features = layout.of(root).features
        for folder in sorted(features.iterdir()) if features.is_dir() else ():
            done.features += FeatureStore(features, folder.name).discard([what.digest, what.digest + FLIPPED])


def _clean_examples(folder: Place, what: Sought, found: Sightings, done: Forgotten) -> None:
    """Of a split, whichever node wrote it. A file is replaced as a whole, and the artifact's inventory after it."""
    import tensorflow as tf

    changed = False
    for path in sorted(path for path in folder.iterdir() if path.is_file() and "-of-" in path.name):
        compression = "GZIP" if path.suffix == ".gz" else ""
        kept: list[bytes] = []
        hit = 0
        for record in tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator():
            cleaned = _cleaned(record, what)
            hit += cleaned != record
            kept += [cleaned] if cleaned else []
        if not hit:
            continue
        with storage.replacing(path) as fresh, tf.io.TFRecordWriter(str(fresh), compression) as writer:
            for record in kept:
                writer.write(record)
        done.examples += hit
        changed = True
    if changed:
        inventory.write(folder.parent)


def _cleaned(record: bytes, what: Sought) -> bytes:
    """An Example without it; nothing where nothing is left."""
    import tensorflow as tf

    example = tf.train.Example.FromString(record)
    feature = example.features.feature
    if what.kind == PICTURE:
        return b"" if what.digest.encode() in feature["image_id"].bytes_list.value else record
    captions = list(feature["captions"].bytes_list.value)
    kept = [i for i, caption in enumerate(captions) if not what.is_said(caption.decode())]
    if len(kept) == len(captions):
        return record
    if not kept:
        return b""
    feature["captions"].bytes_list.value[:] = [captions[i] for i in kept]
    if "tokens" in feature:  # a row for each caption
        tokens = list(feature["tokens"].int64_list.value)
        row = len(tokens) // len(captions)
        feature["tokens"].int64_list.value[:] = [one for i in kept for one in tokens[i * row : (i + 1) * row]]
    if "caption_words" in feature:
        counts = list(feature["caption_words"].int64_list.value)
        words = list(feature["words"].bytes_list.value)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        feature["caption_words"].int64_list.value[:] = [counts[i] for i in kept]
        feature["words"].bytes_list.value[:] = [one for i in kept for one in words[starts[i] : starts[i] + counts[i]]]
    return example.SerializeToString(deterministic=True)


# --- what tells of it -------------------------------------------------------------------------------------------------


def _clean_texts(root: Path, what: Sought, found: Sightings, done: Forgotten) -> None:
    scrub = _Scrubber(what, found)
    runs_changed: set[Path] = set()
    places = layout.of(root)
    for path in (path for pattern in _KNOWN for path in sorted((root / "runs").glob(f"*/{pattern}"))):
        if path.is_file() and not path.parent.is_symlink() and scrub.file(path):
            done.files.append(places.name_of(path))
            runs_changed.add(path.parent)
    for artifact in _artifacts(places):
        texts = [path for pattern in _KNOWN for path in sorted(artifact.rglob(pattern)) if path.is_file()]
        changed = [path for path in texts if scrub.file(path)]
        changed += [path for path in artifact.glob("training_captions.gz") if scrub.zipped(path)]
        if changed:
            done.files += [places.name_of(path) for path in changed]
            inventory.write(artifact)
    for path in sorted(root.glob("runs/*/run.log")):
        if scrub.log(path):
            done.files.append(str(path.relative_to(root)))
    staged = [path for path in root.glob(_STAGED) if path.is_file()]
    for path in sorted([*root.glob(_TABLES), *(path for path in staged if _is_table(path))]):
        if scrub.table(path):
            done.files.append(str(path.relative_to(root)))
    for path in staged:
        if scrub.images and path.is_file() and file_digest(path) in scrub.images:
            path.unlink()
            done.files.append(str(path.relative_to(root)))
    for folder in sorted(runs_changed):
        if (folder / report.REPORT).is_file():
            report.write(folder)
            done.files.append(str((folder / report.REPORT).relative_to(root)))
    for path in sorted(places.versions.glob(f"[0-9]*/{card.CARD}")):
        if scrub.card(path):
            done.files.append(places.name_of(path))


def _artifacts(places: Layout) -> list[Place]:
    """The folders of all artifacts, whichever node made them."""
    return [folder for folder in sorted(places.artifacts.glob("*/*/*")) if ".system" not in folder.parts]


class _Scrubber:
    """Takes what is forgotten out of texts."""

    def __init__(self, what: Sought, found: Sightings):
        self._what, self._sources, self._captions = what, found.sources, found.captions
        self._together = found.together  # where a picture has no name, all that was said of it is one
        self.images: set[str] = set()  # SHA-256 of W&B's pictures in rows that went

    def file(self, path: Place) -> bool:
        """A JSON file, or one of JSON lines; whether there was anything."""
        content = path.read_text(encoding="utf-8", errors="replace")
        try:
            if path.suffix == ".jsonl":
                said = [json.loads(line) for line in content.splitlines() if line.strip()]
                kept = self.clean(said)
                changed = kept != said
                fresh = "".join(textfile.to_json(one) + "\n" for one in kept)
            else:
                said = json.loads(content)
                kept = self.clean(said)
                changed = kept != said
                fresh = textfile.to_json(kept, indent=2) + "\n"
        except ValueError:
            return False
        if changed:
            storage.replace(path, fresh.encode())
        return changed

    def zipped(self, path: Place) -> bool:
        """The captions that a model may have learnt by heart: [group, caption] a line."""
        said = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
        kept = [pair for pair in said if not self._what.is_said(pair[1])]
        if len(kept) == len(said):
            return False
        storage.replace(path, gzip.compress("".join(json.dumps(pair) + "\n" for pair in kept).encode(), mtime=0))
        return True

    def log(self, path: Path) -> bool:
        content = path.read_text(encoding="utf-8", errors="replace")
        fresh = "".join(line if not self._names(line) else f"{WORD}\n" for line in content.splitlines(keepends=True))
        if fresh != content:
            storage.replace(path, fresh.encode())
        return fresh != content

    def table(self, path: Path) -> bool:
        """One of W&B's: rows that show it, with their pictures."""
        said = json.loads(path.read_text(encoding="utf-8"))
        gone = [row for row in said.get("data", []) if any(self._shows(cell) for cell in row)]
        if not gone:
            return False
        for row in gone:
            for cell in row:
                if isinstance(cell, dict) and cell.get("_type") == "image-file":
                    self.images.add(cell.get("sha256", ""))
        said["data"] = [row for row in said["data"] if row not in gone]
        storage.replace(path, textfile.to_json(said).encode())
        return True

    def card(self, path: Place) -> bool:
        """Of a model: rows of its worst pictures."""
        content = path.read_text(encoding="utf-8")
        names = self._sources if self._what.kind == PICTURE else self._captions
        escaped = {card.escaped(one) for one in names}
        rows = [line for line in content.splitlines() if line.startswith("| ![")]
        gone = [line for line in rows if any(one in line for one in escaped)]
        if not gone:
            return False
        for line in gone:
            name = line.partition("](")[2].partition(")")[0]
            (path.parent / name).unlink(missing_ok=True)
        fresh = "\n".join(line for line in content.splitlines() if line not in gone) + "\n"
        storage.replace(path, fresh.encode())
        storage.replace(path.with_name(card.PAGE), card.page(fresh).encode())
        return True

    def clean(self, said: Any) -> Any:
        """JSON without it: what is about the picture goes, where the caption stands `WORD` does."""
        if isinstance(said, dict):
            return {key: self.clean(value) for key, value in said.items()}
        if isinstance(said, list):
            kept = [one for one in said if not self._is_about(one)]
            if all(isinstance(one, str) for one in kept):
                kept = [one for one in kept if one not in self._captions and not self._what.is_said(one)]
            return [self.clean(one) for one in kept]
        if isinstance(said, str):
            if self._what.kind == CAPTION and (said in self._captions or self._what.is_said(said)):
                return WORD
            for caption in sorted(self._captions, key=len, reverse=True):
                said = said.replace(caption, WORD)
        return said

    def _is_about(self, one: Any) -> bool:
        """Whether one of a list is the picture's own."""
        if isinstance(one, dict):
            named = {one.get(key) for key in ("image_id", "source", "image") if isinstance(one.get(key), str)}
            about = {self._what.digest, *self._sources} if self._what.kind == PICTURE else set()
            return bool(named & about) or any(isinstance(v, str) and self._names(v) for v in (one.get("detail"),))
        if isinstance(one, list) and self._what.kind == CAPTION:  # of a step of cleaning: before, after, why
            return any(isinstance(cell, str) and (cell in self._captions or self._what.is_said(cell)) for cell in one)
        names = [cell for cell in one if isinstance(cell, str)] if isinstance(one, list) else []
        return self._what.kind == PICTURE and any(cell in self._sources for cell in names)

    def _names(self, line: str) -> bool:
        named = {self._what.digest, *(self._sources if self._what.kind == PICTURE else self._captions)}
        return any(name and name in line for name in named)

    def _shows(self, cell: Any) -> bool:
        """Whether a cell of a table names the picture, or has the caption in it."""
        if not isinstance(cell, str):
            return False
        if self._what.kind == PICTURE:
            return cell in self._sources or frozenset(cell.split("\n")) in self._together
        return any(one in self._captions or self._what.is_said(one) for one in {cell, *cell.split("\n")})


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"{"


def _clean_statistics(root: Path, found: Sightings, done: Forgotten) -> None:
    """TFDV's: the commonest values by name."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    gone = {found.sought.digest, *(found.sources if found.sought.kind == PICTURE else found.captions)}
    places = layout.of(root)
    for path in sorted(places.artifacts.glob("StatisticsGen/statistics/*/Split-*/FeatureStats.pb")):
        said = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        changed = False
        for feature in (one for dataset in said.datasets for one in dataset.features):
            strings = feature.string_stats
            for values, label in ((strings.top_values, "value"), (strings.rank_histogram.buckets, "label")):
                kept = [one for one in values if getattr(one, label) not in gone]
                if len(kept) < len(values):
                    copies = [type(one).FromString(one.SerializeToString()) for one in kept]
                    del values[:]
                    values.extend(copies)
                    changed = True
        if changed:
            storage.replace(path, said.SerializeToString())
            inventory.write(path.parents[1])
            done.files.append(places.name_of(path))


def _left(root: Path, what: Sought, found: Sightings) -> Iterator[str]:
    """Files that have its name or its words still: those of models that learned from it, and what is not ours."""
    names = {what.digest, *found.sources} if what.kind == PICTURE else {*found.captions, what.told}
    wanted = [name.encode() for name in names if len(name) > 3]
    places = layout.of(root)
    elsewhere = [place for name in layout.INSIDE if root not in (place := getattr(places, name)).parents]
    for path in (path for folder in (root, *elsewhere) for path in sorted(folder.rglob("*"))):
        if not path.is_file() or path.is_symlink() or path.name in (forgotten.FILE, ".lock"):
            continue
        content = path.read_bytes()
        if path.suffix == ".gz":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError):
                continue
        if any(name in content for name in wanted):
            yield places.name_of(path)


def describe(done: Forgotten) -> list[str]:
    """For people."""
    lines_ = [
        f"{done.kind} {done.digest[:16]} is forgotten, and stays so: ROOT/{forgotten.FILE}",
        f"  data set: {done.data} records and {done.pictures} pictures; ROOT: {done.features} features, "
        f"{done.examples} Examples",
        f"  {len(done.files)} files that told of it were cleaned",
    ]
    for one in done.models:
        became = ", ".join([f"version {one.version}", *one.labels]) if one.version else "not pushed"
        lines_.append(f"  the model of run {one.run} {one.part} ({became}); its weights are what they were: train anew")
    for path in done.left:
        lines_.append(f"  still has it: {path}")
    return lines_
