"""A move of a label that is killed, at every step that touches the disk: the next call finds all or nothing."""

import json
import os
import shutil
import signal
import traceback
from functools import partial

import pytest

from memefly.errors import PromotionError, UsageError
from memefly.metadata_store import opened
from memefly.serving import journal, moves, promotion
from memefly.tracking import manifest


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(promotion, "SETTLE", 0.0)


@pytest.fixture
def root(tmp_path):
    """Versions 100 and 200, which ML Metadata knows, and `stable` on 100."""
    for version in (100, 200):
        folder = tmp_path / "serving" / "captioner" / str(version)
        folder.mkdir(parents=True)
        (folder / "memefly.json").write_text(json.dumps({"blessed": True, "digest": f"{version}" * 20}))
        (folder / "saved_model.pb").touch()
    (tmp_path / "metadata.sqlite").touch()
    with opened(tmp_path, writes=True) as (store, protos):
        kind = store.put_artifact_type(protos.ArtifactType(name="PushedModel"))
        for version in (100, 200):
            pushed = protos.Artifact(type_id=kind, uri=f"root://{version}")
            pushed.custom_properties["pushed_version"].string_value = str(version)
            store.put_artifacts([pushed])
    promotion.promote(tmp_path, 100, "stable", why="the first", who="ada")
    return tmp_path


def recorded(root) -> list[tuple[str, int, str, list[str]]]:
    """As ML Metadata has it: label, version, state, and what was given."""
    with opened(root, writes=False) as (store, protos):
        found = []
        for one in store.get_executions_by_type(moves.MetadataRecord.TYPE):
            given = [e.artifact_id for e in store.get_events_by_execution_ids([one.id])]
            uris = [artifact.uri for artifact in store.get_artifacts_by_id(given)]
            state = protos.Execution.State.Name(one.last_known_state)
            found.append((one.properties["label"].string_value, one.properties["version"].int_value, state, uris))
        return found


def stand(root) -> dict:
    """What everybody who knows of moves says of them."""
    entries = [(link.aliases[0], link.artifact.digest) for e in manifest.read(root) for link in e.links]
    return {
        "labels": promotion.labels(root),
        "history": [(move.label, move.version) for move in promotion.history(root)],
        "metadata": [one[:2] for one in recorded(root) if one[2] == "COMPLETE"],
        "wandb": [(label, int(digest[:3])) for label, digest in entries],
    }


def as_if(*made: tuple[str, int]) -> dict:
    return {"labels": dict(made), "history": [*made], "metadata": [*made], "wandb": [*made]}


def killed_at(step: int, move) -> bool:
    """Whether `move`, in a process of its own, came to its `step`th touch of the disk, before which it was killed."""
    process = os.fork()
    if process:
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
        return os.WIFSIGNALED(status)
    try:
        left = [step]

        def counted(name, function):
            def call(*arguments, **named):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **named)

            return call

        for name in ("replace", "fsync", "unlink", "open"):
            setattr(os, name, counted(name, getattr(os, name)))
        for holder, name in (
            (journal.Path, "open"), (journal.Path, "unlink"), (moves.MetadataRecord, "_put"), (manifest, "_append"),
            (promotion, "_finish"),
        ):  # fmt: skip
            setattr(holder, name, counted(name, getattr(holder, name)))
        move()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def test_killed_at_every_step_it_is_all_or_nothing(root, tmp_path_factory):
    whole, steps = as_if(("stable", 100), ("canary", 200)), 0
    seen = {"finished": 0, "taken back": 0}
    while True:
        copy = tmp_path_factory.mktemp("copy") / "root"
        shutil.copytree(root, copy)
        if not killed_at(steps, partial(promotion.promote, copy, 200, "canary", who="bob")):
            assert stand(copy) == whole
            break
        # The next call is about something else, and finds no half of it.
        with pytest.raises(PromotionError, match="stable is on version 100 already"):
            promotion.promote(copy, 100, "stable")
        assert stand(copy) in (whole, as_if(("stable", 100))), f"step {steps}"
        assert not (copy / "serving" / journal.JOURNAL).exists()
        seen["finished" if stand(copy) == whole else "taken back"] += 1
        # And the same once more ends as if nothing had been.
        if stand(copy) != whole:
            promotion.promote(copy, 200, "canary", who="bob")
            assert stand(copy) == whole
        steps += 1
    assert steps >= 20 and min(seen.values()) >= 4, seen
    assert recorded(copy)[-1] == ("canary", 200, "COMPLETE", ["root://200"])


def test_killed_it_is_finished_by_asking_again(root):
    """Who repeats what was cut off is told of the move, not that there is nothing to do."""
    promotion.promote(root, 200, "stable")
    for step in range(100):
        assert killed_at(step, partial(promotion.rollback, root, "stable", why="worse on cats"))
        path = root / "serving" / journal.JOURNAL
        if path.exists() and json.loads(path.read_text())["stage"] == "decided":
            break
    assert promotion.labels(root) == {"stable": 200}
    move = promotion.rollback(root, "stable", why="again")
    assert (move.before, move.version, move.why) == (200, 100, "worse on cats")
    assert stand(root) == as_if(("stable", 100), ("stable", 200), ("stable", 100)) | {"labels": {"stable": 100}}


@pytest.mark.parametrize("where", ["metadata", "manifest", "configuration", "history"])
def test_who_cannot_be_told_stops_it_for_all(root, monkeypatch, where):
    def fail(*_):
        raise UsageError("the disk is full")

    before = stand(root)
    with monkeypatch.context() as patch:
        if where == "metadata":
            patch.setattr(moves.MetadataRecord, "tell", fail)
        elif where == "manifest":
            patch.setattr(moves.Registry, "tell", fail)
        elif where == "configuration":
            patch.setattr(promotion, "_write", fail)
        else:
            told = promotion.replace
            patch.setattr(
                promotion, "replace", lambda path, text: fail() if path.name == promotion.HISTORY else told(path, text)
            )
        with pytest.raises(UsageError, match="the disk is full"):
            promotion.promote(root, 200, "canary")
    if (root / "serving" / journal.JOURNAL).exists():  # not even taking it back could be done
        with pytest.raises(PromotionError):
            promotion.promote(root, 100, "stable")
    assert stand(root) == before
    promotion.promote(root, 200, "canary")
    assert stand(root) == as_if(("stable", 100), ("canary", 200))


def test_a_damaged_journal_is_named(root):
    (root / "serving" / journal.JOURNAL).write_text('{"stage": "decided"}')
    with pytest.raises(PromotionError, match=r"\.promotion\.json is damaged .*remove it"):
        promotion.promote(root, 200, "canary")


def test_a_manifest_line_that_a_kill_cut_off(root):
    path = root / "wandb" / manifest.LINEAGE
    path.write_bytes(path.read_bytes() + b'{"job_type": "pro')
    assert len(manifest.read(root)) == 1
    promotion.promote(root, 200, "canary")
    assert [entry.links[0].aliases for entry in manifest.read(root)] == [("stable",), ("canary",)]
    path.write_text("no\n")
    with pytest.raises(UsageError, match=r"lineage\.jsonl, line 1, is not JSON"):
        manifest.read(root)
