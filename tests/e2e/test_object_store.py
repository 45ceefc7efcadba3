"""The pipeline with DATA, artifacts, features and pushed versions in a store that is no folder of this machine, with
faults in it; and what commands then find there."""

import json
import os
import subprocess
import sys

import pytest
from whole_run import HOME, command

from memefly import storage
from tests import object_store

pytestmark = pytest.mark.once

PLACES = {
    "artifacts": f"gs://{object_store.BUCKET}/team/artifacts",
    "features": f"gs://{object_store.BUCKET}/team/features",
    "versions": f"gs://{object_store.BUCKET}/team/captioner",
}
MEMEFLY = [sys.executable, "-m", "pipeline.command"]
DATA = f"gs://{object_store.BUCKET}/pictures"
ELSEWHERE = [word for name, place in PLACES.items() for word in ("--set", f"storage.{name}={place}")]


@pytest.fixture(scope="module")
def store(tmp_path_factory, memes):
    with object_store.serving(tmp_path_factory.mktemp("store")) as store, pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        storage.copy_tree(memes, DATA)
        yield store


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory, small_encoder):
    """A ROOT whose run is over, and what it said; the store was not at its best meanwhile."""
    root = tmp_path_factory.mktemp("root")
    store.put_in(error_every=97, slow=0.002)  # and no lag: Beam and TensorFlow Transform bear none (docs/storage.md)
    done = run(store, command(DATA, root, small_encoder, *ELSEWHERE, "--json"))
    had = store.put_in()
    assert had["error"] > 5 and had["slow"] > 100, had
    return root, json.loads(done.stdout)


def run(store, arguments: list[str], status: int = 0) -> subprocess.CompletedProcess:
    environment = {**os.environ, **store.environment, "WANDB_MODE": "offline"}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=HOME, env=environment, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def memefly(store, *arguments: str) -> str:
    return run(store, [*MEMEFLY, *arguments]).stdout


def test_the_same_comes_of_it_as_on_this_machine(finished, whole):
    root, summary = finished
    (alone,) = (json.loads(path.read_text()) for path in whole.root.glob("runs/2*/summary.json"))
    assert summary["metrics"] == alone["metrics"]
    pushed = storage.at(summary["pushed"])
    assert str(pushed.parent) == PLACES["versions"]
    (version,) = (whole.root / "serving" / "captioner").iterdir()
    there, here = (json.loads((folder / "memefly.json").read_text()) for folder in (pushed, version))
    assert there["digest"] == here["digest"]
    # Nothing of it is in ROOT, and nothing is left in the store that was to be renamed.
    assert not [path for name in ("artifacts", "features") for path in (root / name).rglob("*") if path.is_file()]
    assert not [name for name in storage.sizes(f"gs://{object_store.BUCKET}/team") if "beam-temp" in name]


def test_nothing_is_made_twice(finished, store, small_encoder):
    """By the next run, which need not be told where things are."""
    root, _ = finished
    done = run(store, command(DATA, root, small_encoder, "--json"))
    states = {one["name"]: one["state"] for one in json.loads(done.stdout)["components"]}
    assert set(states.values()) == {"cached", "ran"} and {n for n, s in states.items() if s == "ran"} == {"LiveModel"}


def test_what_is_lost_is_made_anew(finished, store, small_encoder):
    root, _ = finished
    (lost,) = storage.at(PLACES["artifacts"]).glob("Transform/transform_graph/*/transform_fn/saved_model.pb")
    lost.unlink()
    done = run(store, command(DATA, root, small_encoder, "--to", "Transform", "--json"))
    states = {one["name"]: one["state"] for one in json.loads(done.stdout)["components"]}
    assert states["Transform"] == "ran" and states["ImageFeatures"] == "cached"


def test_commands_find_it(finished, store, memes, tmp_path):
    root, summary = finished
    version = summary["pushed"].rpartition("/")[2]
    picture = str(next(iter(sorted((memes / "images").iterdir()))))
    assert memefly(store, "caption", "--model", PLACES["versions"], picture, "--json")
    assert f'"version": {version}' in memefly(store, "lineage", "latest", "--root", str(root), "--json")
    said = json.loads(run(store, [*MEMEFLY, "features", "--root", str(root), "--check", "--json"]).stdout)
    assert said["entries"] == 60 and not said["damaged"]
    assert memefly(store, "doctor", "--root", str(root), "--json").count("which may be written to") == 3
    memefly(store, "promote", "--root", str(root), "--version", "latest", "--to", "stable")
    assert f'base_path: "{PLACES["versions"]}"' in (root / "serving" / "models.config").read_text()
    assert "artifacts" in memefly(store, "gc", "--root", str(root), "--keep", "1")


def test_what_is_to_be_forgotten_is_found_there(finished, store, memes):
    root, _ = finished
    first = json.loads((memes / "captions.jsonl").read_text().splitlines()[0])["image"]
    done = json.loads(run(store, [*MEMEFLY, "forget", "--root", str(root), "--data", DATA, first, "--json"]).stdout)
    assert done["data"] == 1 and done["pictures"] == 1 and done["features"] == 1 and done["examples"] >= 1
    assert not (storage.at(DATA) / first).exists()
    features = storage.sizes(PLACES["features"])
    assert not [name for name in features if done["digest"] in name] and len(features) == 59
    assert not [name for name in done["left"] if not name.startswith(("artifacts/Trainer", "serving/"))]


def test_a_store_that_is_gone_is_told_before_anything_is_computed(finished, store, small_encoder):
    root, _ = finished
    environment = {"GCS_RETRY_CONFIG_MAX_RETRIES": "1", "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "1000"}
    gone = object_store.Store({**store.environment, **environment})
    store.put_in(forbidden=True)
    try:
        said = run(gone, command(DATA, root, small_encoder), status=1).stderr
    finally:
        store.put_in()
    assert "gs://memefly/" in said and "rights of this account" in said and len(said.strip().splitlines()) <= 3, said
