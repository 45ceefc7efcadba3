"""A model in this process, and the newer version that it gives way to."""

import shutil
import threading
import time

import exported_model
import pytest

from memefly.errors import ModelError
from memefly.exported import loading
from memefly.serving.local_model import LocalModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(small_encoder, tmp_path_factory):
    """A version of other weights, which says other things."""
    captioner = exported_model.make(tmp_path_factory.mktemp("other"), small_encoder, seed=2)
    return exported_model.write(captioner, tmp_path_factory.mktemp("export") / "other")


@pytest.mark.once
def test_a_newer_version_takes_over_and_nobody_is_turned_away(exported, other, pictures, tmp_path, caplog):
    shutil.copytree(exported, tmp_path / "100")
    says = {
        version: [row[0].text for row in loading.load(folder).caption(pictures[:8])]
        for version, folder in ((100, exported), (200, other))
    }
    assert says[100] != says[200]
    backend = LocalModel(tmp_path, watch=0.1)
    ended, wrong, seen = threading.Event(), [], set()

    def ask(start: int) -> None:
        i = start
        while not ended.is_set():
            answer = backend.caption(pictures[i % 8], {"seed": i} if i % 3 else {})
            seen.add(answer.model.version)
            if answer.captions[0].text != says[answer.model.version][i % 8]:
                wrong.append((i, answer))
            i += 1

    def until(version: int) -> None:
        for _ in range(600):
            if backend.status().model.version == version:
                return
            time.sleep(0.1)
        pytest.fail(f"version {version} never answers")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    shutil.copytree(exported, tmp_path / "150")
    (tmp_path / "150" / "saved_model.pb").unlink()  # not whole: passed over
    number(other, tmp_path / "200", 200)
    until(200)
    for _ in range(600):
        if 200 in seen:
            break
        time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong and seen == {100, 200}
    assert backend.status().model.digest == loading.load(other).manifest["digest"]
    damaged = number(other, tmp_path / "300", 300)
    content = bytearray((damaged / "saved_model.pb").read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    (damaged / "saved_model.pb").write_bytes(content)
    for _ in range(100):
        if "version 300 does not load" in caplog.text:
            break
        time.sleep(0.1)
    assert "version 300 does not load, 200 goes on" in caplog.text
    assert backend.caption(pictures[0], {}).captions[0].text == says[200][0]
    backend.close()


def number(folder, to, version: int):
    """A copy that says it is that version."""
    from memefly.exported.manifest import read_manifest, write_manifest

    copied = to.with_name(f".{version}")
    shutil.copytree(folder, copied)
    write_manifest(copied, {**read_manifest(copied), "version": version})
    copied.rename(to)
    return to


def test_where_it_looks(exported, pictures):
    backend = LocalModel(exported)
    caption = backend.caption(pictures[0], {}).captions[0].text
    looked = backend.look(pictures[0], caption)
    assert " ".join(looked.words) == caption and looked.weights.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ModelError):
        backend.caption(pictures[0], {"beam": 0})
    backend.close()
