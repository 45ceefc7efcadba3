"""For the site: examples in docstrings (`>>> …`) are code, indented or not."""

import re

import griffe

_EXAMPLE = re.compile(r"^((?: {4})?)>>> .*(?:\n(?!\s*\n).*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match) -> str:
    indent = found.group(1)
    lines = [line.removeprefix(indent) for line in found.group(0).split("\n")]
    return "\n".join(["```pycon", *lines, "```"])
