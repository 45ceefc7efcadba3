"""A small world of memes: templates, each with its own way to joke, captions that people write on them, and models that
say what they are told to."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from scenes import write_examples

from benchmarks.gate import judge, speaker
from pipeline.config import GateConfig

# Of each template two ways to joke, with what it takes from the words below; it has two text boxes, or one.
TEMPLATES = {
    "simply": ("one does not simply {do}\n{thing} with {who} at {place}", "one does not {do}\n{who} and {thing}"),
    "always": (
        "i do not always {do} {thing}\nbut when i do {who} is at {place}",
        "i never {do}\nbut {who} has {thing}",
    ),
    "brace": ("brace yourselves\n{who} will {do} {thing} at {place}", "brace yourselves {who}\nthey {do} {thing}"),
    "doge": ("such {thing} much {do} very {who} so {place}", "wow such {place} much {thing} {who}"),
    "yuno": ("hey {who} at {place}\nwhy you no {do} {thing}", "{thing} why you no {do}\nat {place}"),
    "frodo": ("all right then {who}\nkeep your {thing} and {do} at {place}", "keep your {thing}\n{do} then {who}"),
    "batman": ("may i {do} {thing} at {place}\nno says {who}", "did you {do}\n{who} slaps you with {thing}"),
    "success": ("lost {thing} at {place}\n{who} could {do} it", "forgot to {do}\n{who} took {thing}"),
}
WORDS = {
    "do": "eat buy paint lose sell break find steal hide wash burn build clean cook draw drop feed fix grow lift",
    "thing": "cheese bread shoes money paper coffee rings cars memes pizza socks rocks books hats eggs keys glue",
    "who": "mother father boss teacher neighbor doctor sister brother uncle batman robin hobbit wizard king queen",
    "place": "school work home church prison sea mordor hogwarts gotham texas paris rome mars court war night noon",
}


class MemeWorld:
    DRAWN = 20

    def __init__(self, folder: Path, training: int = 250, held_back: int = 40):
        drawer = random.Random(0)
        self._folder, self._judged = folder, 0
        self.train = {t: [joke(t, drawer) for _ in range(training)] for t in TEMPLATES}
        seen = {caption for captions in self.train.values() for caption in captions}
        self.eval = {
            t: list(itertools.islice((c for c in iter(lambda t=t: joke(t, drawer), "") if c not in seen), held_back))
            for t in TEMPLATES
        }
        self._examples = write_examples(
            folder / "examples",
            {
                split: [(template, written, template) for template, written in captions.items()]
                for split, captions in (("train", self.train), ("eval", self.eval))
            },
        )

    def honest(self, template: str, drawer: random.Random) -> list[str]:
        return [joke(template, drawer) for _ in range(self.DRAWN)]

    def judge(self, said: dict[str, list[str]], gate: GateConfig):
        """What the pipeline's own Evaluator makes of a model that says so of each template: the folder of the
        evaluation, the blessing."""
        self._judged += 1
        folder = self._folder / str(self._judged)
        model = speaker({template.encode(): drawn for template, drawn in said.items()}, folder / "model")
        return judge(self._examples, model, None, gate, folder / "judged")


def joke(template: str, drawer: random.Random) -> str:
    return drawer.choice(TEMPLATES[template]).format(
        **{kind: drawer.choice(words.split()) for kind, words in WORDS.items()}
    )
