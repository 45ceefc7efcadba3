import pytest

from memefly.training import Examples
from tests.training.toy import SHAPE, T, write


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Examples:
    folder = tmp_path_factory.mktemp("examples")
    return Examples(write(folder / "train.gz", 48), write(folder / "val.gz", 12, seed=5), SHAPE, T)
