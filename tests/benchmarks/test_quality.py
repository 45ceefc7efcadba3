"""Models share a line of the table of figures if only their seeds differ."""

from benchmarks.quality import labels, setting


def manifest(*, seed=0, self_critical=0, rate=1e-4, encoder="inception_v3", **network) -> dict:
    training = {"seed": seed, "self_critical": {"epochs": self_critical, "learning_rate": rate}}
    return {"config": {"network": network, "training": training}, "encoder": {"name": encoder}}


def test_seeds_and_stages_that_were_not_run_set_no_models_apart():
    assert setting(manifest(seed=0)) == setting(manifest(seed=1))
    assert setting(manifest(rate=1e-4)) == setting(manifest(rate=1e-5))
    assert setting(manifest(self_critical=3)) != setting(manifest(self_critical=3, rate=1e-5))
    assert setting(manifest()) != setting(manifest(encoder="other.h5"))
    assert setting(manifest()) == setting(manifest(members=1))  # a model from before there were ensembles


def test_lines_of_one_kind_are_told_apart_by_what_differs():
    settings = [manifest(), manifest(units=512), manifest(self_critical=3), manifest(kind="merge"), manifest(members=3)]
    settings.append(manifest(members=2, beside=[{"kind": "transformer", "members": 2}]))
    assert labels(list(map(setting, settings))) == [
        "attention (additive), network.units 256",
        "attention (additive), network.units 512",
        "attention (additive), self-critical",
        "merge",
        "attention (additive), 3 members",
        "attention (additive), 2 members, 2 transformer beside",
    ]
