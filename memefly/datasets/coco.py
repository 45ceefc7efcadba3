"""Reads COCO's captions (Chen et al., arXiv 1504.00325) of 2014 and 2017, and Karpathy's split files.

    >>> convert(Path("coco"), writer, year=2014, limit=1000)

Wanted: `annotations/captions_train2017.json` and `captions_val2017.json`, and the pictures in `train2017/` and
`val2017/`, here or in `images/`. Both years hold the same pictures under other names and in other parts, so those of
one year will do for the captions of the other, and one year is read, never both. The official train part becomes
`train`, a share of it (by hash) `val`; the official val part becomes `eval`.

With `download`, what the folder lacks is fetched: the archives, or, with a `limit`, the captions and so many pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memefly import archives, textfile
from memefly.datasets import karpathy
from memefly.datasets.folders import PictureFolders, names_in_both_years
from memefly.datasets.gathered import Gathered, Picture
from memefly.datasets.splits import split_of
from memefly.datasets.writer import DatasetWriter
from memefly.downloads import Downloader, Remote
from memefly.errors import DataError

YEARS = (2017, 2014)  # the first that is there, where none is named
PARTS = ("train", "val")
VAL_SHARE = 0.05
_CAPTIONS, _PICTURES = r"annotations/captions_\w+\.json", r"(train|val)\d{4}/\w+\.jpg"  # of the archives
_KARPATHY = re.compile(r"dataset_\w+\.json")


@dataclass(frozen=True)
class Archive:
    name: str
    address: str
    size: int
    md5: str


ADDRESS = "http://images.cocodataset.org"
ARCHIVES = {
    2014: (
        Archive("annotations_trainval2014.zip", "annotations", 252_872_794, "0a379cfc70b0e71301e0f377548639bd"),
        Archive("train2014.zip", "zips", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88"),
        Archive("val2014.zip", "zips", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3"),
    ),
    2017: (
        Archive("annotations_trainval2017.zip", "annotations", 252_907_541, "f4bbac642086de4f52a3fdda2de5fa2c"),
        Archive("train2017.zip", "zips", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
        Archive("val2017.zip", "zips", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80"),
    ),
}


def convert(
    source: Path,
    writer: DatasetWriter,
    limit: int | None = None,
    year: int | None = None,
    val: float = VAL_SHARE,
    download: bool = False,
) -> None:
    """`limit` keeps that many pictures, drawn evenly (by hash) from both parts; `val` is the share of the official
    train part that is not trained on, above 0 and below 1. Raises `DataError` where there are no captions of that year,
    and `DownloadError` where an archive cannot be had; a picture that cannot be had is left out."""
    if _KARPATHY.fullmatch(source.name) and source.is_file():
        return karpathy.convert(source, writer, limit)
    if source.is_file():
        source = source.parents[1] if source.parent.name == "annotations" else source.parent
    if not 0 < val < 1:
        raise DataError(f"val is a share of the train part, above 0 and below 1; got {val:g}")
    if year is not None and year not in ARCHIVES:
        raise DataError(f"captions of COCO are of {' and '.join(map(str, sorted(ARCHIVES)))}; got year {year}")
    if download:
        year = year or YEARS[0]
        _fetch_archives(source, year, pictures=limit is None)
    year = year or next((one for one in YEARS if _annotations(source, one, "train").is_file()), YEARS[0])
    missing = [path for part in PARTS if not (path := _annotations(source, year, part)).is_file()]
    if missing:
        raise DataError(
            f"{source} is not COCO of {year}: it lacks {' and '.join(path.name for path in missing)}, in annotations/ "
            "or beside it; with --download they are fetched"
        )
    with Gathered() as gathered:
        for part in PARTS:
            _gather(writer, gathered, _annotations(source, year, part), part)
        failed = _fetch_pictures(source, gathered, limit) if download and limit is not None else {}
        places = _places(source)
        for picture in gathered.pictures(limit):
            _add(writer, picture, places, val, failed)


def _annotations(source: Path, year: int, part: str) -> Path:
    name = f"captions_{part}{year}.json"
    return next((path for path in (source / "annotations" / name, source / name) if path.is_file()), source / name)


def _gather(writer: DatasetWriter, gathered: Gathered, path: Path, part: str) -> None:
    """Pictures first, then captions, which stand in any order; as many times through the file."""
    for number, image in enumerate(_items(path, "images")):
        wrong = _lacks(image, {"id": int, "file_name": str})
        if wrong or Path(image["file_name"]).name != image["file_name"]:
            detail = f"{path.name}, image {number}: {wrong or 'expected the name of a file'}, got {_short(image)}"
            writer.leave_out(path.name, number, "not_a_record", detail)
            continue
        about = {"name": image["file_name"], "part": part, "file": path.name, "url": str(image.get("coco_url") or "")}
        gathered.picture(str(image["id"]), number, **about)
    for number, annotation in enumerate(_items(path, "annotations")):
        wrong = _lacks(annotation, {"image_id": int, "caption": str})
        if not wrong and not gathered.caption(
            str(annotation["image_id"]), " ".join(annotation["caption"].split()), number, only_known=True
        ):
            wrong = "there is no image of that id"
        if wrong:
            detail = f"{path.name}, annotation {number}: {wrong}, got {_short(annotation)}"
            writer.leave_out(path.name, number, "not_a_caption", detail, "caption")


def _items(path: Path, name: str) -> Iterator[Any]:
    return textfile.stream_json(path, f"{name}.item", f"a list of {name}")


def _lacks(value: Any, wanted: dict[str, type]) -> str:
    if not isinstance(value, dict):
        return "expected an object"
    missing = [f"{key} ({kind.__name__})" for key, kind in wanted.items() if type(value.get(key)) is not kind]
    return f"expected {' and '.join(missing)}" if missing else ""


def _short(value: Any) -> str:
    return textfile.to_json(value)[:200]


def _add(writer: DatasetWriter, picture: Picture, places: PictureFolders, val: float, failed: dict[str, str]) -> None:
    name, part, file = picture.about["name"], picture.about["part"], picture.about["file"]
    if not picture.captions:
        return writer.leave_out(file, picture.line, "no_captions", f"{name} has no caption in {file}")
    if name in failed:
        return writer.leave_out(file, picture.line, "not_downloaded", f"{name}: {failed[name]}")
    found = places.find(*names_in_both_years(name))
    data = writer.read_picture(found, file, picture.line, f"{name} is in {file}, but {found} cannot be read")
    if data is not None:
        # By the number, which both years have, and not by the name.
        split = split_of(picture.key, {"train": 1 - val, "val": val}) if part == "train" else "eval"
        writer.add(name, data, picture.captions, file=found, split=split)


def _fetch_archives(source: Path, year: int, pictures: bool) -> None:
    """Fetches and unpacks what is not there; archives stay, so that nothing is fetched twice."""
    downloader = Downloader()
    for archive in ARCHIVES[year] if pictures else ARCHIVES[year][:1]:
        url = f"{ADDRESS}/{archive.address}/{archive.name}"
        path = downloader.fetch(Remote(url, source / archive.name, archive.size, archive.md5))
        archives.unzip(path, source, _CAPTIONS if archive.address == "annotations" else _PICTURES)


def _places(source: Path) -> PictureFolders:
    folders = [f"{above}{part}{year}" for above in ("", "images/") for year in YEARS for part in PARTS]
    return PictureFolders(source, [*folders, "images"])


def _fetch_pictures(source: Path, gathered: Gathered, limit: int) -> dict[str, str]:
    """By name, why a picture could not be had."""
    places = _places(source)

    def wanted() -> Iterator[Remote]:
        for picture in gathered.pictures(limit):
            name, url = picture.about["name"], picture.about["url"]
            if url and not places.find(*names_in_both_years(name)).is_file():
                yield Remote(url, source / "images" / name, picture=True)

    return Downloader().fetch_all(wanted(), source / "failed.jsonl")
