"""The report of a run, and what it does in a browser."""

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from memefly.errors import UsageError
from memefly.report import plots, report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
WORDS = ["a", "<b>dog</b>", "runs", "in", "the", "snow"]


def picture(i: int) -> dict:
    drawer = np.random.default_rng(i)
    coarse = Image.fromarray(drawer.integers(0, 256, (6, 8, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((320, 240), Image.Resampling.BICUBIC).save(out, "JPEG", quality=82)
    maps = drawer.integers(0, 200, (len(WORDS), 8, 8), np.uint8)
    maps[range(len(WORDS)), range(len(WORDS)), 0] = 255  # each word looks at a place of its own
    return {
        "image_id": str(i), "source": f"images/{i}.jpg", "group": "dogs", "references": ["a dog", "the <i>dog</i>"],
        "caption": " ".join(WORDS), "cider": 1.5 - i / 100, "rouge_l": 0.5, "live": "a cat", "live_cider": 0.1,
        "nearest": "a dog runs", "similarity": 0.8, "copied": i % 9 == 0, "change": 0.4,
        "tags": [("best", "worst")[i % 2]],
        "image": base64.b64encode(out.getvalue()).decode(), "captions": [{"text": "a dog", "score": -1.0}] * 3,
        "words": WORDS, "attention": [base64.b64encode(m.tobytes()).decode() for m in maps], "grid": [8, 8],
        "place": [float(drawer.random()), float(drawer.random())],
    }  # fmt: skip


def test_curves_tell_bits_where_training_does():
    epochs = [{"stage": "cross_entropy", "loss": 5.0 - i, "val_bleu4": 0.1, "val_cider": 0.1 * i} for i in range(3)]
    assert "bits a character on val" not in plots.curves(epochs)
    told = plots.curves([epoch | {"val_bits_a_character": 1.7 - 0.1 * i} for i, epoch in enumerate(epochs)])
    assert {"loss on train", "scores on val", "bits a character on val"} <= set(re.findall(r"[a-z]+(?: [a-z]+)+", told))
    assert plots.curves([]) == ""


def summary() -> dict:
    metrics = {"bleu4": 0.204, "cider": 0.511, "distinct_captions": 88, "copied_share": 0.04}
    live = {"bleu4": 0.2, "cider": 0.484, "distinct_captions": 78, "copied_share": 0.08}
    decision = {"rule": "floors.bleu4", "slice": "", "metric": "bleu4", "value": 0.204, "threshold": 0.1}
    broken = {
        "rule": "slices.group.floors.cider",
        "slice": "group dogs",
        "metric": "cider",
        "value": 0.1,
        "threshold": 1,
    }
    sliced = {"by": "group", "value": "dogs", "pictures": 200, "metrics": metrics, "intervals": {"cider": [0.4, 0.6]}}
    split = {"captions_per_picture": [5, 5.0, 5], "different_captions": 990, "characters": 52.0, "groups": 1}
    return {
        "run_id": "20260101-000000", "started": "2026-01-01T00:00:00+00:00", "seconds": 61.5, "git": "0" * 40,
        "components": [{"name": "Trainer", "state": "ran", "seconds": 40.0}],
        "data": {
            "splits": {"train": {"images": 800, "captions": 4000}}, "quarantined": 1, "quarantined_captions": 0,
            "statistics": {"train": {**split, "commonest": [["a dog runs", 4], ["a cat", 1]]}},
        },
        "features": {"computed": 10, "reused": 990}, "encoder": {"name": "inception_v3", "digest": "ab" * 32},
        "metrics": metrics, "intervals": {"cider": [0.47, 0.55]}, "baseline": live,
        "changes": {"cider": {"value": 0.027, "low": 0.002, "high": 0.053, "p": 0.04}},
        "slices": [{**sliced, "baseline": live}], "blessed": False, "pushed": None, "error": None,
        "decisions": [
            {**decision, "baseline": 0.2, "passed": True, "reason": "bleu4 is 0.2040"},
            {**broken, "baseline": None, "passed": False, "reason": "group dogs: cider is 0.1"},
        ],
        "gate": ["group dogs: cider is 0.1"], "versions": {"tensorflow": "2.16.2"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that was judged, with 200 pictures."""
    folder = tmp_path_factory.mktemp("run")
    gallery = {"constant_caption": "a dog", "constant_bleu4": 0.1, "pictures": [picture(i) for i in range(200)]}
    epoch = {"loss": 3.0, "val_bleu4": 0.1, "val_cider": 0.3, "val_rouge_l": 0.4, "captions_per_second": 200.0}
    stages = ["cross_entropy"] * 3 + ["self_critical"]
    history = [{**epoch, "stage": stage, "epoch": i, "loss": 3.0 - i / 5} for i, stage in enumerate(stages)]
    for name, content in ((report.SUMMARY, summary()), (report.GALLERY, gallery), (report.HISTORY, history)):
        (folder / name).write_text(json.dumps(content))
    bad = {"line": 7, "what": "record", "reason": "no_captions", "detail": "line 7 has <no> captions"}
    (folder / report.QUARANTINE).write_text(json.dumps(bad) + "\n")
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return report.write(folder).read_text()


def test_all_is_told_and_nothing_fetched(html):
    for told in (
        "Not blessed; nothing was pushed", "slices.group.floors.cider", "0.4700 – 0.5500", "+0.0020 – +0.0530",
        "“a dog runs”", "4 times", "line 7 has &lt;no&gt; captions", "self-critical", "copied from training", "2.16.2",
        "the &lt;i&gt;dog&lt;/i&gt;", "&lt;b&gt;dog&lt;/b&gt;", "ab" * 32,
    ):  # fmt: skip
        assert told in html, told
    assert html.count("<figure data-tags") == 200
    fetched = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?((?!data:|#)[^"\')\s>]+)', html)
    assert [address for address in fetched if address not in ("pictures[i].src;",)] == []


def test_a_run_that_failed_early(tmp_path):
    bare = {key: type(value)() for key, value in summary().items()}
    bare |= {"run_id": "r", "started": "", "seconds": 0.0, "error": "no <data>", "baseline": None, "pushed": None}
    bare["encoder"] = summary()["encoder"]
    (tmp_path / report.SUMMARY).write_text(json.dumps(bare))
    html = report.write(tmp_path).read_text()
    assert "<strong>Failed.</strong> no &lt;data&gt;" in html and "<figure" not in html


def test_no_run_there(tmp_path):
    with pytest.raises(UsageError, match=r"holds no run: summary\.json is missing"):
        report.write(tmp_path)


def browse(page, script: str, *flags: str) -> tuple[dict, str]:
    """What `script`, run in the page when it is there, returns, and what the browser's console said."""
    probe = page.with_name("probe.html")
    run = f"<script>addEventListener('load', async () => {{ const said = await (async () => {{ {script} }})();"
    run += " const out = document.createElement('pre'); out.id = 'said'; out.textContent = JSON.stringify(said);"
    run += " document.body.append(out); });</script>"
    probe.write_text(page.read_text().replace("</body>", run + "</body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0",
        "--virtual-time-budget=20000", "--dump-dom", "--window-size=1280,900", *flags, probe.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    advice = "willReadFrequently"  # on how often this test, not the page, reads the canvas
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and advice not in line]
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert said, done.stderr[-2000:]
    return json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), "\n".join(console)


PIXELS = """
const figure = document.querySelector('.gallery figure'), canvas = figure.querySelector('canvas');
const words = [...figure.querySelectorAll('.words button')];
const brightest = () => { const data = canvas.getContext('2d').getImageData(0, 0, 8, 8).data; let best = 0;
  for (let i = 0; i < 64; i++) if (data[4 * i + 3] < data[4 * best + 3]) best = i; return best; };
const pressed = () => words.findIndex((word) => word.getAttribute('aria-pressed') === 'true');
const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true}));
"""


@pytest.mark.once
@pytest.mark.slow
@needs_browser
def test_words_show_where_the_model_looked(folder, html):
    said, console = browse(
        folder / report.REPORT,
        PIXELS
        + """
        const seen = [[canvas.hidden, pressed()]];
        words[1].click(); seen.push([canvas.hidden, pressed(), brightest()]);
        words[4].click(); seen.push([canvas.hidden, pressed(), brightest()]);
        words[4].focus(); key('ArrowRight'); seen.push([canvas.hidden, pressed(), brightest()]);
        key('ArrowRight'); seen.push([canvas.hidden, pressed(), brightest()]);
        key('Escape'); seen.push([canvas.hidden, pressed()]);
        words[2].dispatchEvent(new MouseEvent('mouseenter')); seen.push([canvas.hidden, pressed(), brightest()]);
        words[2].parentNode.dispatchEvent(new MouseEvent('mouseleave')); seen.push([canvas.hidden, pressed()]);
        return seen;
        """,
    )
    # Word i looked most at row i, column 0.
    assert said == [
        [True, -1], [False, 1, 8], [False, 4, 32], [False, 5, 40], [False, 0, 0], [True, -1],
        [False, 2, 16], [True, -1],
    ]  # fmt: skip
    assert console == ""


@pytest.mark.once
@pytest.mark.slow
@needs_browser
def test_the_overlay_is_seen(folder, html, tmp_path):
    """Two screenshots of the first picture: with a word chosen, most of it is darker."""

    def shot(name: str, script: str) -> np.ndarray:
        page = folder / f"{name}.html"
        top = "document.querySelectorAll('body > :not(.gallery)').forEach((part) => part.remove());"
        script = f"<script>addEventListener('load', () => {{ {top} {script} }});</script>"
        page.write_text((folder / report.REPORT).read_text().replace("</body>", script + "</body>"))
        png = tmp_path / f"{name}.png"
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,900",
            "--virtual-time-budget=5000", f"--screenshot={png}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        with Image.open(png) as image:
            return np.asarray(image.convert("L"), np.int32)

    plain = shot("plain", "")
    looked = shot("looked", "document.querySelector('.words button').click();")
    darker = plain - looked > 30
    assert plain.shape == (900, 1280) and plain.std() > 20, "the page is not blank"
    assert 0.01 < darker.mean() < 0.2, "about one picture of the page"


@pytest.mark.once
@pytest.mark.slow
@needs_browser
def test_the_page_filters_and_fits_a_phone_and_the_dark(folder, html):
    script = """
        const shown = () => [...document.querySelectorAll('.gallery figure')].filter((f) => !f.hidden).length;
        const before = shown(); document.querySelector('input[value=worst]').click();
        const worst = shown();
        const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        const mapped = [...document.querySelectorAll('.map img')].every((image) => image.src.startsWith('data:image'));
        return {before, worst, wide, mapped, back: getComputedStyle(document.body).color};
    """
    light, console = browse(folder / report.REPORT, script, "--window-size=500,900")
    dark, _ = browse(folder / report.REPORT, script, "--blink-settings=preferredColorScheme=0")
    assert (light["before"], light["worst"], light["wide"], light["mapped"]) == (200, 100, 0, True)
    assert console == "" and light["back"] != dark["back"], "text is light in dark mode"
