"""What schemathesis sends where the interface takes a picture, or JSON in a form: no document can say which bytes are a
picture."""

import json

import schemathesis
from hypothesis import strategies as st
from told import picture


def pictures(format: str):
    sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
    return sizes.map(lambda size: picture(format, size))


for kind in ("jpeg", "png", "webp", "gif"):
    schemathesis.openapi.media_type(f"image/{kind}", pictures(kind.upper()))
schemathesis.openapi.format("binary", pictures("PNG"))
SHARE = st.floats(0, 1, allow_nan=False)
BOX = st.fixed_dictionaries({"x": SHARE, "y": SHARE, "width": st.floats(0.01, 1), "height": st.floats(0.01, 1)})
WANTED = st.fixed_dictionaries(
    {"texts": st.lists(st.text(max_size=30), max_size=2)},
    optional={"boxes": st.lists(BOX, min_size=2, max_size=4), "size": st.integers(64, 300), "mark": st.booleans()},
)
schemathesis.openapi.format("meme", WANTED.map(json.dumps))
