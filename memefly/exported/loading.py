"""An exported model of either kind, read back.

>>> model = load("root/serving/captioner")      # its newest version
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memefly.exported.manifest import is_lite, newest_version, read_manifest
from memefly.exported.saved_model import ExportedModel
from memefly.storage import Place

if TYPE_CHECKING:
    from memefly.exported.lite import LiteModel


def load(folder: str | Place) -> ExportedModel | LiteModel:
    """Loads an exported model: a version folder, or the folder of versions, whose newest is taken."""
    version = newest_version(folder)
    if is_lite(read_manifest(version)):
        from memefly.exported.lite import LiteModel

        return LiteModel(version)
    return ExportedModel(version)
