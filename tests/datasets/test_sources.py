"""The formats that others publish captions in, as their authors write them, with their known dirt."""

import csv
import hashlib
import io
import json
import tarfile
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from file_server import FileServer, Served
from PIL import Image

from memefly.datasets import coco as module
from memefly.datasets import formats, records
from memefly.datasets.coco import Archive
from memefly.datasets.formats import bring
from memefly.errors import DataError


def read(out) -> list[records.Record]:
    return [records.parse(line) for line in records.read_lines(out)]


def said(out) -> dict[str, tuple[str, ...]]:
    return {record.image.removeprefix("images/"): record.captions for record in read(out)}


def reasons(writer) -> list[tuple[str, int, str]]:
    return [(entry["source"], entry["line"], entry["reason"]) for entry in writer.left_out]


def pictures(folder, *names) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG")
    return file.getvalue()


JPEG = jpeg()

# --- COCO -------------------------------------------------------------------------------------------------------------


def coco_file(path, images, annotations) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}))


@pytest.fixture
def coco(tmp_path):
    source = tmp_path / "coco"
    for part, numbers in (("train", range(1, 41)), ("val", range(41, 51))):
        images = [{"id": n, "file_name": f"{n:012}.jpg", "license": 3} for n in numbers]
        # not always five captions; those of one picture do not stand together
        annotations = [
            {"image_id": n, "id": 100 * k + n, "caption": f" Number {n}, said {k}.\n"}
            for k in range(3)
            for n in numbers
            if k < 2 or n % 2
        ]
        if part == "train":
            images.append({"id": 98, "file_name": "../98.jpg"})
            images.append({"id": 99})
            annotations += [{"image_id": 1234, "caption": "of no image"}, {"image_id": 1, "caption": None}, "rubbish"]
        coco_file(source / "annotations" / f"captions_{part}2017.json", images, annotations)
        pictures(source, *(f"{part}2017/{n:012}.jpg" for n in numbers if n != 7))
    return source


def test_coco(coco, tmp_path):
    assert formats.recognise(coco) == "coco"
    written = bring("coco", coco, tmp_path / "out", options={"val": 0.2})
    found = read(tmp_path / "out")
    assert (written.pictures, written.captions) == (49, 49 * 2 + 24)
    assert said(tmp_path / "out")["000000000003.jpg"] == tuple(f"Number 3, said {k}." for k in range(3))
    sides = {split: {r.image for r in found if r.split == split} for split in ("train", "val", "eval")}
    assert len(sides["eval"]) == 10 and len(sides["train"] | sides["val"]) == 39 and 1 < len(sides["val"]) < 16
    name = "captions_train2017.json"
    assert sorted(reasons(written)) == [
        (name, 6, "missing_picture"), (name, 40, "not_a_record"), (name, 41, "not_a_record"),
        (name, 100, "not_a_caption"), (name, 101, "not_a_caption"), (name, 102, "not_a_caption"),
    ]  # fmt: skip
    few = bring("coco", coco, tmp_path / "few", limit=20)
    assert few.pictures == 20 and {"train", "eval"} <= {record.split for record in read(tmp_path / "few")}


