"""What is read and written, on this machine and in a store that is none of its folders, whatever is wrong there."""

import json
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from memefly import images, inventory, layout, remote, storage
from memefly.datasets import records
from memefly.encoders.feature_store import FeatureStore
from memefly.errors import StorageError, UsageError
from tests import object_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store.serving(tmp_path_factory.mktemp("store")) as store, pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        yield store


@pytest.fixture
def faults(store, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.01,))
    store.put_in()
    yield store.put_in
    store.put_in()


@pytest.fixture(params=["local", "gs"])
def place(request, tmp_path, monkeypatch):
    """An empty folder, of either kind."""
    if request.param == "local":
        return tmp_path
    request.getfixturevalue("store")
    return storage.at(f"gs://{object_store.BUCKET}/{tmp_path.name}")


def test_both_kinds_answer_alike(place):
    folder = place / "artifacts" / "7"
    assert not folder.exists() and not folder.is_dir() and storage.sizes(place) == {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Split-train").mkdir(parents=True, exist_ok=True)
    storage.replace(folder / "a.json", "{}")
    storage.replace(folder / "Split-train" / "data-00000-of-00001", b"\x00" * 3_000_000)
    assert folder.is_dir() and not folder.is_file() and (folder / "a.json").is_file()
    assert sorted(one.name for one in folder.iterdir()) == ["Split-train", "a.json"]
    assert {one.relative_to(place).as_posix() for one in place.rglob("*") if one.is_file()} == {
        "artifacts/7/a.json", "artifacts/7/Split-train/data-00000-of-00001",
    }  # fmt: skip
    assert [one.name for one in folder.glob("Split-*")] == ["Split-train"]
    assert [one.name for one in place.glob("*/*/*/data*")] == ["data-00000-of-00001"]
    assert storage.sizes(folder) == {"a.json": 2, "Split-train/data-00000-of-00001": 3_000_000}
    assert (folder / "a.json").read_text() == "{}" and (folder / "a.json").stat().st_size == 2
    with (folder / "Split-train" / "data-00000-of-00001").open("rb") as file:
        file.seek(2_500_000)
        assert len(file.read()) == 500_000
    assert (folder.parent, folder.name, folder.with_name("8").name) == (place / "artifacts", "7", "8")
    assert place in folder.parents and (folder / "a.json").suffix == ".json"
    for ask in (Path.read_bytes, Path.stat, Path.unlink) if isinstance(place, Path) else ():
        with pytest.raises(FileNotFoundError):
            ask(place / "nothing")
    for name in ("read_bytes", "stat", "unlink"):
        with pytest.raises(FileNotFoundError, match="nothing"):
            getattr(place / "nothing", name)()
    (place / "nothing").unlink(missing_ok=True)
    storage.remove_tree(folder)
    assert not folder.exists() and storage.sizes(place) == {}
    storage.remove_tree(folder)


def test_copies_between_both_kinds(place, tmp_path_factory):
    source = tmp_path_factory.mktemp("model")
    for name in ("memefly.json", "saved_model.pb", "variables/variables.index"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    storage.copy_tree(source, place / "1", last=("saved_model.pb", "memefly.json"))
    assert storage.sizes(place / "1") == storage.sizes(source)
    with storage.local(place / "1") as copy:
        assert isinstance(copy, Path) and storage.sizes(copy) == storage.sizes(source)
    with storage.written(place / "2", last=("memefly.json",)) as made:
        made.mkdir(exist_ok=True)
        (made / "memefly.json").write_text("{}")
    assert (place / "2" / "memefly.json").read_text() == "{}"


def test_what_names_the_files_of_a_folder_comes_last(store, tmp_path, monkeypatch):
    order = []
    copy = storage.copy
    monkeypatch.setattr(storage, "copy", lambda source, target: (order.append(target.name), copy(source, target)))
    for name in ("a", "memefly.json", "saved_model.pb", "z"):
        (tmp_path / name).write_text(name)
    storage.copy_tree(tmp_path, f"gs://{object_store.BUCKET}/ordered", last=("saved_model.pb", "memefly.json"))
    assert order == ["a", "z", "saved_model.pb", "memefly.json"]


def test_where_a_block_fails_nothing_appears(place):
    storage.replace(place / "kept", "before")
    with pytest.raises(RuntimeError), storage.replacing(place / "kept") as partial:
        partial.write_text("half of what was to")
        raise RuntimeError
    assert (place / "kept").read_text() == "before" and storage.sizes(place) == {"kept": 6}


def test_a_place_in_a_store_is_known_by_its_name(store):
    here = storage.at("gs://memefly/a/")
    assert str(here / "b" / "../c") == "gs://memefly/a/c" and here == storage.at("gs://memefly/a")
    assert pickle.loads(pickle.dumps(here)) == here and len({here, storage.at("gs://memefly/a")}) == 1
    with pytest.raises(TypeError):  # and never mistaken for a path of this machine
        os.fspath(here)
    with pytest.raises(ValueError):
        here.relative_to(storage.at("gs://memefly/b"))


def test_a_scheme_that_nobody_speaks_is_told():
    with pytest.raises(StorageError, match=r"does not speak tape:// here.*It speaks .*gs"):
        storage.at("tape://library/7")


# --- what may be wrong with a store -----------------------------------------------------------------------------------


def test_errors_that_pass_are_asked_again(faults):
    place = storage.at(f"gs://{object_store.BUCKET}/errors")
    faults(error_every=3)
    for i in range(8):
        storage.replace(place / str(i), str(i))
    assert [(place / str(i)).read_text() for i in range(8)] == [str(i) for i in range(8)]
    assert len(list(place.iterdir())) == 8 and faults()["error"] > 8


def test_a_store_that_does_not_answer_is_never_taken_for_empty(faults, tmp_path):
    place = storage.at(f"gs://{object_store.BUCKET}/dead")
    storage.replace(place / "images" / "a.png", b"there")
    features = FeatureStore(place, "0" * 16)
    features.put("ab" * 32, np.zeros((1, 1, 4), np.float16))
    faults(dead=True)
    for ask in (
        (place / "images" / "a.png").exists,
        (place / "images").is_dir,
        lambda: list((place / "images").iterdir()),
        lambda: list(place.rglob("*")),
        lambda: list(place.glob("*/*")),
        lambda: features.get("ab" * 32),
        lambda: features.has("ab" * 32),
        lambda: images.read_file(place / "images" / "a.png"),
        lambda: records.fingerprint(place),
        lambda: storage.probe(place),
        lambda: storage.sizes(place),
    ):
        with pytest.raises(StorageError, match=r"gs://memefly/dead.* in 2 attempts.*run again when the store answers"):
            ask()


def test_rights_that_are_not_there_are_told_at_once(faults):
    place = storage.at(f"gs://{object_store.BUCKET}/closed")
    faults(forbidden=True)
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"gs://memefly/closed/\S+ cannot be written: .*rights of this account"):
        storage.probe(place)
    assert time.monotonic() - begun < 5


def test_slow_answers_are_waited_for(faults):
    place = storage.at(f"gs://{object_store.BUCKET}/slow")
    faults(slow=0.3)
    storage.replace(place / "a", b"x" * 100_000)
    assert (place / "a").read_bytes() == b"x" * 100_000 and faults()["slow"] > 0


def test_lists_that_lag_are_waited_for(faults):
    """An artifact's inventory knows every shard, though the store shows none of them at first."""
    folder = storage.at(f"gs://{object_store.BUCKET}/lag/artifacts/Node/examples/7")
    for split in ("train", "eval"):
        for shard in range(3):
            storage.replace(folder / f"Split-{split}" / f"data-{shard:05d}-of-00003.gz", b"x" * shard)
    faults(lag=2.0)
    assert not list(folder.rglob("*"))  # it does lag
    inventory.write(folder, ["train", "eval"])
    assert inventory.lost(folder) == "" and faults()["lag"] > 0
    known = json.loads((folder.parents[1] / ".system" / "inventory" / "examples-7.json").read_text())
    assert len(known) == 6 and known["Split-eval/data-00002-of-00003.gz"] == 2


def test_who_reads_waits_for_what_the_inventory_knows(faults):
    folder = storage.at(f"gs://{object_store.BUCKET}/reads/artifacts/Node/examples/7")
    storage.replace(folder / "a", "a")
    inventory.write(folder)
    faults(lag=1.5)
    storage.replace(folder / "a", "b")  # by which it is new again, and not listed
    assert inventory.lost(folder) == "a is gone" or inventory.lost(folder) == "it is gone"
    inventory.wait(folder)
    assert inventory.lost(folder) == ""


@pytest.mark.parametrize("splits", [(), ("train", "eval")])
def test_what_never_comes_is_told(place, monkeypatch, splits):
    monkeypatch.setattr(storage, "SETTLED", 0.2)
    folder = place / "artifacts" / "Node" / "examples" / "7"
    for name in ("Split-train/data-00000-of-00002", "Split-train/data-00001-of-00002"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        storage.replace(folder / name, "x")
    if not splits:
        inventory.write(folder)
        (folder / "Split-train" / "data-00000-of-00002").unlink()
        with pytest.raises(StorageError, match=r"is not whole: Split-train/data-00000-of-00002 is gone"):
            inventory.wait(folder)
    with pytest.raises(StorageError, match=r"Split-eval" if splits else r"data-00000-of-00002"):
        inventory.write(folder, splits)


def test_many_write_the_same_at_once(place):
    """Whoever is last, it is one of them, whole."""
    contents = [bytes([i]) * 200_000 for i in range(8)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda content: storage.replace(place / "one", content), contents))
    assert (place / "one").read_bytes() in contents
    features = FeatureStore(place, "0" * 16)
    same = np.arange(16, dtype=np.float16).reshape(2, 2, 4)
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda _: features.put("ab" * 32, same), range(8)))
    assert (features.get("ab" * 32) == same).all() and list(features.keys()) == ["ab" * 32]


