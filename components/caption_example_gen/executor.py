"""CaptionExampleGen's executor: lines to records, records to Examples, on Beam.

Pictures meet by their digest, not by their path: the same file under two names is one Example with the captions of
both. Only digests and captions are shuffled; the pixels are read where their Example is written.

Captions are cleaned on the way (`memefly.cleaning`): each goes through the steps once, where its line is read; what
compares captions of a picture waits until all of them have met, and what compares pictures until all have been seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import apache_beam as beam
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.caption_example_gen.tally import Shown, Tally
from memefly import images, storage, text, textfile
from memefly.cleaning import Cleaning
from memefly.cleaning.captions import near_duplicates
from memefly.cleaning.config import Duplicates, NearDuplicates, Pictures
from memefly.cleaning.pictures import HASH_SIZE, Seen, Verdict, honest
from memefly.datasets import forgotten, records
from memefly.datasets.records import quarantined
from memefly.datasets.splits import HELD_OUT, SPLITS, TEST, Splitting, split_of
from memefly.errors import DataError, PictureError, QuarantineError
from memefly.storage import Place

QUARANTINE = "quarantine.jsonl"
SUMMARY, _TOLD = "summary.json", "told.jsonl"
_BAD, _LEFT, _CHANGES, _COUNTS = "bad", "left", "changes", "counts"
_RAW = "raw"  # among the splits, for what the lines and their pictures hold
CLEANED = "cleaned"  # why a record is in the quarantine of which cleaning left nothing
_DECODED_AT_ONCE = os.cpu_count() or 1
_BATCH = 8 * _DECODED_AT_ONCE  # lines
_JUDGED_FIRST = ("eval", "val", "train")


class Found(NamedTuple):
    """A record whose picture can be used: `plain` as it is, with its size, and the hash of how it looks, if that is
    wanted."""

    record: records.Record
    plain: bool
    looks: int | None
    size: tuple[int, int]


class Identify(beam.DoFn):
    """Lines to (image_id, `Found`), or to the quarantine; what cleaning did to its captions to the tally.

    Pictures of a batch of lines are decoded side by side, in as many processes as there are processors; what comes out
    is in the order of the lines.
    """

    def __init__(
        self,
        data: str,
        splitting: Splitting,
        max_pixels: int,
        cleaning: Cleaning,
        forgotten_: Mapping[str, frozenset[str]],
    ):
        self._data, self._splitting, self._max_pixels, self._cleaning = data, splitting, max_pixels, cleaning
        self._forgotten = forgotten_
        self._hash_size = HASH_SIZE if cleaning.step(Pictures) else 0

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(_DECODED_AT_ONCE)

    def teardown(self) -> None:
        self._pool.shutdown()

    def process(self, lines: Sequence[records.Line]):
        for line, looked_at in zip(lines, self._pool.map(self._look_at, lines)):
            yield from self._judge(line, looked_at)

    def _look_at(self, line: records.Line) -> tuple[records.Record, images.Picture | None] | dict:
        """A record, its split as far as it is named, with its picture, None of one that is on no side here; or an entry
        of the quarantine."""
        source = f"{records.CAPTIONS_FILE}:{line.number}"
        try:
            record = records.parse(line)
            record = dataclasses.replace(record, split=self._splitting.named(record))
            if record.split in (TEST, HELD_OUT):
                return record, None
            content = images.read_file(storage.at(self._data) / record.image, self._max_pixels, name=record.image)
        except (records.RecordError, PictureError) as error:
            return quarantined(source, line.number, error.reason, str(error))
        try:
            picture = images.canonical(content, self._max_pixels, self._hash_size)
        except PictureError as error:
            return quarantined(record.image, record.line, error.reason, f"{record.image}: {error}")
        return record, dataclasses.replace(picture, data=b"")  # which is read again where its Example is written

    def _judge(self, line: records.Line, looked_at: tuple[records.Record, images.Picture | None] | dict):
        source = f"{records.CAPTIONS_FILE}:{line.number}"
        looks = looked_at[1].image_id if isinstance(looked_at, tuple) and looked_at[1] else ""
        yield beam.pvalue.TaggedOutput(
            _COUNTS, (_RAW, (1, 0, _number(f"{looks}\n{line.content}".encode("utf-8", "surrogatepass"))))
        )
        if isinstance(looked_at, dict):
            yield beam.pvalue.TaggedOutput(_BAD, looked_at)
            return
        record, picture = looked_at
        if record.group in self._splitting.hold_out_groups:
            yield beam.pvalue.TaggedOutput(_LEFT, ("group", record.group))
        if picture is None:
            yield beam.pvalue.TaggedOutput(_LEFT, ("side", record.split))
            return
        if picture.image_id in self._forgotten["picture"]:
            yield beam.pvalue.TaggedOutput(
                _BAD,
                quarantined(source, line.number, forgotten.FORGOTTEN, f"line {line.number}: its picture is forgotten"),
            )
            return
        for caption in record.dropped:
            entry = quarantined(source, line.number, "no_words", f"caption {caption!r} has no word in it", "caption")
            yield beam.pvalue.TaggedOutput(_BAD, entry)
        kept: dict[str, None] = {}
        for caption in record.captions:
            cleaned = self._cleaning.clean(caption)
            if self._is_forgotten(caption) or self._is_forgotten(cleaned.caption):
                detail = f"line {line.number}: a caption of it is forgotten"
                yield beam.pvalue.TaggedOutput(
                    _BAD, quarantined(source, line.number, forgotten.FORGOTTEN, detail, "caption")
                )
                continue
            shown = Shown(line.number, caption, cleaned.caption, cleaned.why)
            if not _tells(self._cleaning, cleaned.dropped):  # nor what an earlier step did to it
                shown = shown._replace(before="")
            yield from ((beam.pvalue.TaggedOutput(_CHANGES, ((step, "changed"), shown))) for step in cleaned.changed)
            if cleaned.dropped:
                yield from _dropped(self._cleaning, cleaned.dropped, source, shown)
            else:
                kept[cleaned.caption] = None
        if kept:
            record = dataclasses.replace(record, captions=tuple(kept), dropped=())
            yield picture.image_id, Found(record, picture.plain, picture.hash, (picture.width, picture.height))
        else:
            detail = f"line {line.number}: cleaning left none of its captions"
            yield beam.pvalue.TaggedOutput(_BAD, quarantined(source, line.number, CLEANED, detail))

    def _is_forgotten(self, caption: str) -> bool:
        """Whether it was to be, in whatever spelling; digests are made only where there is something to look for."""
        return bool(self._forgotten["caption"]) and forgotten.digest_of(caption) in self._forgotten["caption"]


def _tells(cleaning: Cleaning, dropped: str) -> bool:
    """Whether a caption may be shown, which the step `dropped` dropped, if any did."""
    return all(one.tells for one in cleaning if one.step == dropped)


def _dropped(cleaning: Cleaning, step: str, source: str, shown: Shown) -> Iterator[beam.pvalue.TaggedOutput]:
    """A caption that a step dropped, to the quarantine and to the tally; with its words, if `shown` has them."""
    detail = f"caption {shown.before!r}: {shown.why}" if shown.before else f"a caption: {shown.why}"
    yield beam.pvalue.TaggedOutput(_BAD, quarantined(source, shown.line, step, detail, "caption"))
    yield beam.pvalue.TaggedOutput(_CHANGES, ((step, "dropped"), shown))


def look_over(pictures: Iterable[tuple[str, Found]], shares: Mapping[str, float], distance: int) -> dict[str, Verdict]:
    """What is to be done so that no two pictures that look alike are on two sides."""
    seen: dict[str, Seen] = {}
    for image_id, found in pictures:
        splits = seen[image_id].splits if image_id in seen else frozenset()
        splits |= {found.record.split} if found.record.split else frozenset()
        seen[image_id] = Seen(found.looks or 0, splits)
    return honest(seen, distance, lambda image_id: split_of(image_id, shares))


class MakeExamples(beam.DoFn):
    """All records of one picture to an Example a split, or to the quarantine."""

    def __init__(self, data: str, shares: dict[str, float], max_pixels: int, cleaning: Cleaning):
        self._data, self._shares, self._max_pixels, self._cleaning = data, shares, max_pixels, cleaning

    def process(self, element: tuple[str, Iterable[Found]], verdicts: dict[str, Verdict] | None = None):
        image_id, found = element[0], sorted(element[1], key=lambda one: one.record.line)
        group = [one.record for one in found]
        first = group[0]
        verdict = (verdicts or {}).get(image_id)
        if verdict:
            yield from self._tell(verdict, group)
            if not verdict.split:
                return
        try:
            data = self._read(image_id, first.image, found[0].plain)
        except PictureError as error:
            for record in group:
                entry = quarantined(record.image, record.line, error.reason, f"{record.image}: {error}")
                yield beam.pvalue.TaggedOutput(_BAD, entry)
            return
        # A record that names no split goes where the picture already is, else where its hash says.
        home = next((r.split for r in group if r.split), None) or split_of(image_id, self._shares)
        home = verdict.split if verdict else home
        sides: dict[str, dict[str, int]] = {}  # captions by split, with their lines
        owner: dict[tuple[str, ...], str] = {}
        for record in group:
            split = record.split or home
            kept = 0
            for caption in record.captions:
                words = tuple(text.tokenize(caption))
                new = words not in owner
                if owner.setdefault(words, split) != split:
                    detail = f"caption {caption!r} of the same picture is in {owner[words]} already"
                    entry = quarantined(record.image, record.line, "split_conflict", detail, "caption")
                    yield beam.pvalue.TaggedOutput(_BAD, entry)
                    continue
                kept += 1
                if new or not self._cleaning.step(Duplicates):
                    sides.setdefault(split, {}).setdefault(caption, record.line)
                elif caption not in sides[split]:
                    shown = Shown(record.line, caption, "", "another has the same words")
                    yield from _dropped(self._cleaning, "duplicates", record.image, shown)
            if not kept:
                detail = f"every caption of {record.image} is on another side already"
                yield beam.pvalue.TaggedOutput(_BAD, quarantined(record.image, record.line, "split_conflict", detail))
        if step := self._cleaning.step(NearDuplicates):
            yield from self._near(step, sides, first.image)
        for split, captions in sides.items():
            made = example(image_id, data, found[0].size, list(captions), first.group, first.image)
            yield split, made
            yield beam.pvalue.TaggedOutput(_COUNTS, (split, (1, len(captions), _number(made))))

    def _read(self, image_id: str, image: str, plain: bool) -> bytes:
        """A picture again, which has been checked: raises `PictureError` where it is another one by now."""
        content = images.read_file(storage.at(self._data) / image, self._max_pixels)
        if hashlib.sha256(content).hexdigest() != image_id:
            raise PictureError("missing_picture", "it was changed while it was read")
        return content if plain else images.canonical(content, self._max_pixels).data

    def _near(self, step: NearDuplicates, sides: dict[str, dict[str, int]], image: str):
        """Takes captions that are nearly another's out of `sides`; that of the side that is judged on stays."""
        all_ = [(split, caption) for split in _JUDGED_FIRST for caption in sides.get(split, {})]
        for place, other in near_duplicates([caption for _, caption in all_], step.similarity).items():
            (split, caption), (side, like) = all_[place], all_[other]
            if len(sides[split]) == 1:  # what is left of a side; a split must not lose a picture for it
                continue
            shown = Shown(sides[split].pop(caption), caption, "", f"like {like!r} in {side}")
            yield from _dropped(self._cleaning, step.step, image, shown)

    def _tell(self, verdict: Verdict, group: list[records.Record]):
        for record in group:
            if verdict.split:
                shown = Shown(record.line, record.image, verdict.split, f"goes where {verdict.like[:12]} is")
                yield beam.pvalue.TaggedOutput(_CHANGES, (("pictures", "changed"), shown))
                continue
            detail = f"{record.image} looks like another picture ({verdict.like[:12]}) on a side that is judged on"
            yield beam.pvalue.TaggedOutput(_BAD, quarantined(record.image, record.line, CLEANED, detail))
            yield beam.pvalue.TaggedOutput(
                _CHANGES, (("pictures", "dropped"), Shown(record.line, record.image, "", ""))
            )


