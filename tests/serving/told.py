"""A backend that says what it is told to, and pictures of one colour."""

import io

import numpy as np
from PIL import Image

from memefly.exported.captions import Caption, Looked
from memefly.serving.backends import Answer, Model, Status

MODEL = Model(7, "d1ge57")


def picture(format: str = "PNG", size: tuple[int, int] = (8, 6), **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(out, format=format, **options)
    return out.getvalue()


class Told:
    """A backend that says what it was asked."""

    def __init__(self, raises: Exception | None = None):
        self.raises, self.asked, self.closed = raises, [], False
        self.captions = [Caption("a red\nsquare", -0.12345), Caption("red", -2.0)]

    def caption(self, data, knobs):
        if self.raises:
            raise self.raises
        self.asked.append((data[:4], knobs))
        return Answer(self.captions, MODEL)

    def look(self, data, caption):
        words = caption.split()
        return Looked(words, np.full((len(words), 2, 2), 0.25))

    def status(self):
        return Status(self.raises is None, MODEL, "told")

    def close(self):
        self.closed = True
