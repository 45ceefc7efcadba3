"""Fixtures that several rooms share."""

import fcntl
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tests  # noqa: F401 - ours: TFX brings IPython's extensions, among which is a package of that name
from memefly import temporary

# Pytest's own folders stay where they are, for who wants to look.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
temporary.settle()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Before TensorFlow's first import, so that tests of a store that does not answer take seconds.
os.environ |= {"GCS_RETRY_CONFIG_MAX_RETRIES": "1", "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "1000"}
os.environ["WANDB_MODE"] = os.environ.get("WANDB_MODE", "offline")


SHARED = Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items) -> None:
    """What runs TFX is slow, all of it."""
    for item in items:
        if {"e2e", "components"} & set(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets, where they are at hand; they are not part of the project."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the real data sets in {SHARED.name}/data beside the project, which are not there")
    return SHARED / "data"


@pytest.fixture(scope="session")
def once_for_all(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once_for_all(name, make)`: a folder that all processes of this test run share, which one of them has `make` fill
    and the others wait for. Nobody changes it afterwards."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def shared(name: str, make: Callable[[Path], None]) -> Path:
        folder, begun = base / name, base / f"{name}.begun"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                begun.mkdir()  # there already where it failed in another process, which has told why
                make(begun)
                begun.rename(folder)
        return folder

    return shared


@pytest.fixture(scope="session")
def small_encoder(once_for_all) -> Path:
    """A Keras model file from (64, 64, 3) to (8, 8, 32), an encoder that costs nothing. It is the stored one of
    `lanes/store.py`: what begins with it in one lane may go on in the other, and the older one's Keras reads no file of
    the newer one's."""

    def unpack(folder: Path) -> None:
        with tarfile.open(Path(__file__).parent / "lanes" / "data.tar.xz") as stored:
            stored.extract("encoder.h5", folder, filter="data")

    return once_for_all("encoder", unpack) / "encoder.h5"


@pytest.fixture(scope="session")
def memes(once_for_all) -> Path:
    """A canonical data set of 60 sample memes."""
    from memefly.datasets import sample

    return once_for_all("memes", lambda folder: sample.generate(folder / "data", images=60, seed=1)) / "data"


@pytest.fixture(scope="session")
def whole(once_for_all, memes, small_encoder):
    """A whole run of the pipeline over `memes`, finished and moved."""
    import whole_run

    return whole_run.make(once_for_all, memes, small_encoder)


@pytest.fixture(scope="module")
def run_in(small_encoder):
    """Runs a pipeline over a data set up to a node, in this process, in a root that may be kept from test to test."""
    from pipeline import config, local_runner

    def run(root, data, node, *overrides):
        configuration = config.load("tiny", [f"encoder.weights={small_encoder}", *overrides])
        return local_runner.run(configuration, str(data), str(root), to_node=node)

    return run


@pytest.fixture(scope="session")
def captioner(small_encoder, tmp_path_factory):
    import exported_model

    return exported_model.make(tmp_path_factory.mktemp("vocabulary"), small_encoder)


@pytest.fixture(scope="session")
def exported(captioner, tmp_path_factory) -> Path:
    """A SavedModel as the Trainer exports it and the pusher pushes it."""
    import exported_model

    return exported_model.write(captioner, tmp_path_factory.mktemp("export") / "1700000000")


@pytest.fixture(scope="session")
def pictures(memes) -> list[bytes]:
    """Of the sample memes, as bytes that the graph decodes."""
    from memefly import images

    return [images.read(path).data for path in sorted((memes / "images").iterdir())[:50]]
