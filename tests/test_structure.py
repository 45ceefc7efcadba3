"""The house keeps its order: imports run one way, in no circle, and importing does nothing."""

import ast
import graphlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
FLOORS = ("benchmarks", "pipeline", "components", "memefly")
# Inside memefly/, from the command line down: a room imports from its own line and from those below.
MEMEFLY = (
    ("commands", "__main__"),
    ("operations",),
    ("report", "serving"),
    ("evaluation", "memes"),
    ("exported", "training"),
    ("decoding", "likelihood"),
    ("reranking", "rules"),
    ("encoders", "networks", "metrics", "datasets", "cleaning"),
    ("ngrams",),
    ("safety",),
    ("archives", "downloads"),
    ("devices", "images", "text", "tracking", "provenance", "quiet", "metadata_store"),
    ("layout",),
    ("engine", "inventory", "lock", "textfile"),
    ("storage",),
    ("remote",),
    ("decoding_config", "errors", "sandbox", "schemas", "spelling", "subwords", "temporary"),
)


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports anywhere in it; of `from package import name` the name's own where it has one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            inside = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if file_of(name) else node.module for name in inside}
    return frozenset(found)


def file_of(module: str) -> Path | None:
    path = HOME / module.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((HOME / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("memefly", {"tfx", "tfx_bsl", "components", "pipeline", "tensorflow_transform"}), ("components", {"pipeline"})],
)
def test_imports_point_one_way(folder, forbidden):
    assert files(folder)
    for path in files(folder):
        found = {name.split(".")[0] for name in imports(path)} & forbidden
        assert not found, f"{path.relative_to(HOME)} imports {found}"


def test_components_read_and_write_through_storage():
    """Their artifacts may lie in a store. What stays in ROOT, runs elsewhere, or is told of this machine's folders may
    ask for paths."""
    own = {"container.py", "places.py", "replay.py", "training.py", "training_process.py"}
    for path in files("components"):
        called = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
                  and isinstance(node.func, ast.Name)}  # fmt: skip
        assert path.name in own or not called & {"Path", "open"}, path
        assert path.name in own or "shutil" not in imports(path) or path.parent.name == "version_pusher", path


def test_no_two_files_import_one_another():
    found = {str(p): {str(f) for name in imports(p) if (f := file_of(name)) and f != p} for p in files(*FLOORS)}
    assert sum(map(len, found.values())) > 300
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " -> ".join(str(Path(p).relative_to(HOME)) for p in error.args[1]))


def test_rooms_of_memefly_stand_in_their_order():
    height = {f"memefly.{room}": -i for i, line in enumerate(MEMEFLY) for room in line}
    rooms = {path.relative_to(HOME / "memefly").parts[0].removesuffix(".py") for path in files("memefly")}
    assert rooms - {"__init__"} == {room.removeprefix("memefly.") for room in height}
    for path in files("memefly"):
        own = f"memefly.{path.relative_to(HOME / 'memefly').parts[0].removesuffix('.py')}"
        for name in imports(path):
            other = ".".join(name.split(".")[:2])
            if own in height and other in height:
                assert height[other] <= height[own], f"{path.relative_to(HOME)} stands below {name}, and imports it"


def test_importing_starts_nothing():
    code = (
        "import sys, threading; import memefly, memefly.tracking, memefly.encoders, pipeline.command; "
        "assert not {'tensorflow', 'wandb', 'tfx'} & set(sys.modules), 'heavy imports'; "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HOME)


def test_one_schema_of_the_example():
    """What CaptionExampleGen writes is what the schema says."""
    schema = (HOME / "memefly" / "schemas" / "captions.pbtxt").read_text()
    executor = (HOME / "components" / "caption_example_gen" / "executor.py").read_text()
    written = re.findall(r'^        "(\w+)": (?:feature|numbers)', executor, re.MULTILINE)
    assert set(written) == set(re.findall(r'name: "(\w+)"', schema))


def test_code_that_a_component_runs_is_part_of_its_cache_key():
    """What says how captions are cut, decoded and trained on, as far as it is imported; what only reads files, tells or
    starts processes changes no artifact."""
    source = ast.parse((HOME / "pipeline" / "pipeline.py").read_text(encoding="utf-8"))
    assigned = {node.targets[0].id: node.value for node in source.body if isinstance(node, ast.Assign)}
    lists = {name: ast.literal_eval(value) for name, value in assigned.items() if name.endswith("_CODE")}
    for folder, keyed in (
        ("components/caption_transform", lists["_TRANSFORM_CODE"]),
        ("components/caption_trainer", lists["_TRAINER_CODE"]),
    ):
        todo, reached = list((HOME / folder).glob("*.py")), set()
        while todo:
            for name in imports(todo.pop()):
                path = file_of(name)
                if path and name.startswith("memefly.") and path not in reached:
                    reached.add(path)
                    todo.append(path)
        names = {str(path.relative_to(HOME)) for path in reached}
        asides = {
            "devices",
            "errors",
            "quiet",
            "provenance",
            "sandbox",
            "temporary",
            "textfile",
            "tracking",
            "downloads",
        }
        asides |= {"layout", "remote", "storage"}
        asides |= {"archives", "exported", "schemas", "images"}  # the exported model's are named one by one
        left = {n for n in names if not any(n == k or n.startswith(k + "/") for k in keyed)}
        assert {n for n in left if Path(n).parts[1].removesuffix(".py") not in asides} == set(), folder
