import pytest

from memefly.training import Examples
from tests.training.toy import examples_of, write


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Examples:
    folder = tmp_path_factory.mktemp("examples")
    return examples_of(write(folder / "train.gz", 48), write(folder / "val.gz", 12, seed=5))
