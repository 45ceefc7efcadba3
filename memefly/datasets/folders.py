"""Finds pictures by name in the folders that a source may have them in.

>>> PictureFolders(Path("Flickr8k"), ["images", "Flicker8k_Dataset"]).find("1000268201_693b08cb0e.jpg")
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_NUMBER = re.compile(r"(\d{12})\.jpg$")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class PictureFolders:
    def __init__(self, source: Path, names: Iterable[str]):
        """`names` are folders in `source`; the first of them that is there is looked into first, `source` last."""
        self._source = source
        self._folders = [folder for folder in (source / name for name in names) if folder.is_dir()] + [source]

    def find(self, *names: str) -> Path:
        """Where a picture of one of these names is; where one would be expected, if none is there."""
        places = [folder / name for name in names for folder in self._folders]
        return next((place for place in places if _is_file(place)), places[0])

    def find_stem(self, *stems: str) -> Path:
        """As `find`, of names without their ending."""
        return self.find(*(f"{stem}{ending}" for stem in stems for ending in ENDINGS))


def names_in_both_years(name: str) -> list[str]:
    """The names that a picture of COCO has in 2014 and 2017; the one given first."""
    number = _NUMBER.search(name)
    others = [f"{start}{number[1]}.jpg" for start in ("", "COCO_train2014_", "COCO_val2014_")] if number else []
    return list(dict.fromkeys([name, *others]))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # of a name that no file can have
        return False
