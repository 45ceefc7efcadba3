"""CaptionExampleGen's executor: lines to records, records to Examples, on Beam.

Pictures meet by their digest, not by their path: the same file under two names is one Example with the captions of
both. Only digests and captions are shuffled; the pixels are read where their Example is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from memefly import images, text, textfile
from memefly.datasets import records
from memefly.datasets.records import quarantined
from memefly.errors import PictureError, QuarantineError

QUARANTINE = "quarantine.jsonl"
SUMMARY = "summary.json"
_BAD, _TEST = "bad", "test"


class Identify(beam.DoFn):
    """Line to (image_id, record), or to the quarantine."""

    def __init__(self, data: str, max_pixels: int):
        self._data, self._max_pixels = data, max_pixels

    def process(self, line: records.Line):
        source = f"{records.CAPTIONS_FILE}:{line.number}"
        try:
            record = records.parse(line)
            if record.split == "test":  # kept for the day of publication; nothing here reads it
                yield beam.pvalue.TaggedOutput(_TEST, line.number)
                return
            content = images.read_file(Path(self._data) / record.image, self._max_pixels, name=record.image)
        except (records.RecordError, PictureError) as error:
            yield beam.pvalue.TaggedOutput(_BAD, quarantined(source, line.number, error.reason, str(error)))
            return
        for caption in record.dropped:
            entry = quarantined(source, line.number, "no_words", f"caption {caption!r} has no word in it", "caption")
            yield beam.pvalue.TaggedOutput(_BAD, entry)
        yield hashlib.sha256(content).hexdigest(), record


class MakeExamples(beam.DoFn):
    """All records of one picture to an Example a split, or to the quarantine."""

    def __init__(self, data: str, shares: dict[str, float], max_pixels: int):
        self._data, self._shares, self._max_pixels = data, shares, max_pixels

    def process(self, element: tuple[str, Iterable[records.Record]]):
        image_id, group = element[0], sorted(element[1], key=lambda r: r.line)
        first = group[0]
        try:
            picture = images.read(Path(self._data) / first.image, self._max_pixels)
        except PictureError as error:
            for record in group:
                entry = quarantined(record.image, record.line, error.reason, f"{record.image}: {error}")
                yield beam.pvalue.TaggedOutput(_BAD, entry)
            return
        # A record that names no split goes where the picture already is, else where its hash says.
        home = next((r.split for r in group if r.split), None) or records.split_of(image_id, self._shares)
        sides: dict[str, dict[str, None]] = {}
        owner: dict[tuple[str, ...], str] = {}
        for record in group:
            split = record.split or home
            kept = 0
            for caption in record.captions:
                words = tuple(text.tokenize(caption))
                if owner.setdefault(words, split) == split:
                    sides.setdefault(split, {})[caption] = None
                    kept += 1
                else:
                    detail = f"caption {caption!r} of the same picture is in {owner[words]} already"
                    entry = quarantined(record.image, record.line, "split_conflict", detail, "caption")
                    yield beam.pvalue.TaggedOutput(_BAD, entry)
            if not kept:
                detail = f"every caption of {record.image} is on another side already"
                yield beam.pvalue.TaggedOutput(_BAD, quarantined(record.image, record.line, "split_conflict", detail))
        for split, captions in sides.items():
            yield split, example(image_id, picture.data, list(captions), first.group, first.image)


def example(image_id: str, image: bytes, captions: list[str], group: str, source: str) -> bytes:
    """A serialized Example, as `memefly/schemas/captions.pbtxt` describes it."""

    def feature(*values: bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    features = {
        "image_id": feature(image_id.encode()),
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
        lines = list(records.read_lines(data))

        folder = Path(quarantine.uri)
        folder.mkdir(parents=True, exist_ok=True)
        with self._make_beam_pipeline() as pipeline:
            identified = (
                pipeline
                | "Lines" >> beam.Create(lines)
                | "Spread" >> beam.Reshuffle()
                | "Identify"
                >> beam.ParDo(Identify(data, exec_properties["max_pixels"])).with_outputs(_BAD, _TEST, main="good")
            )
            made = (
                identified.good
                | "Meet" >> beam.GroupByKey()
                | "MakeExamples"
                >> beam.ParDo(MakeExamples(data, shares, exec_properties["max_pixels"])).with_outputs(_BAD, main="good")
            )
            for split in records.SPLITS:
                (
                    made.good
                    | f"Only[{split}]" >> beam.Filter(lambda element, wanted=split: element[0] == wanted)
                    | f"Serialized[{split}]" >> beam.Values()
                    | f"Write[{split}]"
                    >> beam.io.WriteToTFRecord(
                        str(Path(examples.uri) / f"Split-{split}" / "data_tfrecord"), file_name_suffix=".gz"
                    )
                )
                (
                    made.good
                    | f"Of[{split}]" >> beam.Filter(lambda element, wanted=split: element[0] == wanted)
                    | f"Captions[{split}]" >> beam.Map(_count_captions)
                    | f"Total[{split}]" >> beam.CombineGlobally(_AddPairs())
                    | f"Tell[{split}]" >> beam.Map(json.dumps)
                    | f"WriteCount[{split}]"
                    >> beam.io.WriteToText(str(folder / f"count-{split}"), shard_name_template="")
                )
            (
                (identified[_BAD], made[_BAD])
                | "AllBad" >> beam.Flatten()
                | "BadToJson" >> beam.Map(textfile.to_json)
                | "WriteBad" >> beam.io.WriteToText(str(folder / QUARANTINE), shard_name_template="")
            )
            (
                identified[_TEST]
                | "CountTest" >> beam.combiners.Count.Globally()
                | "WriteTest" >> beam.io.WriteToText(str(folder / "count-test"), shard_name_template="")
            )
        self._finish(folder, len(lines), exec_properties["max_quarantined"])
        examples.split_names = artifact_utils.encode_split_names(list(records.SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)

    def _finish(self, folder: Path, lines: int, allowed: float) -> None:
        """Counts into `summary.json`; the quarantine in line order."""
        entries = sorted(_json_lines(folder / QUARANTINE), key=lambda e: (e["line"], e["what"], e["detail"]))
        (folder / QUARANTINE).write_text("".join(textfile.to_json(entry) + "\n" for entry in entries), encoding="utf-8")
        sides = {split: json.loads((folder / f"count-{split}").read_text()) for split in records.SPLITS}
        bad = [entry for entry in entries if entry["what"] == "record"]
        summary = {
            "images": sum(images for images, _ in sides.values()),
            "captions": sum(captions for _, captions in sides.values()),
            "quarantined": len(bad),
            "quarantined_captions": len(entries) - len(bad),
            "left_for_test": int((folder / "count-test").read_text()),
            "splits": {split: {"images": images, "captions": captions} for split, (images, captions) in sides.items()},
        }
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        if len(bad) > allowed * lines:
            raise QuarantineError(bad, lines, allowed)


def _count_captions(element: tuple[str, bytes]) -> tuple[int, int]:
    captions = tf.train.Example.FromString(element[1]).features.feature["captions"].bytes_list.value
    return 1, len(captions)


class _AddPairs(beam.CombineFn):
    def create_accumulator(self):
        return 0, 0

    def add_input(self, accumulator, element):
        return accumulator[0] + element[0], accumulator[1] + element[1]

    def merge_accumulators(self, accumulators):
        return tuple(map(sum, zip(*accumulators)))

    def extract_output(self, accumulator):
        return list(accumulator)


def _json_lines(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
