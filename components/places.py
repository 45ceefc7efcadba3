"""Folders that may lie elsewhere tomorrow, and the names that ML Metadata knows them by.

    >>> places = Places({"root": "/srv/memefly", "data": "/srv/pictures"})
    >>> places.absolute("root://artifacts/Trainer/model/7")
    '/srv/memefly/artifacts/Trainer/model/7'
    >>> with places.open():
    ...     Launcher(…, custom_executor_operators=operators(beam_arguments)).launch()

URIs of artifacts and paths in parameters are part of TFX's cache keys. With these names they stay what they are when a
ROOT is moved, copied, or mounted in a container. TFX itself reads and writes them through `PlacesFilesystem`; executors
never see them: `operators` hands them absolute paths, and takes what they leave behind back under its name.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx.dsl.io import fileio, filesystem, filesystem_registry
from tfx.orchestration.portable import beam_executor_operator, data_types, python_executor_operator
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2, placeholder_pb2
from tfx.types import artifact_utils, standard_artifacts

from memefly import inventory, layout
from memefly.storage import Place

# `weights` is a file, the encoder's, and `package` the folder that this package lies in: containers know both.
SCHEMES = ("root://", "data://", "weights://", "package://")
_current: Places | None = None
_IMAGES = ("--sdk_container_image", "--worker_harness_container_image", "--requirements_file", "--setup_file")


class Places:
    """Where the folders of `SCHEMES` are now."""

    def __init__(self, folders: Mapping[str, str | Place]):
        """`folders`: by a scheme's name, `root` and, where they are known, the others; a part of one, such as
        `root://artifacts`, may lie elsewhere than the rest."""
        named = {name if "://" in name else f"{name}://": str(folder) for name, folder in folders.items()}
        self._folders = dict(sorted(named.items(), key=lambda one: -len(one[0])))

    @classmethod
    def of_root(cls, root: str | Path, **others: str | Place) -> Places:
        """Of a ROOT, whose parts are where its `memefly.layout` says."""
        root = Path(root).resolve()
        there = layout.of(root)
        apart = {f"root://{folder}": getattr(there, name) for name, folder in layout.INSIDE.items()}
        return cls({"root": root, **{name: at for name, at in apart.items() if at != root / name[7:]}, **others})

    def absolute(self, uri: str) -> str:
        """The path that a URI means; what has no scheme of ours as it is."""
        for name, folder in self._folders.items():
            if uri == name or uri.startswith(name if name.endswith("://") else f"{name}/"):
                return os.path.join(folder, uri[len(name) :].lstrip("/")).rstrip("/")
        return uri

    def relative(self, path: str) -> str:
        """The URI of a path inside one of the folders; other text as it is."""
        for name, folder in self._folders.items():
            if path == folder or path.startswith(folder.rstrip("/") + "/"):
                inside = path[len(folder) :].lstrip("/")
                return name + inside if name.endswith("://") or not inside else f"{name}/{inside}"
        return path

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """While the block runs, TFX's own file operations in this process know these folders."""
        global _current
        before, _current = _current, self
        try:
            yield
        finally:
            _current = before


def current() -> Places:
    """The places that are open in this process; none is known where none are."""
    return _current or Places({})


class PlacesFilesystem(filesystem.Filesystem):
    """`tfx.dsl.io.fileio` on URIs of `SCHEMES`."""

    SUPPORTED_SCHEMES = list(SCHEMES)

    @staticmethod
    def open(name, mode="r"):
        return fileio.open(_path(name), mode)

    @staticmethod
    def copy(src, dst, overwrite=False):
        fileio.copy(_path(src), _path(dst), overwrite)

    @staticmethod
    def exists(path):
        return fileio.exists(_path(path))

    @staticmethod
    def glob(pattern):
        return [current().relative(found) for found in fileio.glob(_path(pattern))]

    @staticmethod
    def isdir(path):
        return fileio.isdir(_path(path))

    @staticmethod
    def listdir(path):
        return fileio.listdir(_path(path))

    @staticmethod
    def makedirs(path):
        fileio.makedirs(_path(path))

    @staticmethod
    def mkdir(path):
        fileio.mkdir(_path(path))

    @staticmethod
    def remove(path):
        fileio.remove(_path(path))

    @staticmethod
    def rename(src, dst, overwrite=False):
        fileio.rename(_path(src), _path(dst), overwrite)

    @staticmethod
    def rmtree(path):
        fileio.rmtree(_path(path))

    @staticmethod
    def stat(path):
        return fileio.stat(_path(path))

    @staticmethod
    def walk(top, topdown=True, onerror=None):
        for folder, folders, files in fileio.walk(_path(top), topdown, onerror):
            yield current().relative(folder), folders, files


filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(PlacesFilesystem, priority=0)


def _path(uri) -> str:
    path = current().absolute(os.fsdecode(uri))
    if path.startswith(SCHEMES):
        raise ValueError(f"{path}: no such place is open in this process")
    return path


def resolve(value: Any) -> Any:
    """A parameter with the paths in it absolute; JSON in it too, which is how TFX hands on what is no single value."""
    if isinstance(value, str):
        if any(f'"{scheme}' in value for scheme in SCHEMES):
            return json.dumps(resolve(json.loads(value)))
        return current().absolute(value)
    if isinstance(value, dict):
        return {key: resolve(one) for key, one in value.items()}
    return [resolve(one) for one in value] if isinstance(value, list) else value


def run_resolved(
    run: Callable[[data_types.ExecutionInfo], execution_result_pb2.ExecutorOutput], info: data_types.ExecutionInfo
) -> execution_result_pb2.ExecutorOutput:
    """Runs an executor on absolute paths, and gives what it says of its outputs their names back."""
    places, absolute = current(), copy.copy(info)
    for artifact in (one for those in info.input_dict.values() for one in those):
        inventory.wait(places.absolute(artifact.uri))
    for side in ("input_dict", "output_dict"):
        artifacts = copy.deepcopy(getattr(info, side))
        for artifact in (one for those in artifacts.values() for one in those):
            rewrite(artifact.mlmd_artifact, places.absolute)
        setattr(absolute, side, artifacts)
    absolute.exec_properties = {key: resolve(value) for key, value in info.exec_properties.items()}
    for path in ("execution_output_uri", "stateful_working_dir", "tmp_dir"):
        setattr(absolute, path, places.absolute(getattr(info, path)))
    output = run(absolute)
    for artifact in (one for those in absolute.output_dict.values() for one in those):
        named = artifact.split_names if artifact.type_name == standard_artifacts.Examples.TYPE_NAME else ""
        inventory.write(artifact.uri, artifact_utils.decode_split_names(named) if named else ())
    output.ClearField("execution_properties")  # they are the execution's parameters, and those are known
    for artifact in (one for those in output.output_artifacts.values() for one in those.artifacts):
        rewrite(artifact, places.relative)
    return output


def rewrite(artifact, as_: Callable[[str], str]) -> None:
    """Makes of the paths of an ML Metadata artifact, its own and those in its properties, what `as_` makes of them."""
    artifact.uri = as_(artifact.uri)
    for value in artifact.custom_properties.values():
        if value.HasField("string_value"):
            value.string_value = as_(value.string_value)


def _expression(argument: str) -> placeholder_pb2.PlaceholderExpression:
    expression = placeholder_pb2.PlaceholderExpression()
    expression.value.string_value = argument
    return expression


class PythonOperator(python_executor_operator.PythonExecutorOperator):
    def run_executor(self, execution_info):
        return run_resolved(super().run_executor, execution_info)


class BeamOperator(beam_executor_operator.BeamExecutorOperator):
    ARGUMENTS: tuple[str, ...] = ()  # of Beam

    def __init__(self, executor_spec, platform_config=None):
        super().__init__(executor_spec, platform_config)
        given = [*self.ARGUMENTS]
        # Where nothing says what workers find TFX in, TFX makes a package of itself for them, which takes two seconds a
        # component. Here there are no workers, or they have this package.
        if not any(argument.startswith(_IMAGES) for argument in given):
            given.append("--sdk_container_image=none")
        self.beam_pipeline_args.extend(map(_expression, given))

    def run_executor(self, execution_info, make_beam_pipeline_fn=None):
        return run_resolved(
            lambda info: super(BeamOperator, self).run_executor(info, make_beam_pipeline_fn), execution_info
        )


def operators(beam: Sequence[str]) -> dict:
    """For TFX's Launcher, in the place of its own, with Beam's arguments. They are no part of a node's cache key there,
    as they would be in the pipeline: where something is computed changes nothing of what comes out."""
    bound = type("BoundBeamOperator", (BeamOperator,), {"ARGUMENTS": tuple(beam)})
    return {
        executable_spec_pb2.PythonClassExecutableSpec: PythonOperator,
        executable_spec_pb2.BeamExecutableSpec: bound,
    }
