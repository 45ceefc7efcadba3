import json
import shutil
from collections import Counter

import pytest
from stress import records as stress

from memefly.commands import main as cli
from memefly.datasets import records
from memefly.datasets.formats import bring
from memefly.datasets.splits import SPLITS
from memefly.errors import DataError


@pytest.fixture
def flickr(tmp_path):
    source = tmp_path / "flickr"
    (source / "Flicker8k_Dataset").mkdir(parents=True)
    names = [f"{i}_abc.jpg" for i in range(60)]
    for name in names:
        (source / "Flicker8k_Dataset" / name).write_bytes(name.encode())
    (source / "Flickr8k.token.txt").write_text(
        "".join(f"{name}#{k}\tA dog , number {k} , runs .\n" for name in names for k in range(5))
    )
    (source / "Flickr_8k.trainImages.txt").write_text("\n".join(names[:40]))
    (source / "Flickr_8k.devImages.txt").write_text("\n".join(names[40:55]) + "\n")
    (source / "Flickr_8k.testImages.txt").write_text("\n".join(names[55:]))
    return source


def sides(out) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in records.read_lines(out):
        record = records.parse(line)
        assert (out / record.image).is_file()
        found.setdefault(record.split, set()).add(record.image)
    return found


def test_flickr8k_keeps_the_official_parts(flickr, tmp_path):
    written = bring("flickr8k", flickr, tmp_path / "out")
    assert (written.pictures, written.captions) == (60, 300)
    found = sides(tmp_path / "out")
    assert len(found["train"] | found["val"]) == 40 and 1 <= len(found["val"]) <= 12
    assert len(found["eval"]) == 15 and len(found["test"]) == 5
    assert not found["train"] & found["val"]


def test_flickr8k_limit(flickr, tmp_path):
    assert bring("flickr8k", flickr, tmp_path / "out", limit=20).pictures == 20
    assert {"train", "eval"} <= set(sides(tmp_path / "out"))


def test_flickr8k_with_less_kept_apart(flickr, tmp_path):
    found = {}
    for val in (0.1, 0.4):
        bring("flickr8k", flickr, tmp_path / str(val), options={"val": val})
        found[val] = sides(tmp_path / str(val))
    assert found[0.1]["val"] < found[0.4]["val"], "what a smaller val keeps apart, a larger one does too"
    assert found[0.1]["train"] | found[0.1]["val"] == found[0.4]["train"] | found[0.4]["val"]
    assert found[0.1]["eval"] == found[0.4]["eval"]
    with pytest.raises(DataError, match="above 0 and below 1; got 1"):
        bring("flickr8k", flickr, tmp_path / "all", options={"val": 1.0})


def test_flickr8k_says_what_is_missing(flickr, tmp_path):
    (flickr / "Flickr8k.token.txt").unlink()
    shutil.rmtree(flickr / "Flicker8k_Dataset")
    with pytest.raises(DataError, match=r"it has no captions, one of Flickr8k\.token\.txt"):
        bring("flickr8k", flickr, tmp_path / "out")


def test_flickr8k_with_a_broken_line(flickr, tmp_path):
    with (flickr / "Flickr8k.token.txt").open("a") as file:
        file.write("no tab here\n")
    written = bring("flickr8k", flickr, tmp_path / "out")
    assert written.captions == 300 and [(e["line"], e["reason"]) for e in written.left_out] == [(301, "not_a_caption")]
    assert "line 301: expected NAME.jpg#N, a tab and a caption, got 'no tab here'" in written.first[0]


@pytest.mark.slow
def test_real_flickr8k(shared_data, tmp_path):
    written = bring("flickr8k", shared_data / "flickr8k", tmp_path / "out", limit=50)
    assert (written.pictures, written.captions) == (50, 250)


@pytest.fixture
def meme_file(tmp_path):
    source = tmp_path / "memes"
    (source / "images").mkdir(parents=True)
    memes = []
    for name in ("fry", "doge"):
        (source / "images" / f"{name}.jpg").write_bytes(name.encode())
        text = [f"not sure if {name} or joke number {i}" for i in range(80)]
        memes.append({"meme_id": 1, "meme_name": name, "meme_url": f"images/{name}.jpg", "meme_text": text})
    (source / "memes.json").write_text(json.dumps(memes))
    return source


