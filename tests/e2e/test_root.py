"""A ROOT that somebody has moved, or taken something out of, between two runs."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from whole_run import NAME

from components import places
from memefly import layout
from memefly.errors import FeaturesError, UsageError
from memefly.serving import promotion
from pipeline import root as known_root

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def run(memes, small_encoder):
    from pipeline import config, local_runner

    def run(root: Path, *overrides: str, data: Path = memes, **part):
        configuration = config.load("tiny", [f"encoder.weights={small_encoder}", *overrides])
        return local_runner.run(configuration, str(data), str(root), **part)

    return run


@pytest.fixture(scope="module")
def finished(whole, tmp_path_factory) -> Path:
    root = whole.copy(tmp_path_factory.mktemp("first") / "root")
    promotion.promote(root, "latest", "stable")
    return root


@pytest.fixture
def root(finished, tmp_path) -> Path:
    """The finished ROOT, elsewhere."""
    return Path(shutil.copytree(finished, tmp_path / "somewhere" / "else" / "root", symlinks=True))


def states(summary) -> dict[str, str]:
    return {c["name"]: c["state"] for c in summary.components if c["name"] != "LiveModel"}


def ran(summary) -> list[str]:
    return [name for name, state in states(summary).items() if state == "ran"]


def pushed(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "serving" / "captioner").iterdir())


def artifact(root: Path, kind: str) -> Path:
    (folder,) = (root / "artifacts").glob(kind + "/*")
    return folder


def test_a_root_elsewhere_goes_on(finished, root, run, memes, tmp_path):
    """Moved, reached through a link, its data set moved too: everything comes from the cache, under its new path."""
    hidden = finished.rename(finished.with_name("away"))  # what still pointed there would fail
    try:
        link, moved = tmp_path / "link", tmp_path / "pictures"
        link.symlink_to(root)
        shutil.copytree(memes, moved)
        again = run(link, data=moved)
        assert ran(again) == [] and again.features == {"computed": 0, "reused": 60}
        assert again.pushed == str(root / "serving" / "captioner" / pushed(root)[0])
        assert Path(again.pushed).is_dir()
        assert promotion.labels(root) == {"stable": int(pushed(root)[0])}
        assert (root / "runs" / "latest" / "report.html").is_file()

        part = run(root, "training.max_steps=3", from_node="Trainer", to_node="Evaluator")
        assert ran(part) == ["Trainer", "Evaluator"]
        assert part.baseline, "the model that was blessed elsewhere is the baseline here"
    finally:
        hidden.rename(finished)


def test_ml_metadata_knows_no_path_of_this_machine(root, memes):
    with sqlite3.connect(root / "metadata.sqlite") as database:
        uris = [uri for (uri,) in database.execute("SELECT uri FROM Artifact")]
        strings = [
            text
            for table in ("ArtifactProperty", "ExecutionProperty")
            for (text,) in database.execute(f"SELECT string_value FROM {table} WHERE string_value IS NOT NULL")
        ]
    assert len(uris) > 10 and all(uri.startswith("root://artifacts/") for uri in uris)
    home = json.loads((root / "runs" / "latest" / "summary.json").read_text())["pushed"].partition("/serving/")[0]
    assert strings and not [text for text in strings if home in text or str(root) in text or str(memes) in text]


def test_a_root_of_an_older_memefly_goes_on(root, run):
    """ML Metadata had absolute paths in it, of where the ROOT was then."""
    with sqlite3.connect(root / "metadata.sqlite") as database:
        database.execute("UPDATE Artifact SET uri = replace(uri, 'root://', '/gone/since/')")
        database.execute("UPDATE ArtifactProperty SET string_value = replace(string_value, 'root://', '/gone/since/')")
    after = run(root, "training.max_steps=3", from_node="Trainer", to_node="Evaluator")
    assert after.baseline and ran(after) == ["Trainer", "Evaluator"]


def test_a_version_that_is_gone_is_pushed_again(root, run, caplog):
    (version,) = (root / "serving" / "captioner").iterdir()
    shutil.rmtree(version)
    (root / "serving" / "captioner" / "99999999999").mkdir()  # nobody's, and a number
    again = run(root)
    assert ran(again) == ["VersionPusher", "Tracking"]
    assert Path(again.pushed, "saved_model.pb").is_file() and again.pushed.endswith("/100000000000")
    assert f"{version} is gone" in caplog.text
    assert "version 99999999999 in" in caplog.text and not list((root / "serving/captioner/99999999999").iterdir())
    assert promotion.promote(root, "latest", "stable").version == 100000000000


def test_a_version_that_is_damaged_is_pushed_again(root, run):
    (version,) = (root / "serving" / "captioner").iterdir()
    (version / "saved_model.pb").write_bytes(b"cut")
    again = run(root)
    assert again.pushed and again.pushed != str(version) and (version / "saved_model.pb").read_bytes() == b"cut"


def test_a_blessed_model_that_is_not_whole_is_no_baseline(root, run, caplog):
    model = artifact(root, "Trainer/model")
    (weights,) = model.rglob("variables.data*")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 255
    weights.write_bytes(bytes(content))
    after = run(root, "training.max_steps=3", to_node="Evaluator")
    assert after.baseline is None and after.metrics
    assert str(model) in caplog.text and "is no baseline" in caplog.text
    assert "judges by what is asked of a first model" in caplog.text
    # And what is not changed is made anew, since it is not there.
    weights.unlink()
    assert "Trainer" in ran(run(root, to_node="Trainer"))


def test_the_newest_whole_model_is_the_baseline(root, run, caplog):
    second = run(root, "training.max_steps=30", to_node="Evaluator")
    assert second.blessed and second.baseline
    unfit = "gate.floors.bleu4=0.9"  # what is trained next is not blessed
    third = run(root, "training.max_steps=3", unfit, to_node="Evaluator")
    assert third.baseline["bleu4"] == pytest.approx(second.metrics["bleu4"])
    models = sorted((root / "artifacts" / "Trainer" / "model").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(models[1])
    fourth = run(root, "training.max_steps=4", unfit, to_node="Evaluator")
    assert fourth.baseline["bleu4"] == pytest.approx(second.baseline["bleu4"])
    assert f"measures against an older blessed model, {models[0]}" in caplog.text


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("CaptionExampleGen/examples", "CaptionExampleGen"),
        ("Transform/transform_graph", "Transform"),
    ],
)
def test_a_component_whose_files_are_gone_is_not_cached(root, run, lost, again, caplog):
    folder = artifact(root, lost)
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.unlink()  # its folder stays
    with pytest.raises(UsageError, match=f"{again}.* are gone from run .*: run from {again}"):
        run(root, "training.max_steps=3", from_node=("Trainer" if again == "Transform" else "Transform"))
    after = run(root, to_node="Transform")
    assert states(after)[again] == "ran" and f"{largest.relative_to(folder)} is gone" in caplog.text
    assert states(run(root, to_node="Transform"))[again] == "cached"


def test_features_that_a_training_lacks_are_made_anew_by_the_next_run(root, run):
    """Also where mirrored ones, or those of an earlier data set, are gone, which nobody looks for before a run."""
    (told,) = (root / "artifacts").glob("ImageFeatures/features/*/features.json")
    for number, features in enumerate(sorted((root / "features").rglob("*.f16"))):
        features.write_bytes(features.read_bytes()[: 1000 if number % 2 else 10])
    with pytest.raises(FeaturesError, match="run the whole pipeline again: ImageFeatures encodes what is missing"):
        run(root, "training.max_steps=3", to_node="Trainer")
    assert not told.exists()
    again = run(root, "training.max_steps=3", to_node="Trainer")
    assert ran(again) == ["ImageFeatures", "Transform", "Trainer"] and again.features["computed"] == 60


def test_files_that_are_back_count_again(root, run):
    folder = artifact(root, "Trainer/model")
    away = folder.rename(root / "away")
    run(root, to_node="Transform")
    away.rename(folder)
    assert run(root, "training.max_steps=3", to_node="Evaluator").baseline


def test_without_ml_metadata_it_starts_afresh(root, run, caplog):
    (root / "metadata.sqlite").unlink()
    before = artifact(root, "Trainer/model").name
    after = run(root)
    assert "Trainer" in ran(after) and after.features == {"computed": 0, "reused": 60}
    assert after.pushed and after.baseline is None
    assert (root / "artifacts.unknown" / "Trainer" / "model" / before).is_dir(), "nothing is lost"
    assert "starts afresh" in caplog.text
    assert ran(run(root)) == []


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, "other"])
def test_garbage_in_ml_metadata_is_named(root, run, content):
    path = root / "metadata.sqlite"
    if content == "other":
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE shopping (list TEXT)")
    else:
        path.write_bytes(content)
    before, runs = path.read_bytes(), sorted((root / "runs").iterdir())
    with pytest.raises(UsageError, match=r"metadata\.sqlite is damaged or no ML Metadata database .*move it away"):
        run(root)
    assert path.read_bytes() == before and sorted((root / "runs").iterdir()) == runs


def test_what_a_killed_run_was_writing_is_taken_back(tmp_path):
    path = tmp_path / "metadata.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE MLMDEnv (schema_version INTEGER)")
        database.executemany("INSERT INTO MLMDEnv VALUES (?)", [(i,) for i in range(5000)])
    database.close()
    killed = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for said in ('PRAGMA cache_size = 1', 'BEGIN', 'UPDATE MLMDEnv SET schema_version = 7'):\n"
        "    database.execute(said)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    assert path.with_name("metadata.sqlite-journal").stat().st_size
    known_root.check(tmp_path)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT max(schema_version) FROM MLMDEnv").fetchone() == (4999,)


def test_places_are_names_of_folders(tmp_path):
    known = places.Places({"root": tmp_path, "data": "/pictures"})
    assert known.absolute("root://artifacts/a/1") == f"{tmp_path}/artifacts/a/1"
    assert known.absolute("root://") == str(tmp_path) and known.absolute("data://") == "/pictures"
    assert known.relative(f"{tmp_path}/artifacts/a/1") == "root://artifacts/a/1"
    assert known.relative("/pictures/a.jpg") == "data://a.jpg"
    for other in ("/pictures2/a.jpg", "gs://bucket/root", "root", ""):
        assert known.absolute(other) == other and known.relative(other) == other
    with known.open():
        places.PlacesFilesystem.makedirs("root://a/b")
        with places.PlacesFilesystem.open("root://a/b/c", "w") as file:
            file.write("content")
        assert [row[0] for row in places.PlacesFilesystem.walk("root://a")] == ["root://a", "root://a/b"]
        assert places.PlacesFilesystem.glob("root://a/*/*") == ["root://a/b/c"]
    with pytest.raises(ValueError, match="no such place is open"):
        places.PlacesFilesystem.exists("root://a")
    assert json.loads(places.resolve('{"a": "data://"}')) == {"a": "data://"}, "known only while it is open"


def test_a_part_of_a_root_may_lie_elsewhere(tmp_path):
    elsewhere = {"artifacts": "gs://bucket/team/artifacts", "versions": "/models/captioner"}
    layout.settle(tmp_path, elsewhere)
    known = places.Places.of_root(tmp_path, data="gs://bucket/pictures")
    for uri, path in (
        ("root://artifacts/Trainer/model/7", "gs://bucket/team/artifacts/Trainer/model/7"),
        ("root://artifacts", "gs://bucket/team/artifacts"),
        ("root://artifacts.unknown/7", f"{tmp_path}/artifacts.unknown/7"),
        ("root://features", f"{tmp_path}/features"),
        ("root://serving/captioner/17", "/models/captioner/17"),
        ("root://serving/models.config", f"{tmp_path}/serving/models.config"),
        ("root://", str(tmp_path)),
        ("data://images/a.jpg", "gs://bucket/pictures/images/a.jpg"),
    ):
        assert known.absolute(uri) == path and known.relative(path) == uri


def test_artifacts_of_another_root_are_left_alone(tmp_path):
    theirs = tmp_path / "artifacts" / "Trainer" / "model" / "7"
    theirs.mkdir(parents=True)
    root = tmp_path / "root"
    layout.settle(root, {"artifacts": str(tmp_path / "artifacts")})
    with pytest.raises(UsageError, match=r"has artifacts already.*they are another's"):
        known_root.check(root)
    assert theirs.is_dir()


# --- as folders are called, and as they may be ------------------------------------------------------------------------


def test_roots_of_any_name(whole):
    """It ran in one whose name has all that a name may have, over data of such a name, and was moved since."""
    said = json.loads((whole.root / "runs" / "latest" / "summary.json").read_text())
    assert f"/{NAME}/" in said["pushed"] and said["metrics"]
    assert (whole.root / "runs" / "latest" / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a*", r"'\*' would be taken for a pattern"),
        ("[1]", "pattern"),
        ("a?", "pattern"),
        ("a\nb", "pattern"),
        ("\udcff", "UTF-8"),
    ],
)
def test_roots_that_cannot_be_are_told_and_left_alone(run, tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        run(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_root_that_is_a_file(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="a folder is wanted there"):
            run(root)
    (tmp_path / "root" / "serving").mkdir(parents=True)
    (tmp_path / "root" / "serving" / "captioner").write_text("mine")
    with pytest.raises(UsageError, match=r"serving/captioner is a file"):
        run(tmp_path / "root")
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "root" / "runs").exists()
