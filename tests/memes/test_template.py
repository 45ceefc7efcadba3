import json
import re

import pytest
from PIL import Image
from pydantic import ValidationError

from memefly.errors import DataError
from memefly.memes.template import BOXES, Box, Style, Templates, boxes_of_page, key_of

pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (480, 480)).save(tmp_path / "drake.png")
    Image.new("RGB", (480, 480)).save(tmp_path / "cat.png")
    (tmp_path / "drake.yaml").write_text(
        "name: Drake Hotline Bling\npicture: drake.png\nwords: [no, yes]\n"
        "boxes:\n- {x: 0.5, y: 0, width: 0.5, height: 0.5}\n"
        "- {x: 0.5, y: 0.5, width: 0.5, height: 0.5, angle: 5, style: {upper: false, colour: black, outline: none}}\n"
        "examples: [[tests, friday], one line]\n"
    )
    (tmp_path / "cat.yml").write_text("name: Grumpy Cat\npicture: cat.png\n")
    return tmp_path


def test_a_folder_of_templates(folder):
    templates = Templates.read(folder)
    assert set(templates.by_key) == {"drake", "cat"} and len(templates) == 2
    drake, cat = templates.by_key["drake"], templates.by_key["cat"]
    assert drake.boxes[1].style.colour == "black" and drake.boxes[1].angle == 5 and not drake.boxes[1].style.upper
    assert drake.words == ("no", "yes"), "which YAML takes for a lie and a truth"
    assert drake.examples == (("tests", "friday"), ("one line",))
    assert cat.boxes == BOXES and cat.picture == folder / "cat.png"


def test_search(folder):
    templates = Templates.read(folder)

    def found(query):
        return [one.key for one in templates.search(query)]

    assert found("yes") == ["drake"] and found("GRUMPY ca") == ["cat"] and found("dra bling") == ["drake"]
    assert found("drake cat") == [] and len(found("")) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: x\npicture: gone.png", "picture: no file"),
        ("name: x\npicture: ../drake.png", "expected the name of a file beside it, got '../drake.png'"),
        ("name: x\npicture: drake.png\nboxes: [{x: 2, y: 0, width: 1, height: 1}]", "boxes.0.x: .*got '2'"),
        ("name: x\npicture: drake.png\nboxes: [{x: 0, y: 0, width: 1, height: 1, style: {colour: rde}}]", "a colour"),
        ("name: x\npicture: drake.png\ncolour: red", "colour: "),
        ("picture: drake.png", "name: "),
        ("- a", "expected name, picture, words, boxes, examples; got list"),
        ("a: [", "no YAML"),
        ("name: x\npicture: drake.png\nexamples: 7", "examples: "),
    ],
)
def test_what_is_wrong_is_told_by_file(folder, content, said):
    (folder / "wrong.yaml").write_text(content)
    with pytest.raises(DataError, match=f"wrong.yaml.*{said}"):
        Templates.read(folder)


def test_folders_without_any(tmp_path):
    with pytest.raises(DataError, match="no template in"):
        Templates.read(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        Templates.read(tmp_path / "gone")


def test_of_a_data_set(tmp_path):
    Image.new("RGB", (250, 250)).save(tmp_path / "a.png")
    upper = {"left": 4.0, "top": 4.0, "width": 480.0, "height": 122.0}
    lower = {"left": 4.0, "top": 353.0, "width": 480.0, "height": 122.0}
    lines = [
        {"image": "a.png", "captions": ["x y"], "group": "advice-dog", "split": "eval"},
        {"image": "a.png", "captions": ["one", ["up", "low"]], "group": "advice-dog", "split": "train",
         "text_boxes": [upper, lower]},
        {"image": "a.png", "captions": ["z"]},
    ]  # fmt: skip
    (tmp_path / "captions.jsonl").write_text("\n".join([*map(json.dumps, lines), "{broken"]))
    (template,) = Templates.read(tmp_path)
    assert (template.key, template.name) == ("advice-dog", "advice dog")
    assert template.examples == (("one",), ("up", "low")), "what is judged by is not shown"
    first, second = template.boxes
    assert first.anchor == "top" and second.anchor == "bottom"
    assert (
        second.y == pytest.approx(353 / 480)
        and second.x + second.width <= 1
        and second.height == pytest.approx(122 / 480)
    )


def test_boxes_for_a_higher_picture_than_this_one(tmp_path):
    Image.new("RGB", (250, 250)).save(tmp_path / "a.png")
    below = {"left": 0.0, "top": 596.0, "width": 480.0, "height": 122.0}
    (box,) = boxes_of_page([below], tmp_path / "a.png")
    assert box == Box(x=0, y=596 / 722, width=1, height=122 / 722, anchor="bottom")
    assert boxes_of_page(None, tmp_path / "a.png") == [] and boxes_of_page([], tmp_path / "a.png") == []


def test_keys():
    assert key_of("One Does NOT  simply!") == "one-does-not-simply" and key_of("日本") == "template"


def test_colours_are_documented():
    """Whatever the document lets through is taken, and it lets through what people write."""
    told = Style.model_json_schema()["properties"]["colour"]
    for colour in ("white", "none", "rebeccapurple", "#fc0", "#ffcc00", "#ffcc0080"):
        assert re.fullmatch(told["pattern"], colour) and Style(colour=colour).colour == colour
    for colour in ("whiteish", "#ffcc0", "ffcc00", "", "V§"):
        assert not re.fullmatch(told["pattern"], colour)
        with pytest.raises(ValidationError):
            Style(colour=colour)
