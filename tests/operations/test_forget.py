"""What is forgotten is nowhere any more, and does not come back."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from memefly import inventory
from memefly.datasets import forgotten
from memefly.errors import UsageError
from memefly.operations import forget, sightings

pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return whole.copy(tmp_path / "root")


@pytest.fixture
def data(memes, tmp_path) -> Path:
    return Path(shutil.copytree(memes, tmp_path / "data"))


def records(data: Path) -> list[dict]:
    return [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()]


def of_split(root: Path, split: str) -> tuple[str, str, list[str]]:
    """Of the first picture: its digest, name and captions."""
    from memefly.datasets.examples import read, strings

    (folder,) = (root / "artifacts" / "CaptionExampleGen" / "examples").iterdir()
    feature = next(iter(read(folder / f"Split-{split}")))
    return strings(feature["image_id"])[0], strings(feature["source"])[0], strings(feature["captions"])


def everywhere(folder: Path, *names: str) -> list[str]:
    """Files that hold one of these, compressed or not."""
    import gzip

    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != forgotten.FILE:
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            found += [str(path.relative_to(folder)) for name in names if name.encode() in content]
    return found


def test_which_models_saw_it(root, whole):
    image_id, source, captions = of_split(root, "train")
    seen = sightings.seek(root, sightings.sought(root, source))
    (model,) = seen.models
    run = json.loads((root / "runs" / "latest" / "summary.json").read_text())
    assert (model.run, model.part, model.version) == (run["run_id"], "learned from it", int(Path(run["pushed"]).name))
    assert seen.sought.digest == image_id and seen.together == {frozenset(captions)}
    said = sightings.seek(root, sightings.sought(root, captions[0].upper() + "!!"))
    assert said.sought.kind == "caption" and source in said.sources and said.models[0].run == run["run_id"]
    assert sightings.seek(root, sightings.sought(root, "nobody ever said that")).models == []
    with pytest.raises(UsageError, match="no word in it"):
        sightings.sought(root, "!?")


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_picture_is_taken_out_of_everything(root, data, split):
    image_id, source, _captions = of_split(root, split)
    assert (image_id == hashlib.sha256((data / source).read_bytes()).hexdigest()) and everywhere(root, image_id, source)
    shutil.copy(data / source, data / "images" / "twin.png")  # the same under another name
    twin = json.dumps({"image": "images/twin.png", "captions": ["something else of it"]})
    with (data / "captions.jsonl").open("a") as file:
        file.write(twin + "\n")
    before = len(records(data))
    what = sightings.sought(root, source, data)
    done = forget.forget(root, what, data, why="she asked for it", who="ada")
    assert (done.data, done.pictures, done.features) == (2, 2, 1) and done.examples == (3 if split == "train" else 2)
    assert [model.split for model in done.models] == [split]
    assert len(records(data)) == before - 2 and not (data / source).exists()
    assert done.left == everywhere(root, image_id, source) == []
    assert not list((root / "features").rglob(image_id + "*"))
    (line,) = (root / forgotten.FILE).read_text().splitlines()
    assert {"who": "ada", "why": "she asked for it", "kind": "picture", "digest": image_id}.items() <= (
        json.loads(line).items()
    )
    if split == "eval":
        gallery = json.loads((root / "runs" / "latest" / "gallery.json").read_text())["pictures"]
        assert len(gallery) == 4 and source not in (root / "runs" / "latest" / "report.html").read_text()
        (card,) = (root / "serving" / "captioner").glob("*/README.md")
        assert card.read_text().count("| ![") == 4 and len(list((card.parent / "card").iterdir())) == 4
        staged = list((root / "wandb" / "artifacts" / "staging").iterdir())
        assert staged, "what W&B is to be sent of others is there"
    for folder in root.glob("artifacts/*/*/*"):
        assert inventory.lost(folder) == "", folder
    # Asked again, there is nothing more to do; and of another there is nothing at all.
    again = forget.forget(root, sightings.sought(root, image_id), data)
    assert (again.data, again.examples, again.files) == (0, 0, [])
    with pytest.raises(UsageError, match="nor anything under"):
        forget.forget(root, sightings.sought(root, "0" * 64), data)


def test_a_caption_is_taken_out_and_its_picture_stays(root, data):
    _image_id, source, captions = of_split(root, "eval")
    what = sightings.sought(root, captions[1].upper(), data)
    done = forget.forget(root, what, data)
    assert done.examples == 2 and done.pictures == done.features == 0 and done.left == []
    assert everywhere(root, captions[1]) == [] and everywhere(data, captions[1]) == []
    assert of_split(root, "eval")[2] == [one for one in captions if one != captions[1]]
    told = (root / forgotten.FILE).read_text()
    assert captions[1] not in told and forgotten.digest_of(captions[1]) in told
    (kept,) = [record for record in records(data) if record["image"] == source]
    assert kept["captions"] == [one for one in captions if one != captions[1]]


def test_no_later_run_brings_it_back(root, data, run_in):
    """Not though somebody brings the whole data set once more, and whatever the cache has."""
    brought = Path(shutil.copytree(data, data.with_name("brought")))
    image_id, source, _ = of_split(root, "train")
    caption = of_split(root, "eval")[2][0]
    forget.forget(root, sightings.sought(root, source, data), data)
    forget.forget(root, sightings.sought(root, caption, data), data)
    summary = run_in(root, brought, "ImageFeatures")
    states = {one["name"]: one["state"] for one in summary.components}
    assert states["CaptionExampleGen"] == "ran" and summary.features == {"computed": 0, "reused": 59}
    assert summary.data["images"] == 59 and summary.data["quarantined"] == 1
    entries = [json.loads(line) for line in (root / "runs/latest/quarantine.jsonl").read_text().splitlines()]
    assert {(one["what"], one["reason"]) for one in entries} == {("record", "forgotten"), ("caption", "forgotten")}
    assert everywhere(root / "runs" / summary.run_id, image_id, source, caption) == []
    assert everywhere(root / "wandb", source, caption) == [], "nor is it shown as it was brought"
    # What was cleaned of it is what a run on the cleaned data makes.
    again = run_in(root, data, "ImageFeatures")
    assert again.data["digests"]["examples"] == summary.data["digests"]["examples"]


def test_a_record_that_somebody_spoilt_is_named(tmp_path):
    (tmp_path / forgotten.FILE).write_text('{"kind": "picture"}\n')
    with pytest.raises(UsageError, match=r"forgotten\.jsonl, line 1.*must not come back"):
        forgotten.read(tmp_path)