def test_memes_part_captions_not_pictures(meme_file, tmp_path):
    written = bring("memefly", meme_file, tmp_path / "out")
    assert (written.pictures, written.captions) == (2, 160)
    parsed = [records.parse(line) for line in records.read_lines(tmp_path / "out")]
    assert {(r.group, r.split) for r in parsed} == {(g, s) for g in ("fry", "doge") for s in SPLITS}
    for group in ("fry", "doge"):
        captions = [c for r in parsed if r.group == group for c in r.captions]
        assert len(captions) == len(set(captions)) == 80


def test_memes_with_remote_pictures_say_what_to_do(meme_file, tmp_path):
    content = (meme_file / "memes.json").read_text().replace("images/fry", "https://example.org/fry")
    (meme_file / "memes.json").write_text(content)
    with pytest.raises(DataError, match="Download the pictures"):
        bring("memefly", meme_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_memes_of_another_form(meme_file, tmp_path):
    (meme_file / "memes.json").write_text('[{"name": "fry"}]')
    with pytest.raises(DataError, match="template 0: no 'meme_name'"):
        bring("memefly", meme_file, tmp_path / "out")


@pytest.mark.slow
def test_real_memes(shared_data, tmp_path):
    written = bring("memefly", shared_data / "memes", tmp_path / "out")
    assert (written.pictures, written.captions) == (96, 13303)


# --- as people's files are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_flickr8k_lists_with_a_byte_order_mark(flickr, tmp_path, encoding):
    for path in flickr.glob("*.txt"):
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert bring("flickr8k", flickr, tmp_path / "out").captions == 300


def test_flickr8k_in_an_encoding_that_is_none_of_ours(flickr, tmp_path):
    path = flickr / "Flickr8k.token.txt"
    path.write_bytes(path.read_bytes() + "0_abc.jpg#9\ta café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"Flickr8k.token.txt is not UTF-8: byte 0xe9 in line 301"):
        bring("flickr8k", flickr, tmp_path / "out")


def test_a_caption_holds_what_only_python_takes_for_the_end_of_a_line(flickr, tmp_path):
    odd = "a dog\u2028a cat\x0ba bird\x85a fish"
    with (flickr / "Flickr8k.token.txt").open("a", encoding="utf-8") as file:
        file.write(f"0_abc.jpg#5\t{odd}\n")
    bring("flickr8k", flickr, tmp_path / "out")
    assert odd in {c for line in records.read_lines(tmp_path / "out") for c in records.parse(line).captions}


def test_flickr8k_passes_over_a_share_of_missing_pictures(flickr, tmp_path, capsys):
    for name in ("3_abc.jpg", "50_abc.jpg"):
        (flickr / "Flicker8k_Dataset" / name).unlink()
    (flickr / "Flicker8k_Dataset" / "50_abc.jpg").mkdir()
    assert cli.main(["import", "flickr8k", str(flickr), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "58 pictures" in said.out or "58" in said.out
    assert "left out 2 records: missing_picture" in said.err and "_abc.jpg is listed as" in said.err
    entries = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(e["source"], e["line"]) for e in sorted(entries, key=lambda e: e["line"])] == [
        ("Flickr_8k.trainImages.txt", 4),
        ("Flickr_8k.devImages.txt", 11),
    ]
    for i in range(10, 17):
        (flickr / "Flicker8k_Dataset" / f"{i}_abc.jpg").unlink()
    with pytest.raises(
        DataError, match=r"9 of 60 pictures would be left out, more than 10% .*\(9 missing_picture\).*The first"
    ):
        bring("flickr8k", flickr, tmp_path / "again", max_left_out=0.1)
    assert not (tmp_path / "again").exists()


def test_a_picture_in_two_lists_is_told(flickr, tmp_path):
    with (flickr / "Flickr_8k.devImages.txt").open("a") as file:
        file.write("3_abc.jpg\n")
    written = bring("flickr8k", flickr, tmp_path / "out")
    assert written.counts == {("record", "split_conflict"): 1} and written.pictures == 60
    assert "Flickr_8k.devImages.txt, line 16: 3_abc.jpg is listed already" in written.first[0]
    assert "images/3_abc.jpg" not in sides(tmp_path / "out")["eval"]


@pytest.mark.parametrize(
    ("changes", "captions", "left_out"),
    [
        ({"meme_text": [None, "x y"]}, 1, [("caption", "not_text", "expected a caption, which is text, got null")]),
        ({"meme_text": [["a"], "x y"]}, 1, [("caption", "not_text", 'got ["a"]')]),
        ({"meme_text": [{"a": 1}, 7]}, 0, [("caption", "not_text", 'got {"a": 1}'), ("caption", "not_text", "got 7")]),
        ({"meme_text": None}, 0, [("record", "not_a_template", "meme_text must be array")]),
        ({"meme_url": None}, 0, [("record", "not_a_template", "meme_url must be string")]),
        ({"meme_name": 3}, 0, [("record", "not_a_template", "meme_name must be string")]),
        ({"meme_url": "images/gone.jpg"}, 0, [("record", "missing_picture", "(fry): no picture images/gone.jpg")]),
        ({"meme_url": "a\0b"}, 0, [("record", "missing_picture", "embedded null byte")]),
        ({"meme_text": ["half an emoji \ud83d"]}, 1, []),
    ],
)
def test_memes_take_what_is_good_and_name_what_is_not(meme_file, tmp_path, changes, captions, left_out):
    memes = json.loads((meme_file / "memes.json").read_text())
    (meme_file / "memes.json").write_text(json.dumps([memes[0] | changes, memes[1], None]))
    written = bring("memefly", meme_file, tmp_path / "out")
    assert written.captions == 80 + captions
    entries = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(e["what"], e["reason"]) for e in entries] == [
        *(entry[:2] for entry in left_out),
        ("record", "not_a_template"),
    ]
    assert all(
        said in e["detail"] and e["detail"].startswith("template 0") for e, (_, _, said) in zip(entries, left_out)
    )
    assert all(records.parse(line).group in ("fry", "doge") for line in records.read_lines(tmp_path / "out"))


def test_nothing_imported_is_an_error(meme_file, tmp_path):
    for content in ("[]", "[null]", '[{"meme_name": "a", "meme_url": "images/fry.jpg", "meme_text": [null]}]'):
        (meme_file / "memes.json").write_text(content)
        with pytest.raises(DataError, match="nothing to import"):
            bring("memefly", meme_file, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"{", b"null", b'"text"', b"\xe9"])
def test_meme_files_that_are_none(meme_file, tmp_path, content):
    (meme_file / "memes.json").write_bytes(content)
    with pytest.raises(DataError, match=r"memes\.json"):
        bring("memefly", meme_file, tmp_path / "out")


def test_two_pictures_of_one_name_in_two_folders_are_two(meme_file, tmp_path):
    memes = json.loads((meme_file / "memes.json").read_text())
    (meme_file / "more").mkdir()
    (meme_file / "more" / "fry.jpg").write_bytes(b"another")
    same = memes[0] | {"meme_name": "fry again"}
    other = memes[0] | {"meme_name": "other fry", "meme_url": "more/fry.jpg"}
    (meme_file / "memes.json").write_text(json.dumps([*memes, other, same]))
    written = bring("memefly", meme_file, tmp_path / "out")
    assert written.pictures == 3
    found = [records.parse(line) for line in records.read_lines(tmp_path / "out")]
    of = {r.group: (tmp_path / "out" / r.image).read_bytes() for r in found}
    assert of == {"fry": b"fry", "doge": b"doge", "other fry": b"another", "fry again": b"fry"}


@pytest.mark.slow
def test_made_up_files_are_imported_or_refused(tmp_path):
    found = Counter(stress.imported(seed, tmp_path) for seed in range(80))
    assert set(found) == {"right", "refused"} and min(found.values()) > 8
