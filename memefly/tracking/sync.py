"""Says to W&B's server what ROOT holds for it: runs that were tracked offline, and the manifest of lineage.

    >>> said = sync("root", told=print)
    >>> said.runs, said.entries, said.left
    (3, 9, [])

What the server has is noted as soon as it has it, so a call that breaks off is gone on with by the next one, from this
machine or another that has ROOT, and what is said twice all the same changes nothing there: a run has its id, an
artifact the digest of its content, an alias its artifact.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from memefly.errors import UsageError, first_line
from memefly.tracking import manifest, server
from memefly.tracking.manifest import Artifact, Entry, Link
from memefly.tracking.run import CUT

log = logging.getLogger("memefly.tracking")

REGISTRY = (
    "MEMEFLY_WANDB_REGISTRY"  # the name of a registry of W&B's, where promotions are to show; in none where unset
)
_TO_SAY = 600.0  # seconds for one artifact, as long as the server answers
_RUN = 1800.0  # for one run


@dataclass
class Said:
    runs: int = 0  # tracked offline, that the server has now
    entries: int = 0  # of the manifest, that it has now
    left: list[str] = field(default_factory=list)  # what it has not, and why

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sync(root: str | Path, told: Callable[[str], None] = lambda line: None) -> Said:
    """All that the server has not got yet, in the order in which it was; `told` hears a line for each thing. Raises
    `UsageError` as `server.wanted` does."""
    root = Path(root).resolve()
    if not (root / "runs").is_dir() and not (root / "wandb").is_dir():
        raise UsageError(f"no runs in {root}: expected ROOT of `memefly run --root ROOT`")
    said = Said()
    with server.wanted(root):
        for folder in _waiting(root):
            if why := _send(folder):
                said.left.append(f"{folder.name}: {why}")
                told(f"{folder.name}  not sent: {why}")
            else:
                said.runs += 1
                told(f"{folder.name}  sent")
        _say(root, said, told)
    return said


def say(root: str | Path) -> Said:
    """The manifest alone, while a run is at work; what the server does not take is told once, and waits for `sync`."""
    said, root = Said(), Path(root).resolve()
    if not (os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE")):
        return said  # without a look at W&B, which takes its time to be imported
    if server.check(root) in server.ONLINE:
        with server.environment(root):
            _say(root, said, log.info)
        if said.left:
            log.warning("W&B has not got all of the lineage yet (%s); `memefly wandb-sync` says it again", said.left[0])
    return said


def _waiting(root: Path) -> list[Path]:
    """Folders of runs that the server has not got, or not all of, the oldest first."""
    found = [folder for folder in (root / "wandb").glob("*run-*") if list(folder.glob("run-*.wandb"))]
    of = [f for f in found if f.name.startswith("offline-") or (f / CUT).exists()]
    return sorted((f for f in of if not list(f.glob("*.synced"))), key=lambda f: f.name.removeprefix("offline-"))


def _send(folder: Path) -> str:
    """Has W&B's own command send a run; why it did not, or nothing."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-online"]
    command += ["-p", server.project(), *(["-e", entity] if (entity := os.environ.get("WANDB_ENTITY")) else [])]

    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with subprocess.Popen([*command, str(folder)], text=True, start_new_session=True, **pipes) as process:
        try:
            output, _ = server.within(_RUN, process.communicate, server.ask)
        except (TimeoutError, server.OutOfReach) as error:
            return first_line(error)
        finally:  # with the processes of its own, which go on trying for hours
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0 and list(folder.glob("*.synced")):
        (folder / CUT).unlink(missing_ok=True)
        return ""
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"`wandb sync` ended with {process.returncode}"