def example(image_id: str, image: bytes, size: tuple[int, int], captions: list[str], group: str, source: str) -> bytes:
    """A serialized Example, as `memefly/schemas/captions.pbtxt` describes it."""

    def feature(*values: bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def numbers(*values: int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    words = [text.tokenize(caption) for caption in captions]
    features = {
        "image_id": feature(image_id.encode()),
        "width": numbers(size[0]),
        "height": numbers(size[1]),
        "caption_words": numbers(*map(len, words)),
        "words": feature(*(word.encode("utf-8") for caption in words for word in caption)),
        "image": feature(image),
        "captions": feature(*(c.encode("utf-8") for c in captions)),
        "group": feature(group.encode("utf-8")),
        "source": feature(source.encode("utf-8", "replace")),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


class Executor(base_beam_executor.BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """Writes the Examples and the quarantine. Raises `QuarantineError` where too much is bad."""
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        data, shares = exec_properties["data"], json.loads(exec_properties["shares"])
        splitting = Splitting(shares, tuple(json.loads(exec_properties["hold_out_groups"])))
        max_pixels, cleaning = exec_properties["max_pixels"], Cleaning.model_validate_json(exec_properties["cleaning"])
        records.captions_file(data)  # a clear error, before Beam wraps it
        left_out = forgotten.read(exec_properties["root"])

        folder = storage.at(quarantine.uri)
        folder.mkdir(parents=True, exist_ok=True)
        with self._make_beam_pipeline() as pipeline:
            lines = (
                pipeline
                | "Data" >> beam.Create([data])
                | "Lines" >> beam.FlatMap(records.read_lines)
                | "Spread" >> beam.Reshuffle()
            )
            batches = lines | "Batches" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
            identified = batches | "Identify" >> beam.ParDo(
                Identify(data, splitting, max_pixels, cleaning, left_out)
            ).with_outputs(_BAD, _LEFT, _CHANGES, _COUNTS, main="good")
            verdicts = []
            if step := cleaning.step(Pictures):
                looked_over = (
                    identified.good
                    | "AllPictures" >> beam.combiners.ToList()
                    | "LookOver" >> beam.Map(look_over, shares, step.distance)
                )
                verdicts = [beam.pvalue.AsSingleton(looked_over)]
            made = (
                identified.good
                | "Meet" >> beam.GroupByKey()
                | "MakeExamples"
                >> beam.ParDo(MakeExamples(data, shares, max_pixels, cleaning), *verdicts).with_outputs(
                    _BAD, _CHANGES, _COUNTS, main="good"
                )
            )
            for split in SPLITS:
                (
                    made.good
                    | f"Only[{split}]" >> beam.Filter(lambda element, wanted=split: element[0] == wanted)
                    | f"Serialized[{split}]" >> beam.Values()
                    # Not compressed: pictures are by themselves, and trying to takes longer than all the rest.
                    | f"Write[{split}]" >> beam.io.WriteToTFRecord(f"{examples.uri}/Split-{split}/data_tfrecord")
                )
            # All that is told beside the Examples in one file: each write is half a dozen stages of its own.
            told = {
                "bad": (identified[_BAD], made[_BAD]) | "AllBad" >> beam.Flatten(),
                "tally": (identified[_CHANGES], made[_CHANGES])
                | "AllChanges" >> beam.Flatten()
                | "Tally" >> beam.CombinePerKey(Tally()),
                "lines": lines | "CountLines" >> beam.combiners.Count.Globally(),
                "left": identified[_LEFT] | "CountLeft" >> beam.combiners.Count.PerElement(),
                "split": (identified[_COUNTS], made[_COUNTS])
                | "AllCounts" >> beam.Flatten()
                | "CountCaptions" >> beam.CombinePerKey(_Add()),
            }
            (
                [what | f"Name[{name}]" >> beam.Map(lambda one, n=name: (n, one)) for name, what in told.items()]
                | "AllTold" >> beam.Flatten()
                | "ToJson" >> beam.Map(textfile.to_json)
                | "Tell" >> beam.io.WriteToText(str(folder / _TOLD), shard_name_template="")
            )
        self._finish(folder, cleaning, splitting.hold_out_groups, exec_properties["max_quarantined"])
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)

    def _finish(self, folder: Place, cleaning: Cleaning, held_out: Sequence[str], allowed: float) -> None:
        """Counts into `summary.json`; the quarantine in line order."""
        told: dict[str, list] = {name: [] for name in ("bad", "tally", "lines", "left", "split")}
        for name, one in _json_lines(folder / _TOLD):
            told[name].append(one)
        (folder / _TOLD).unlink()
        entries = sorted(told["bad"], key=lambda e: (e["line"], e["what"], e["detail"]))
        (folder / QUARANTINE).write_text("".join(textfile.to_json(entry) + "\n" for entry in entries), encoding="utf-8")
        sides = dict.fromkeys(SPLITS, (0, 0, 0)) | dict(told["split"])
        raw = sides.pop(_RAW, (0, 0, 0))[2]
        records_ = [entry for entry in entries if entry["what"] == "record"]
        asked_for = (CLEANED, forgotten.FORGOTTEN)
        bad = [entry for entry in records_ if entry["reason"] not in asked_for]
        (lines,), left = told["lines"], {tuple(what): n for what, n in told["left"]}
        summary = {
            "images": sum(images for images, *_ in sides.values()),
            "captions": sum(captions for _, captions, _ in sides.values()),
            "quarantined": len(records_),
            "quarantined_captions": len(entries) - len(records_),
            "left_for_test": left.get(("side", TEST), 0),
            "held_out": left.get(("side", HELD_OUT), 0),
            "cleaning": _table(cleaning, told["tally"]),
            "splits": {
                split: {"images": images, "captions": captions} for split, (images, captions, _) in sides.items()
            },
            "digests": {"raw": f"{raw:064x}", "examples": _digest({split: side[2] for split, side in sides.items()})},
        }
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if unknown := [group for group in held_out if ("group", group) not in left]:
            raise DataError(
                f"data.hold_out_groups names {', '.join(map(repr, unknown))}, which is the group of no record that can "
                "be used; expected a `group` as the data set spells it"
            )
        if len(bad) > allowed * lines:
            raise QuarantineError(bad, lines, allowed)


def _table(cleaning: Cleaning, tallies: Iterable) -> list[dict]:
    """By step, in order: what it changed and dropped, with a few examples, and why it dropped what it dropped."""
    nothing = {"number": 0, "why": {}, "examples": []}
    found = {tuple(key): tally for key, tally in tallies}
    table = []
    for step in cleaning:
        changed, dropped = (found.get((step.step, what), nothing) for what in ("changed", "dropped"))
        row = {"step": step.step, "changed": changed["number"], "dropped": dropped["number"]}
        row["examples"] = [one for one in changed["examples"] + dropped["examples"] if one[0]]
        row["why"] = {} if step.tells else dropped["why"]
        table.append(row)
    return table


def _number(content: bytes) -> int:
    """Added up, such numbers tell of a set of contents whether it is the same, in whatever order it comes."""
    return int.from_bytes(hashlib.sha256(content).digest(), "big")


def _digest(sides: dict[str, int]) -> str:
    """SHA-256 of the numbers of all splits."""
    return hashlib.sha256(json.dumps(sides, sort_keys=True).encode()).hexdigest()


class _Add(beam.CombineFn):
    """Sums of numbers beside one another; below 2 to the 256th."""

    def create_accumulator(self):
        return 0, 0, 0

    def add_input(self, accumulator, element):
        return self.merge_accumulators((accumulator, element))

    def merge_accumulators(self, accumulators):
        return tuple(sum(numbers) % (1 << 256) for numbers in zip(*accumulators))

    def extract_output(self, accumulator):
        return list(accumulator)


def _json_lines(path: Place) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