def test_both_years_of_coco_hold_the_same_pictures(coco, tmp_path):
    """Captions of 2014 with the pictures of 2017; and where both years are there, one is read."""
    images = [{"id": n, "file_name": f"COCO_val2014_{n:012}.jpg"} for n in (1, 2, 41)]
    annotations = [{"image_id": n, "caption": f"of 2014, {n}"} for n in (1, 2, 41)]
    coco_file(coco / "annotations" / "captions_val2014.json", images, annotations)
    coco_file(coco / "annotations" / "captions_train2014.json", images[:0] or [{"id": 3, "file_name": "x.jpg"}], [0])
    written = bring("coco", coco, tmp_path / "2014", options={"year": 2014})
    assert said(tmp_path / "2014") == {f"COCO_val2014_{n:012}.jpg": (f"of 2014, {n}",) for n in (1, 2, 41)}
    assert {record.split for record in read(tmp_path / "2014")} == {"eval"}
    assert sorted(written.counts) == [("caption", "not_a_caption"), ("record", "no_captions")]
    assert bring("coco", coco, tmp_path / "out").pictures == 49
    with pytest.raises(DataError, match="of 2014 and 2017; got year 2015"):
        bring("coco", coco, tmp_path / "no", options={"year": 2015})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "captions_train2017.json is cut off or not JSON"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "cap', "is cut off"),
        ("{}", "expected a list of images, and there is none"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}]}', "expected a list of annotations, and there is none"),
        ("[" * 100_000, "captions_train2017.json"),
    ],
)
def test_coco_files_that_are_none(coco, tmp_path, content, message):
    (coco / "annotations" / "captions_train2017.json").write_text(content)
    with pytest.raises(DataError, match=message):
        bring("coco", coco, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (coco / "annotations" / "captions_val2017.json").unlink()
    with pytest.raises(DataError, match=r"is not COCO of 2017: it lacks captions_val2017.json.*--download"):
        bring("coco", coco, tmp_path / "out")


def test_restval_of_karpathy_is_trained_on(tmp_path):
    splits = ["train", "restval", "restval", "val", "test"]
    images = [
        {
            "filepath": "val2014", "filename": f"COCO_val2014_{n:012}.jpg", "cocoid": n, "split": split, "imgid": n,
            "sentids": [n], "sentences": [{"raw": f"A dog\nnumber {n}. ", "tokens": ["a"], "imgid": n, "sentid": n}],
        }
        for n, split in enumerate(splits)
    ]  # fmt: skip
    bad = [{"filename": "a.jpg", "split": "holdout", "sentences": []}, None, {**images[0], "filepath": "../x"}]
    bad.append({**images[0], "sentences": [{"raw": " "}]})
    source = tmp_path / "karpathy"
    pictures(source, *(f"val2014/COCO_val2014_{n:012}.jpg" for n in range(3)), "train2017/000000000003.jpg")
    pictures(source, "images/000000000004.jpg")
    (source / "dataset_coco.json").write_text(json.dumps({"images": images + bad, "dataset": "coco"}))
    assert formats.recognise(source) == "karpathy" == formats.recognise(source / "dataset_coco.json")
    written = bring("coco", source / "dataset_coco.json", tmp_path / "out")
    found = {int(record.image[-16:-4]): record for record in read(tmp_path / "out")}
    assert {n: record.split for n, record in found.items()} == {0: "train", 1: "train", 2: "train", 3: "val", 4: "eval"}
    assert found[2].captions == ("A dog number 2.",)
    assert [line for _, line, _ in reasons(written)] == [5, 6, 7, 8]
    assert bring("karpathy", source, tmp_path / "few", limit=6).pictures <= 5


def zipped(path, folder) -> Served:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder.parent))
    return Served(path.read_bytes(), truncate_after=1000, times=1)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 12])
def test_coco_is_fetched(coco, tmp_path, monkeypatch, limit):
    """All of it as archives, or captions and a few pictures."""
    files = {
        "/annotations/annotations_trainval2017.zip": zipped(tmp_path / "a.zip", coco / "annotations"),
        "/zips/train2017.zip": zipped(tmp_path / "b.zip", coco / "train2017"),
        "/zips/val2017.zip": zipped(tmp_path / "c.zip", coco / "val2017"),
    }
    archives = tuple(
        Archive(path.rpartition("/")[2], path.split("/")[1], len(one.data), hashlib.md5(one.data).hexdigest())
        for path, one in files.items()
    )
    with FileServer(files) as server:
        for part, numbers in (("train", range(1, 41)), ("val", range(41, 51))):
            images = [{"id": n, "file_name": f"{n:012}.jpg", "coco_url": server.url(f"/{n}.jpg")} for n in numbers]
            annotations = [{"image_id": n, "caption": f"of {n}"} for n in numbers]
            coco_file(coco / "annotations" / f"captions_{part}2017.json", images, annotations)
        files["/annotations/annotations_trainval2017.zip"] = zipped(tmp_path / "a.zip", coco / "annotations")
        data = files["/annotations/annotations_trainval2017.zip"].data
        first = Archive(archives[0].name, "annotations", len(data), hashlib.md5(data).hexdigest())
        monkeypatch.setattr(module, "ARCHIVES", {2017: (first, *archives[1:])})
        monkeypatch.setattr(module, "ADDRESS", server.url(""))
        files |= {f"/{n}.jpg": Served(JPEG) for n in range(1, 51) if n % 5}
        here, out = tmp_path / "fetched", tmp_path / "out"
        written = bring("coco", here, out, limit=limit, options={"download": True})
        archives_asked = {path for path, _ in server.asked if path.endswith(".zip")}
        assert written.pictures == (49 if limit is None else 12 - written.counts["record", "not_downloaded"])
        assert len(archives_asked) == (3 if limit is None else 1)
        if limit:
            assert written.counts["record", "not_downloaded"] > 0 and (here / "failed.jsonl").is_file()
            files |= {f"/{n}.jpg": Served(JPEG) for n in range(1, 51)}
            server.asked.clear()
            assert bring("coco", here, out, limit=limit, options={"download": True}).pictures == 12
            assert len(server.asked) == written.counts["record", "not_downloaded"], "only what had failed"
            assert not (here / "failed.jsonl").exists()


