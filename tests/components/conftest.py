import pytest


@pytest.fixture(scope="module")
def run_in(small_encoder):
    """Runs a pipeline over a data set up to a node, in this process, in a root that may be kept from test to test."""
    from pipeline import config, local_runner

    def run(root, data, node, *overrides):
        configuration = config.load("tiny", [f"encoder.weights={small_encoder}", *overrides])
        return local_runner.run(configuration, str(data), str(root), to_node=node)

    return run


@pytest.fixture
def run_to(tmp_path, run_in):
    """As `run_in`; the root is the test's own, and is kept from call to call."""

    def run(data, node, *overrides, root="root"):
        return run_in(tmp_path / root, data, node, *overrides)

    return run
