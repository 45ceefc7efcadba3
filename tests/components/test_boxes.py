"""Captions of several text boxes, with punctuation and emoji, from captions.jsonl to the model that says them."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.serving_validator import replay
from memefly.exported.saved_model import ExportedModel
from memefly.spelling import BREAK, Spelling, spell
from memefly.text import PAD_ID, RESERVED_TOKENS, UNKNOWN_ID, Vocabulary

# Of a dark and of a bright picture. The second caption is the first: blanks and empty boxes are none.
CAPTIONS = (
    [
        ["One does not simply...", "walk, into Mordor! 😂"],
        [" ONE does  not simply...", "", "\r\nwalk, into Mordor! 😂"],
    ],
    [["Nobody", "me - at 3.5 o'clock?"], "nobody\nme - at 3.5 o'clock?"],
)
SPELLED = (
    ["one does not simply…\nwalk, into mordor! 😂"] * 2,
    ["nobody\nme - at 3.5 o'clock?", "nobody me - at 3.5 o'clock?"],  # a text box of its own has no break in it
)
KEPT = ["text.breaks=true", "text.punctuation=keep", "text.emoji=keep", "text.max_length=40", "text.min_count=1"]


@pytest.fixture(scope="module")
def memes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes") / "data"
    (folder / "images").mkdir(parents=True)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for i in range(12):
            out = io.BytesIO()
            pixels = np.random.default_rng(i).integers(0, 100, (8, 8, 3), np.uint8) + 150 * np.uint8(i % 2)
            Image.fromarray(pixels).resize((64, 64)).save(out, format="PNG")
            (folder / "images" / f"{i}.png").write_bytes(out.getvalue())
            split = "train" if i < 8 else "val" if i < 10 else "eval"
            record = {"image": f"images/{i}.png", "captions": CAPTIONS[i % 2], "split": split}
            file.write(json.dumps(record) + "\n")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Of all tests here: what they have in common is done once."""
    return tmp_path_factory.mktemp("root")


def newest(root, artifact):
    return max((root / "artifacts" / artifact).iterdir(), key=lambda path: int(path.name))


def test_pieces_are_the_words_that_they_spell():
    assert replay.letters_of(["keep", "or", "##an", "##ge", "<br>", "‘", "c#"]) == replay.letters("keep orange\n'c#")
    assert replay.letters_of(["or", "ange"]) != replay.letters("or range")


@pytest.mark.once
@pytest.mark.parametrize("subwords", [0, 200])
def test_breaks_punctuation_and_emoji_are_learnt_and_said(memes, run_in, root, subwords):
    """As whole words, and in pieces."""
    longer = ["training.epochs=12", "training.patience=12", "training.pictures=1", "training.captions_per_picture=1"]
    run_in(root, memes, "Trainer", *KEPT, f"text.subwords={subwords}", "decoding.max_length=40", *longer)
    vocabulary = Vocabulary.load(newest(root, "Transform/transform_graph") / "transform_fn" / "assets" / "captions")
    assert vocabulary.words[: len(RESERVED_TOKENS) + 1] == (*RESERVED_TOKENS, BREAK)
    assert {"…", ",", "!", "😂"} < set(vocabulary.words) and vocabulary.words.count(BREAK) == 1
    assert vocabulary.has_pieces == bool(subwords) and (not subwords or len(vocabulary) <= subwords)
    spelling = Spelling(breaks=True, punctuation="keep", emoji="keep")

    (file,) = (newest(root, "Transform/transformed_examples") / "Split-val").iterdir()
    for record in tf.data.TFRecordDataset([str(file)], "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        tokens = np.reshape(feature["tokens"].int64_list.value, (2, -1))
        captions = [vocabulary.decode(row) for row in tokens.tolist()]
        assert captions in SPELLED and UNKNOWN_ID not in tokens
        assert [vocabulary.encode(caption, None, spelling) for caption in captions] == [
            [i for i in row if i != PAD_ID] for row in tokens.tolist()
        ]

    model = ExportedModel(newest(root, "Trainer/model") / "Format-Serving")
    pictures = [(memes / "images" / f"{i}.png").read_bytes() for i in range(4)]
    for i, ((said, *_), (words, _)) in enumerate(zip(model.caption(pictures), model.explain(pictures))):
        assert said.boxes == said.text.split("\n") and spell(words) == said.text
        if subwords:  # longer to learn than it trains: what matters is that breaks, signs and emoji come
            dark = said.text.startswith("one does not simply…\n") and said.text.endswith("😂")
            bright = said.text.startswith("nobody") and "me - " in said.text and "3.5" in said.text
        else:
            dark = said.text == SPELLED[0][0]
            bright = said.text.startswith("nobody") and "me - at 3.5" in said.text
        assert bright if i % 2 else dark, said.text
    assert model.manifest["config"]["text"]["breaks"] is True
    replay.replay(str(model.folder), str(newest(root, "CaptionExampleGen/examples") / "Split-eval"), 2)


@pytest.mark.once
def test_pieces_n_grams_and_drawn_candidates_are_servable(memes, run_in, root):
    knobs = [*KEPT, "text.subwords=200", "network.ngram=3", "training.epochs=2", "training.without_picture=0.1"]
    knobs += ["decoding.temperature=0.9", "decoding.candidates=6", "decoding.mmi=0.3", "decoding.difference=1"]
    run_in(root, memes, "Trainer", *knobs, "decoding.max_length=30", "training.stop_on=bits_a_character")
    model = ExportedModel(newest(root, "Trainer/model") / "Format-Serving")
    replay.replay(str(model.folder), str(newest(root, "CaptionExampleGen/examples") / "Split-eval"), 2)
    pictures = [(memes / "images" / f"{i}.png").read_bytes() for i in range(2)]
    for (said, *_), (words, _) in zip(model.caption(pictures), model.explain(pictures)):
        assert spell(words) == said.text
    assert model.manifest["metrics"]["val"]["bits_a_character"] > 0