# --- Flickr -----------------------------------------------------------------------------------------------------------


def test_flickr8k_as_it_is_commonly_given_on(tmp_path):
    source = tmp_path / "flickr8k"
    pictures(source / "Images", "1_a.jpg", "2_b.jpg")
    (source / "captions.txt").write_bytes(
        b"image,caption\r\n"
        b'1_a.jpg,"A child in a pink dress , climbing ."\r\n'
        b'1_a.jpg,"A sign says ""stop"" , big ."\r\n'
        b"2_b.jpg,A dog , which nobody quoted , runs .\r\n"
        b"\r\n"
        b"2_b.jpg\r\n"
        b"../x.jpg,outside\r\n"
        b"gone.jpg,A cat .\r\n"
    )
    assert formats.recognise(source) == "flickr8k" == formats.recognise(source / "captions.txt")
    written = bring("flickr8k", source, tmp_path / "out")
    assert said(tmp_path / "out") == {
        "1_a.jpg": ("A child in a pink dress , climbing .", 'A sign says "stop" , big .'),
        "2_b.jpg": ("A dog , which nobody quoted , runs .",),
    }
    assert reasons(written) == [
        ("captions.txt", 6, "not_a_caption"), ("captions.txt", 7, "bad_path"), ("captions.txt", 8, "missing_picture"),
    ]  # fmt: skip
    (source / "Flickr_8k.trainImages.txt").write_text("1_a.jpg\n")
    (source / "Flickr_8k.devImages.txt").write_text("2_b.jpg\n")
    bring("flickr8k", source, tmp_path / "parts", options={"val": 0.01})
    assert [record.split for record in read(tmp_path / "parts")] == ["train", "eval"]


def test_flickr30k_as_it_is_commonly_given_on(tmp_path):
    """The line without its separator is number 20,000 or so of the real file."""
    source = tmp_path / "flickr30k"
    pictures(source / "flickr30k_images" / "flickr30k_images", "1000092795.jpg", "2199200615.jpg")
    (source / "flickr30k_images" / "results.csv").write_text(
        "image_name| comment_number| comment\n"
        "1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .\n"
        "1000092795.jpg| 1| Two young , White males | are outside .\n"
        "2199200615.jpg| 3| A dog .\n"
        "2199200615.jpg| 4   A dog runs across the grass .\n"
        "no bars\n"
    )
    assert formats.recognise(source) == "flickr30k"
    written = bring("flickr30k", source, tmp_path / "out")
    assert said(tmp_path / "out") == {
        "1000092795.jpg": (
            "Two young guys with shaggy hair look at their hands .",
            "Two young , White males | are outside .",
        ),
        "2199200615.jpg": ("A dog .", "A dog runs across the grass ."),
    }  # fmt: skip
    assert reasons(written) == [("results.csv", 6, "not_a_caption")]


def test_flickr30k_of_its_authors(tmp_path):
    pictures(tmp_path / "in" / "flickr30k-images", "1.jpg", "2.jpg")
    lines = [f"{n}.jpg#{k}\tSaid {k} of {n} .\n" for n in (1, 2) for k in range(5)]
    (tmp_path / "in" / "results_20130124.token").write_text("".join(lines))
    assert formats.recognise(tmp_path / "in") == "flickr30k"
    bring("flickr30k", tmp_path / "in", tmp_path / "out")
    assert said(tmp_path / "out")["2.jpg"] == tuple(f"Said {k} of 2 ." for k in range(5))
    assert {record.split for record in read(tmp_path / "out")} == {""}


