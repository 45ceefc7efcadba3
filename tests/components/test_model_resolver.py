from tfx.types.standard_artifacts import Model, ModelBlessing

from components.model_resolver.strategy import LatestBlessedOther


def model(number: int) -> Model:
    artifact = Model()
    artifact.id = number
    return artifact


def blessing(number: int, of: int, blessed: int = 1) -> ModelBlessing:
    artifact = ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("blessed", blessed)
    artifact.set_int_custom_property("current_model_id", of)
    return artifact


def resolve(candidate: int, models: list[int], blessings: list[ModelBlessing]):
    found = LatestBlessedOther().resolve_artifacts(
        None,
        {"candidate": [model(candidate)], "model": [model(m) for m in models], "model_blessing": blessings},
    )
    return [m.id for m in found["model"]], [b.id for b in found["model_blessing"]]


def test_the_first_model_has_no_rival():
    assert resolve(1, [1], []) == ([], [])


def test_a_model_is_no_rival_of_itself():
    assert resolve(1, [1], [blessing(2, of=1)]) == ([], [])


def test_the_latest_blessing_counts():
    blessings = [blessing(10, of=1), blessing(12, of=3), blessing(11, of=2), blessing(13, of=4, blessed=0)]
    assert resolve(5, [1, 2, 3, 4, 5], blessings) == ([3], [12])
    assert resolve(3, [1, 2, 3, 4, 5], blessings) == ([2], [11])
    assert resolve(5, [1, 2, 3, 4, 5], [*blessings, blessing(14, of=1)]) == ([1], [14])  # blessed anew: live again


def test_a_blessing_whose_model_is_gone_is_passed_over():
    assert resolve(5, [1, 5], [blessing(10, of=1), blessing(12, of=3)]) == ([1], [10])
