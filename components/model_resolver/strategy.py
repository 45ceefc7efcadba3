"""LatestBlessedOther: the latest blessed model that is not the candidate itself.

    Resolver(LatestBlessedOther, model=Channel(type=Model), model_blessing=Channel(type=ModelBlessing),
             candidate=trainer.outputs["model"])

TFX's own LatestBlessedModelStrategy would, on a second run with nothing changed, hand the candidate its own blessed
self as baseline: new inputs, so evaluation and push would run again instead of coming from the cache.
"""

from __future__ import annotations

from tfx.dsl.components.common import resolver

CANDIDATE, MODEL, BLESSING = "candidate", "model", "model_blessing"


class LatestBlessedOther(resolver.ResolverStrategy):
    def resolve_artifacts(self, store, input_dict):
        candidate = input_dict.get(CANDIDATE, [])
        others = {artifact.id for artifact in input_dict.get(MODEL, [])} - {artifact.id for artifact in candidate}
        models = {artifact.id: artifact for artifact in input_dict.get(MODEL, [])}
        blessings = [
            blessing
            for blessing in input_dict.get(BLESSING, [])
            if blessing.get_int_custom_property("blessed") == 1
            and blessing.get_int_custom_property("current_model_id") in others
        ]
        latest = max(blessings, key=lambda blessing: blessing.id, default=None)
        if latest is None:
            return {CANDIDATE: candidate, MODEL: [], BLESSING: []}
        return {
            CANDIDATE: candidate,
            MODEL: [models[latest.get_int_custom_property("current_model_id")]],
            BLESSING: [latest],
        }