# --- memes ------------------------------------------------------------------------------------------------------------

LOC = ("Meme ID", "Archived URL", "Base Meme Name", "Meme Page URL", "MD5 Hash", "File Size (In Bytes)")


def loc_file(path, columns, rows, encoding="utf-16", delimiter="\t") -> None:
    table = io.StringIO()
    writer = csv.writer(table, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_bytes(table.getvalue().encode(encoding))


def test_memes_of_the_library_of_congress(tmp_path):
    source = tmp_path / "loc"
    pictures(source, "images/y-u-no.jpg", "instances/10509464.jpg", "instances/7.jpg")
    digest = hashlib.md5(b"instances/10509464.jpg").hexdigest()
    rows = [(n, "u", "Y U No", "p", "md5", 1, f"meme number {n}, y u no end") for n in range(40)]
    rows += [
        (40, "u", "Y U NO", "p", "md5", 1, "meme number 1 y u no END!"),  # as one above, but for case and stops
        (10509464, "u", "Spiderman Approves", "p", digest.upper(), 24093, "seems legit"),
        (7, "u", "Another", "p", "0" * 32, 1, "of another picture"),
        (8, "u", "Gone", "p", "0" * 32, 1, "nobody has it"),
        (9, "u", "", "p", "", 1, "no name"),
        (10, "u", "Y U No", "p", "", 1, " "),
        ("?", "u", "Gone", "p", "", 1, "no number"),
    ]
    loc_file(source_file := source / "memegenerator.csv", (*LOC, "Alternate Text"), rows)
    assert formats.recognise(source) == "memegenerator" == formats.recognise(source_file)
    written = bring("memegenerator", source, tmp_path / "out")
    found = read(tmp_path / "out")
    template = [record for record in found if record.group == "Y U No"]
    assert {record.split for record in template} == {"train", "val", "eval"}
    assert sum(len(record.captions) for record in template) == 40
    assert [(r.image, r.captions, r.split) for r in found if r.group == "Spiderman Approves"] == [
        ("images/10509464.jpg", ("seems legit",), "")
    ]
    assert sorted((line, reason) for _, line, reason in reasons(written)) == [
        (2, "duplicate"), (44, "other_picture"), (45, "missing_picture"), (46, "not_a_record"), (47, "no_captions"),
        (48, "missing_picture"),
    ]  # fmt: skip


def test_a_copy_of_it_with_two_texts(tmp_path):
    pictures(tmp_path / "in", "images/Y U No.png")
    rows = [
        (1, "u", "Y U No", "p", "m", 1, "Y U No", "coffee,  y u no", "wake me", "x"),
        (2, "u", "Y U No", "p", "m", 1, "Y U No", "", "only", "x"),
    ]
    columns = (*LOC, "Display Name", "Upper Text", "Lower Text", "Alternate Text")
    loc_file(tmp_path / "in" / "memegenerator.csv", columns, rows, "utf-8", ",")
    bring("memegenerator", tmp_path / "in", tmp_path / "out")
    assert {c for record in read(tmp_path / "out") for c in record.captions} == {"coffee, y u no\nwake me", "only"}
    (tmp_path / "in" / "memegenerator.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"expected columns 'Base Meme Name' and 'Alternate Text'.*got a, b"):
        bring("memegenerator", tmp_path / "in", tmp_path / "no")


def test_imgflip575k(tmp_path):
    home = tmp_path / "in" / "dataset"
    pictures(home / "templates", "img/10-Guy.jpg", "img/Doge.png")
    memes = [
        {
            "url": "https://example.org/1.jpg", "post": f"https://example.org/i/{n}",
            "metadata": {"views": "1,234", "img-votes": "4", "title": "t", "author": "somebody"},
            "boxes": ["", f" top {n}", f"bottom {n} "],
        }
        for n in range(30)
    ]  # fmt: skip
    memes += [memes[0], {"boxes": ["", ""]}, {"boxes": "no list"}, {"metadata": {}}, None]
    (home / "memes").mkdir()
    (home / "memes" / "10-Guy.json").write_text(json.dumps(memes))
    (home / "templates" / "10-Guy.json").write_text(json.dumps({"title": "10 Guy Meme Template", "format": "jpg"}))
    (home / "memes" / "Doge.json").write_text("[")
    (home / "memes" / "Gone.json").write_text("[]")
    for source in (tmp_path / "in", home):
        assert formats.recognise(source) == "imgflip575k"
    written = bring("imgflip575k", tmp_path / "in", tmp_path / "out")
    found = read(tmp_path / "out")
    assert {record.group for record in found} == {"10 Guy"} and written.captions == 30
    assert {c for r in found for c in r.captions} == {f"top {n}\nbottom {n}" for n in range(30)}
    assert "somebody" not in (tmp_path / "out" / "captions.jsonl").read_text()
    assert reasons(written) == [
        *[("10-Guy.json", n, reason) for n, reason in ((30, "duplicate"), (31, "no_words"), (32, "not_a_caption"),
          (33, "not_a_caption"), (34, "not_a_caption"))],
        ("Doge.json", 0, "no_captions"), ("Gone.json", 0, "missing_picture"),
    ]  # fmt: skip


def test_places_of_text_in_the_original_memes(tmp_path):
    pictures(tmp_path / "in", "images/a.jpg")
    places = [
        "left: 4px; top: 353.5px; width: 480px; height: 122px;",
        "left: 4px; top: 4px; width: 480px; height: 9px;",
    ]
    meme = {
        "meme_name": "a",
        "meme_url": "images/a.jpg",
        "meme_text": ["x"],
        "meme_bounding_box": [*places, "top: 1px", 3],
    }
    (tmp_path / "in" / "memes.json").write_text(json.dumps([meme]))
    bring("memefly", tmp_path / "in", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "captions.jsonl").read_text())
    assert record["text_boxes"] == [
        {"left": 4, "top": 4, "width": 480, "height": 9}, {"left": 4, "top": 353.5, "width": 480, "height": 122},
    ]  # fmt: skip


# --- one's own --------------------------------------------------------------------------------------------------------


def test_parquet(tmp_path):
    pictures(tmp_path / "in", "a.jpg")
    rows = {
        "image": [
            {"bytes": b"one", "path": "x/one.png"},
            {"bytes": b"two", "path": None},
            {"bytes": None, "path": "a.jpg"},
        ],
        "text": [["first", "again"], ["second"], ["third"]],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "in" / "train-00000.parquet")
    source = tmp_path / "in" / "train-00000.parquet"
    assert formats.recognise(source) == "table"
    bring("table", source, tmp_path / "out")
    assert said(tmp_path / "out") == {"one.png": ("first", "again"), "2.jpg": ("second",), "a.jpg": ("third",)}
    assert (tmp_path / "out" / "images" / "one.png").read_bytes() == b"one"
    source.write_bytes(source.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged, or no Parquet"):
        bring("table", source, tmp_path / "no")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        bring("table", tmp_path / "nowhere.parquet", tmp_path / "no")


def test_folders_with_metadata_each(tmp_path):
    for part in ("train", "validation", "test"):
        pictures(tmp_path / "in" / part, "a.jpg")
        (tmp_path / "in" / part / "metadata.csv").write_text(f"file_name,text\na.jpg,of {part}\n")
        (tmp_path / "in" / part / "a.jpg").write_bytes(part.encode())
    assert formats.recognise(tmp_path / "in") == "table"
    bring("table", tmp_path / "in", tmp_path / "out")
    assert [(r.captions, r.split) for r in read(tmp_path / "out")] == [
        (("of train",), "train"), (("of validation",), "val"), (("of test",), "test"),
    ]  # fmt: skip


def test_text_beside_pictures(tmp_path):
    source = tmp_path / "in"
    pictures(source, "a.jpg", "b.JPEG", "train/a.jpg", "holiday/c.png", "silent.jpg", "empty.gif", "latin.jpg")
    (source / "a.txt").write_bytes("a cat\r\n\r\nthe cat sat\r\n".encode("utf-16"))
    (source / "b.txt").write_text("a dog")
    (source / "train" / "a.txt").write_text("a bird")
    (source / "holiday" / "c.txt").write_text("the sea")
    (source / "empty.txt").write_text(" \n")
    (source / "latin.txt").write_bytes("café".encode("latin-1"))
    (source / "notes.txt").write_text("of no picture")
    assert formats.recognise(source) == "beside"
    written = bring("beside", source, tmp_path / "out", link=True)
    assert [(r.image, r.captions, r.split) for r in read(tmp_path / "out")] == [
        ("images/a.jpg", ("a cat", "the cat sat"), ""), ("images/b.JPEG", ("a dog",), ""),
        ("images/c.png", ("the sea",), ""), ("images/a-2.jpg", ("a bird",), "train"),
    ]  # fmt: skip
    assert [(source, reason) for source, _, reason in reasons(written)] == [
        ("empty.gif", "no_captions"), ("latin.jpg", "no_captions"), ("silent.jpg", "no_captions"),
    ]  # fmt: skip


def shard(path, members, mode="w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))


def test_shards_of_webdataset(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    members = [  # unsorted, as archives of find | tar are
        ("./a/0001.jpg", b"one"), ("./a/0002.json", b'{"caption": "of json", "width": 3}'),
        ("./a/0003.txt", b"no picture"),
        ("./a/0001.txt", b"first\nagain\n"), ("./a/0002.seg.png", b"mask"), ("./a/0002.jpg", b"two"),
        ("./a/0001.cls", b"7"), ("./a/0004.jpg", b"silent"), ("./a/0005.jpg", None), ("./a/0006.jpg", b"six"),
        ("./a/0006.json", b"{"), ("./a/0006.txt", b"six"), ("./a/0007.jpg", b"seven"), ("./a/0007.0.txt", b"x"),
        ("./a/0007.1.txt", b"y"),
    ]  # fmt: skip
    shard(source / "val-000000.tar", members)
    shard(source / "data-000001.tar.gz", [("0001.webp", b"of gzip"), ("0001.txt", b"in a gzip")], "w:gz")
    assert formats.recognise(source) == "webdataset" == formats.recognise(source / "val-000000.tar")
    written = bring("webdataset", source, tmp_path / "out")
    assert [(r.image, r.captions, r.split) for r in read(tmp_path / "out")] == [
        ("images/0001.webp", ("in a gzip",), ""), ("images/0001.jpg", ("first", "again"), "val"),
        ("images/0002.jpg", ("of json",), "val"), ("images/0006.jpg", ("six",), "val"),
        ("images/0007.jpg", ("x", "y"), "val"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "images" / "0002.jpg").read_bytes() == b"two"
    assert sorted(reason for _, _, reason in reasons(written)) == ["missing_picture", "no_captions", "not_text"]


def test_a_shard_that_was_cut_is_read_as_far_as_it_goes(tmp_path):
    shard(
        tmp_path / "a.tar", [(f"{n}.{ending}", b"x" * 2000 + bytes([n])) for n in range(5) for ending in ("jpg", "txt")]
    )
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: 3 * 2 * 2560 + 3000])
    written = bring("webdataset", tmp_path / "a.tar", tmp_path / "out")
    assert written.pictures == 3 and ("record", "broken_archive") in written.counts
    (tmp_path / "a.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"nothing to import.*broken_archive"):
        bring("webdataset", tmp_path / "a.tar", tmp_path / "no")


# --- all of them ------------------------------------------------------------------------------------------------------


def test_the_same_import_again_takes_its_own_place_and_no_other(coco, tmp_path):
    out = tmp_path / "out"
    bring("coco", coco, out, limit=10)
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    bring("coco", coco, out, limit=10)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    with pytest.raises(DataError, match="is already there and not empty"):
        bring("coco", coco, out, limit=11)
    with (out / "captions.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="was changed since it was imported"):
        bring("coco", coco, out, limit=10)


def test_a_share_of_what_is_broken_ends_an_import(coco, tmp_path):
    with pytest.raises(DataError, match=r"3 of 52 pictures would be left out, more than 5%"):
        bring("coco", coco, tmp_path / "out", max_left_out=0.05)
    assert not (tmp_path / "out").exists()
    assert bring("coco", coco, tmp_path / "out", max_left_out=0.1).pictures == 49
