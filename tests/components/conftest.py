import pytest


@pytest.fixture
def run_to(tmp_path, run_in):
    """As `run_in`; the root is the test's own, and is kept from call to call."""

    def run(data, node, *overrides, root="root"):
        return run_in(tmp_path / root, data, node, *overrides)

    return run