# --- what lies there --------------------------------------------------------------------------------------------------


def test_features_of_either_kind(place):
    features = FeatureStore(place, "f" * 64)
    made = np.arange(48, dtype=np.float16).reshape(2, 2, 12)
    features.put("ab" * 32, made)
    assert features.has("ab" * 32) and (features.get("ab" * 32) == made).all() and features.get("cd" * 32) is None
    features.put("cd" * 32, made + 1)
    assert features.compact() == 1 and len(storage.sizes(place)) == 2  # a pack, and its index
    assert (features.get("ab" * 32) == made).all() and (features.get("cd" * 32) == made + 1).all()
    features.put("ef" * 32, made)
    path = features.path("ef" * 32)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert features.get("ef" * 32) is None
    assert features.discard(["ab" * 32, "ef" * 32]) == 2
    assert list(features.keys()) == ["cd" * 32] and features.discard(["cd" * 32]) == 1
    assert not list(features.keys()) and storage.sizes(place) == {}


def test_a_data_set_of_either_kind(place, memes):
    storage.copy_tree(memes, place / "data")
    found = [records.parse(line) for line in records.read_lines(place / "data")]
    assert found == [records.parse(line) for line in records.read_lines(memes)] and len(found) == 60
    first = images.read_file(place / "data" / found[0].image)
    assert first == (memes / found[0].image).read_bytes()
    before = records.fingerprint(place / "data")
    assert records.fingerprint(place / "data") == before
    time.sleep(0.01)
    storage.replace(place / "data" / found[0].image, first + b"\0")
    assert records.fingerprint(place / "data") != before
    (place / "data" / found[0].image).unlink()
    assert records.fingerprint(place / "data") != before
    with pytest.raises(UsageError, match=r"missing|no file"):
        images.read_file(place / "data" / found[0].image)


