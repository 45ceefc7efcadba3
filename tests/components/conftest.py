import pytest


@pytest.fixture
def run_to(tmp_path, small_encoder):
    """Runs a pipeline over a data set up to a node, in this process; the root is kept from call to call."""
    from pipeline import config, local_runner

    def run(data, node, *overrides, root="root"):
        configuration = config.load("tiny", [f"encoder.weights={small_encoder}", *overrides])
        return local_runner.run(configuration, str(data), str(tmp_path / root), to_node=node)

    return run