def _say(root: Path, said: Said, told: Callable[[str], None]) -> None:
    place = _place()
    has = manifest.acknowledged(root, place)
    for entry in manifest.read(root):
        parts = [part for part in _parts(entry) if (entry.id, part[0]) not in has]
        if not parts:
            continue
        try:
            with _run_of(root, entry) as run:
                for name, work, what in parts:
                    server.within(_TO_SAY, partial(work, root, run), server.ask)
                    manifest.acknowledge(root, place, entry.id, name)
                    told(f"{entry.job_type}  {what}")
            said.entries += 1
        except Exception as error:
            why = f"{entry.job_type} of {entry.run or entry.when}: {first_line(error)}"
            said.left.append(why)
            told(f"{entry.job_type}  not said: {first_line(error)}")
            if isinstance(error, (server.OutOfReach, TimeoutError)):
                return


def _place() -> str:
    """The server, and the project there."""
    import wandb

    settings = wandb.setup().settings
    return "/".join(filter(None, (str(settings.base_url).rstrip("/"), settings.entity, server.project())))


@contextlib.contextmanager
def _run_of(root: Path, entry: Entry) -> Iterator[Any]:
    """The run that the entry belongs to, taken up again; one of its own where it has none."""
    import wandb

    run = server.within(
        _TO_SAY,
        lambda: wandb.init(
            dir=str(root), mode="online", id=entry.wandb_run or entry.id, resume="allow", job_type=entry.job_type,
            config=entry.config, project=server.project(), reinit="create_new",
            name=None if entry.wandb_run else f"{entry.job_type} {entry.when[:19].replace('T', ' ')}",
            settings=wandb.Settings(console="off", init_timeout=server.PATIENCE * 4),
        ),
        server.ask,
    )  # fmt: skip
    try:
        yield run
    finally:
        with contextlib.suppress(Exception):
            server.within(_TO_SAY, run.finish, server.ask)


_Part = tuple[str, Callable[[Path, Any], None], str]


def _parts(entry: Entry) -> Iterator[_Part]:
    """What an entry has to say: a name to be acknowledged by, the work, and what it is in words."""
    for used in entry.uses:
        yield f"uses {used.name}", partial(_use, used), f"used {used.name} {used.alias}"
    for made in entry.makes:
        yield f"makes {made.name}", partial(_make, made), f"made {made.name} {made.alias}"
    for link in entry.links:
        labels = ", ".join(link.aliases)
        yield f"links {labels}", partial(_link, link), f"{labels} on {link.artifact.name} {link.artifact.alias}"


def _use(used: Artifact, root: Path, run: Any) -> None:
    run.use_artifact(f"{run.entity}/{run.project}/{used.name}:{used.alias}", type=used.type)


def _make(made: Artifact, root: Path, run: Any) -> None:
    import wandb

    found = wandb.Artifact(
        made.name, made.type, description=made.description or None, metadata={**made.metadata, "sha256": made.digest}
    )
    with found.new_file("digest.txt") as file:  # what it is known by, also where all else is only referred to
        file.write(made.digest + "\n")
    for name, place in sorted(made.files.items()):
        path = root / place
        if path.is_file():
            found.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        else:
            log.warning("W&B gets %s %s without %s: %s is gone", made.name, made.alias, name, place)
    for name, uri in sorted(made.references.items()):
        found.add_reference(uri, name=name, checksum=False)
    logged = run.log_artifact(found, aliases=[made.alias, *made.aliases])
    logged.wait(timeout=int(_TO_SAY))


def _link(link: Link, root: Path, run: Any) -> None:
    """W&B takes an alias from the version that it was on."""
    wanted = f"{run.entity}/{run.project}/{link.artifact.name}:{link.artifact.alias}"
    artifact = run.use_artifact(wanted, type=link.artifact.type)
    artifact.aliases = [*artifact.aliases, *(alias for alias in link.aliases if alias not in artifact.aliases)]
    artifact.save()
    if link.registry and (registry := os.environ.get(REGISTRY)):
        run.link_artifact(artifact, f"wandb-registry-{registry}/{link.artifact.name}", aliases=list(link.aliases))