# --- where the parts of a ROOT are ------------------------------------------------------------------------------------


def test_a_root_keeps_where_its_parts_are(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    assert layout.of(root).artifacts == root / "artifacts" and layout.of(root).metadata == ""
    layout.settle(root, {"artifacts": f"{elsewhere}/", "features": "", "versions": "", "metadata": ""})
    there = layout.of(root)
    assert (there.artifacts, there.features, there.versions) == (
        elsewhere, root / "features", root / "serving" / "captioner",
    )  # fmt: skip
    assert there.under("root://artifacts/Trainer/model/7") == elsewhere / "Trainer" / "model" / "7"
    assert there.under("root://artifacts") == elsewhere
    assert there.under("root://artifacts.unknown") == root / "artifacts.unknown"
    assert there.under("runs/1") == root / "runs" / "1"
    assert there.name_of(elsewhere / "Trainer" / "model") == "artifacts/Trainer/model"
    assert there.name_of(root / "serving" / "captioner" / "17") == "serving/captioner/17"
    assert there.name_of(root / "runs" / "1") == "runs/1"
    layout.settle(root, {})  # nothing said: it stays
    layout.settle(root, {"artifacts": str(elsewhere)})
    assert layout.of(root) == there


def test_a_root_is_not_torn_apart(tmp_path):
    (tmp_path / "features" / "0123").mkdir(parents=True)
    with pytest.raises(
        UsageError, match=r"storage.features is /other, but this ROOT has them in \S+/features\. To move"
    ):
        layout.settle(tmp_path, {"features": "/other"})
    layout.settle(tmp_path, {"artifacts": "/there"})
    with pytest.raises(UsageError, match=r"has them in /there"):
        layout.settle(tmp_path, {"artifacts": "/elsewhere"})
    (tmp_path / "metadata.sqlite").touch()
    with pytest.raises(UsageError, match=r"metadata\.sqlite"):
        layout.settle(tmp_path, {"metadata": "mysql://u@h/d"})


@pytest.mark.parametrize("said", ["{", "[]", '{"artefacts": "/x"}', '{"artifacts": 7}'])
def test_a_damaged_layout_is_told(tmp_path, said):
    (tmp_path / layout.FILE).write_text(said)
    with pytest.raises(UsageError, match=r"storage\.json"):
        layout.of(tmp_path)
