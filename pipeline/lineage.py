"""Tells W&B what a run's parts were: a run of W&B's for each, tables to look at, and what was made of what.

    >>> lineage.tell("process-data", config, data, home, summary, places)

| artifact     | type       | made by      | what it holds                                                        |
| ------------ | ---------- | ------------ | -------------------------------------------------------------------- |
| `raw-data`   | raw-data   | log-raw-data | a reference: lines and pictures as they were brought                 |
| `dataset`    | dataset    | process-data | a reference: the Examples, cleaned and split                         |
| `features`   | features   | process-data | a reference: what the encoder makes of their pictures                |
| `vocabulary` | vocabulary | process-data | the words                                                            |
| `captioner`  | model      | train        | the SavedModel (`tracking.models`: its digest alone)                 |
| `metrics`    | evaluation | evaluate     | scores, intervals, slices, and what each rule of the gate came to    |
| `report`     | report     | evaluate     | the run's report                                                     |

Each has the digest of its content in its metadata, 16 digits of it as an alias, and `run-<run_id>`; a model that was
pushed `version-<version>` and, the newest of them, `blessed`; one with a label of TensorFlow Serving that label.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx.utils import path_utils

from components.caption_example_gen import executor as example_gen
from components.image_features import artifact
from components.places import Places
from memefly import images, storage, textfile, tracking
from memefly.datasets import forgotten
from memefly.datasets import records as lines
from memefly.datasets.examples import read, strings
from memefly.datasets.splits import SPLITS
from memefly.errors import MemeflyError, first_line
from memefly.exported.manifest import read_manifest
from memefly.operations import records
from memefly.report import gallery, report
from memefly.safety import Safety
from memefly.spelling import Spelling
from memefly.storage import Place
from memefly.text import UNKNOWN_ID, Vocabulary
from memefly.tracking import manifest, sync
from memefly.tracking.manifest import Artifact, Entry, Link
from pipeline.config import PipelineConfig
from pipeline.names import STORE
from pipeline.summary import RunSummary

log = logging.getLogger("memefly.runner")

METRICS = "metrics.json"
_WITHHELD = "(withheld: it is blocked)"


def tell(job: str, config: PipelineConfig, data: str, home: Path, summary: RunSummary, places: Places) -> None:
    """Of a part that has run. What goes wrong with it is told, and costs the run nothing."""
    try:
        _Teller(config, storage.at(data), home, summary, places).tell(job)
    except Exception as error:
        log.warning("the lineage of %s is not told to W&B: %s: %s", job, type(error).__name__, first_line(error))


class _Teller:
    def __init__(self, config: PipelineConfig, data: Place, home: Path, summary: RunSummary, places: Places):
        self._config, self._data, self._home, self._summary, self._places = config, data, home, summary, places
        self._nodes = records.read(home, summary.run_id)
        self._counted = json.loads((self._folder("CaptionExampleGen", "quarantine") / example_gen.SUMMARY).read_text())

    def tell(self, job: str) -> None:
        uses, makes, links = getattr(self, f"_{job.replace('-', '_')}")()
        if job not in ("train", "evaluate"):  # of which the components have told
            self._table(job)
        run = tracking.opened(self._home, job)
        if not run:  # W&B is turned off
            return
        names = f"run-{self._summary.run_id}"
        makes = [Artifact(**{**vars(made), "aliases": (*made.aliases, names)}) for made in makes]
        config = {"run": self._summary.run_id}
        entry = Entry(job, tuple(uses), tuple(makes), tuple(links), self._summary.run_id, run, config)
        manifest.add(self._home, entry)
        sync.say(self._home)

    # --- what was made of what ------------------------------------------------------------------------------------

    def _log_raw_data(self) -> tuple[list, list, list]:
        counted = ("images", "captions", "quarantined", "quarantined_captions", "left_for_test", "held_out")
        told = {name: self._counted[name] for name in counted} | {"location": str(self._data.resolve())}
        return [], [self._refers("raw-data", self._counted["digests"]["raw"], told)], []

    def _process_data(self) -> tuple[list, list, list]:
        cleaning = {row["step"]: [row["changed"], row["dropped"]] for row in self._counted["cleaning"]}
        told = {"splits": self._counted["splits"], "cleaning": cleaning, "location": self._uri("CaptionExampleGen")}
        dataset = self._refers("dataset", self._counted["digests"]["examples"], told)
        encoder = {**self._summary.encoder, "location": self._uri("ImageFeatures")}
        features = self._refers("features", self._of_features(), encoder)
        words = self._vocabulary_file()
        vocabulary = Artifact(
            "vocabulary", "vocabulary", hashlib.sha256(words.read_bytes()).hexdigest(),
            metadata=self._config.text.model_dump(mode="json"), **self._held({words.name: words}),
        )  # fmt: skip
        return [self._refers("raw-data", self._counted["digests"]["raw"])], [dataset, features, vocabulary], []

    def _train(self) -> tuple[list, list, list]:
        folder = self._model_folder()
        said = read_manifest(folder)
        told = {"val": said["metrics"]["val"], "network": said["config"]["network"], "git": said["git"]}
        told |= {"training": said["config"]["training"], "encoder": said["encoder"]}
        held: dict[str, Any] = {}
        if self._config.tracking.models:
            inside = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            held = self._held({path.relative_to(folder).as_posix(): path for path in inside})
        uses = [self._refers("dataset", self._counted["digests"]["examples"])]
        uses += [self._refers("features", self._of_features())]
        uses += [Artifact("vocabulary", "vocabulary", said["vocabulary"]["sha256"])]
        return uses, [Artifact("captioner", "model", said["digest"], metadata=told, **held)], []

    def _evaluate(self) -> tuple[list, list, list]:
        run, summary = self._home / "runs" / self._summary.run_id, self._summary
        content = {
            "metrics": summary.metrics, "intervals": summary.intervals, "changes": summary.changes,
            "slices": summary.slices, "decisions": summary.decisions, "blessed": summary.blessed,
        }  # fmt: skip
        (run / METRICS).write_text(textfile.to_json(content, indent=2) + "\n", encoding="utf-8")
        model = Artifact("captioner", "model", read_manifest(self._model_folder())["digest"])
        plain = {name: value for name, value in summary.metrics.items() if isinstance(value, (int, float))}
        makes = [
            Artifact(
                name, kind, hashlib.sha256((run / file).read_bytes()).hexdigest(),
                metadata={"model": model.digest, "blessed": summary.blessed, **plain},
                files={file: self._under_root(run / file)},
            )
            for name, kind, file in (("metrics", "evaluation", METRICS), ("report", "report", report.REPORT))
        ]  # fmt: skip
        links = [Link(model, (f"version-{Path(summary.pushed).name}", "blessed"))] if summary.pushed else []
        return [model, self._refers("dataset", self._counted["digests"]["examples"])], makes, links

    def _refers(self, name: str, digest: str, metadata: dict | None = None) -> Artifact:
        """By reference: what is there, wherever it is, has this digest."""
        uri = {name: f"memefly://{name}/{digest}"} if metadata is not None else {}
        return Artifact(name, name, digest, metadata=metadata or {}, references=uri)

    def _of_features(self) -> str:
        made_of = [self._summary.encoder["digest"], self._counted["digests"]["examples"]]
        return hashlib.sha256("\n".join(made_of).encode()).hexdigest()

    def _uri(self, node: str) -> str:
        """Of its largest output, with the name that it has in ML Metadata: a ROOT may be moved."""
        return self._nodes[node].outputs[{"CaptionExampleGen": "examples", "ImageFeatures": "features"}[node]][0]

    def _folder(self, node: str, key: str) -> Place:
        return storage.at(self._places.absolute(self._nodes[node].outputs[key][0]))

    def _model_folder(self) -> Place:
        return storage.at(path_utils.serving_model_dir(str(self._folder("Trainer", "model"))))

    def _vocabulary_file(self) -> Place:
        return self._folder("Transform", "transform_graph") / "transform_fn" / "assets" / "captions"

    def _held(self, files: dict[str, Place]) -> dict[str, Any]:
        """For an Artifact, by their names in it: files under ROOT, which are sent; what is elsewhere by reference."""
        inside, elsewhere = {}, {}
        for name, path in files.items():
            if isinstance(path, storage.Remote):
                elsewhere[name] = str(path)
            elif path.resolve().is_relative_to(self._home):
                inside[name] = self._under_root(path)
            else:
                elsewhere[name] = path.resolve().as_uri()
        return {"files": inside, "references": elsewhere}

    def _under_root(self, path: Path) -> str:
        return path.resolve().relative_to(self._home).as_posix()

    # --- what there is to look at ---------------------------------------------------------------------------------

    def _table(self, job: str) -> None:
        """A run of W&B's with the part's tables."""
        config = {"run": self._summary.run_id, "git": self._summary.git, "encoder": self._summary.encoder}
        with tracking.Run(self._home, job_type=job, config=config) as run:
            if job == "log-raw-data":
                run.log_table(
                    "raw/pictures", ["line", "source", "picture", "captions", "group", "wrong"], self._raw_rows()
                )
                counted = {k: v for k, v in self._counted.items() if isinstance(v, int)}
                run.summarize({f"raw/{name}": value for name, value in counted.items()})
            else:
                columns = ["split", "source", "caption", "tokens", "ids", "unknown"]
                run.log_table("processed/captions", columns, self._caption_rows())
                run.log_table("processed/cleaning", ["step", "changed", "dropped", "before", "after"], self._cleaned())
                run.log_table(
                    "processed/projection", ["picture", "source", "caption", "group", "x", "y"], self._placed()
                )

    def _raw_rows(self) -> Iterator[list[Any]]:
        """As they were brought, so many as are asked for, the same ones each time."""
        chosen = heapq.nsmallest(
            self._config.tracking.pictures, lines.read_lines(self._data),
            key=lambda line: (hashlib.sha256(line.content.encode("utf-8", "surrogatepass")).digest(), line.number),
        )  # fmt: skip
        safety, gone = Safety(self._config.safety), forgotten.read(self._home)
        for line in sorted(chosen, key=lambda line: line.number):
            try:
                record = lines.parse(line)
                content = images.read_file(self._data / record.image, self._config.data.max_pixels, name=record.image)
                if hashlib.sha256(content).hexdigest() in gone["picture"]:
                    yield [line.number, "", None, "", "", forgotten.FORGOTTEN]
                    continue
                picture = gallery.thumbnail(images.canonical(content, self._config.data.max_pixels).data)
            except MemeflyError as error:
                yield [line.number, "", None, "", "", first_line(error)]
                continue
            kept = [one for one in record.captions if forgotten.digest_of(one) not in gone["caption"]]
            said = [_WITHHELD if self._config.safety.is_on and safety.judge(one) else one for one in kept]
            yield [line.number, record.image, picture, "\n".join(said), record.group, ""]

    def _caption_rows(self) -> Iterator[list[Any]]:
        """As the network learns them."""
        vocabulary = Vocabulary.load(self._vocabulary_file())
        spelling, left = Spelling.of_text(self._config.text.model_dump()), self._config.tracking.captions
        for split in SPLITS[:2]:  # eval is not even transformed
            for feature in read(self._folder("CaptionExampleGen", "examples") / f"Split-{split}"):
                (source,) = strings(feature["source"])
                for caption in strings(feature["captions"]):
                    if not left:
                        return
                    left -= 1
                    ids = vocabulary.encode(caption, self._config.text.max_length, spelling)
                    words = " ".join(vocabulary.words[one] for one in ids)
                    yield [split, source, caption, words, " ".join(map(str, ids)), ids.count(UNKNOWN_ID)]

    def _cleaned(self) -> Iterator[list[Any]]:
        for row in self._counted["cleaning"]:
            for before, after, _ in row["examples"] or [("", "", "")]:
                yield [row["step"], row["changed"], row["dropped"], before, after]

    def _placed(self) -> list[list[Any]]:
        """Pictures of train on a plane, as their features lie."""
        pictures: dict[str, Any] = {}
        for feature in read(self._folder("CaptionExampleGen", "examples") / f"Split-{SPLITS[0]}"):
            if len(pictures) == self._config.tracking.pictures:
                break
            pictures[strings(feature["image_id"])[0]] = feature
        store = artifact.read(str(self._folder("ImageFeatures", "features"))).store(self._places.absolute(STORE))
        looked_up = ((image_id, store.get(image_id)) for image_id in pictures)
        found = [(image_id, features) for image_id, features in looked_up if features is not None]
        if len(found) < 2:
            return []
        places = gallery.project([features for _, features in found])
        rows = []
        for (image_id, _), (x, y) in zip(found, places.tolist()):
            of = pictures[image_id]
            picture = gallery.thumbnail(of["image"].bytes_list.value[0])
            said = [strings(of[name])[0] for name in ("source", "captions", "group")]
            rows.append([picture, *said, x, y])
        return rows
