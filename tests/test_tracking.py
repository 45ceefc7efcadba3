"""W&B, and a server that does not do what one hopes for."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from ports import free
from wandb_server import KEY, WandbServer

from memefly import tracking
from memefly.errors import UsageError

HOME = Path(__file__).parents[1]
COLUMNS, ROWS = ["picture", "caption"], [[Image.new("RGB", (8, 8)), "a cat"]]


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """W&B reads its environment once a process."""
    import wandb

    for part in ("MODE", "API_KEY", "BASE_URL", "PROJECT", "ENTITY"):
        monkeypatch.delenv(f"WANDB_{part}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # with no settings and no netrc in it
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def with_server(monkeypatch, server):
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    return server


def track(root: Path) -> None:
    with tracking.Run(root, job_type="train", config={"a": 1}) as run:
        for step in range(3):
            run.log({"loss": 3.0 - step}, step=step)
        run.log_table("samples", COLUMNS, ROWS, step=3)
        run.summarize({"best": 0.5})


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "memefly.tracking"]


def kept(root: Path) -> list[str]:
    """What sort of runs lie there."""
    return sorted(path.name.partition("run-")[0] + "run" for path in folders(root) if list(path.glob("*.wandb")))


def folders(root: Path) -> list[Path]:
    return [path for path in (root / "wandb").glob("*run-*") if not path.is_symlink()]


def synced(root: Path, server: WandbServer) -> dict:
    """What `wandb sync` sends of the runs that are kept there: the last value of each key."""
    server.behave("well")
    server.received.clear()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root), "TMPDIR": str(root)} | server.environment()
    for folder in sorted(folders(root)):
        command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    values: dict = {}
    for body in server.received:
        for part in body.get("files", {}).values():
            for line in part["content"]:
                values |= json.loads(line)
    return values


@pytest.mark.slow
def test_without_a_key_runs_are_offline_and_nobody_is_asked(tmp_path, monkeypatch, server, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert tracking.check(tmp_path) == "offline"
    track(tmp_path)
    assert kept(tmp_path) == ["offline-run"] and not told(caplog) and not server.asked


@pytest.mark.slow
def test_disabled_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track(tmp_path)
    assert not kept(tmp_path)


@pytest.mark.slow
def test_a_server_that_answers_gets_the_run(tmp_path, with_server, caplog):
    track(tmp_path)
    assert kept(tmp_path) == ["run"] and not told(caplog)
    assert "loss" in json.dumps(with_server.received) and any("Artifact" in asked for asked in with_server.asked)
    assert not (tmp_path / "home").exists(), "no key is written down, nor a log outside ROOT"


@pytest.mark.slow
def test_what_only_the_user_can_put_right_is_refused(tmp_path, monkeypatch, with_server):
    def refused(**variables: str) -> str:
        with monkeypatch.context() as patch:
            for key, value in variables.items():
                patch.setenv(f"WANDB_{key}", value)
            import wandb

            wandb.teardown()
            with pytest.raises(UsageError) as told:
                tracking.check(tmp_path)
        return str(told.value)

    assert refused(MODE="onlin") == (
        "WANDB_MODE=onlin: W&B does not take it: "
        "Input should be 'online', 'offline', 'shared', 'disabled', 'dryrun' or 'run'"
    )
    assert "Invalid project name 'a/b'" in refused(PROJECT="a/b")
    assert refused(API_KEY="9" * 40) == (
        f"WANDB_API_KEY: W&B at {with_server.url} does not know this key; take the one of "
        f"{with_server.url}/authorize, or set WANDB_MODE=offline"
    )
    assert "wants a key" in refused(API_KEY="")
    assert "WANDB_ENTITY" in refused(ENTITY="nobody") and "no entity 'nobody'" in refused(ENTITY="nobody")
    with_server.behave("401")
    assert "does not know this key" in refused(API_KEY=KEY[::-1])
    with_server.behave("well")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert tracking.check(tmp_path) == "online"


# What the server does, when, and what is told of it.
FAULTS = [
    ("refuse", "at once", "is out of reach (ConnectionError)"),
    ("hang", "at once", "does not answer within 5 s"),
    ("hang up", "at once", "is out of reach"),
    ("page", "at once", "answers with something else than W&B does (status 200)"),
    ("500", "at once", "(status 500)"),
    ("rubbish", "at once", "failed ("),  # of which W&B's own process dies
    ("500", "after the first answer", "W&B "),  # who tells of it first is chance
    ("hang", "amidst", "does not answer within 5 s"),
    ("rubbish", "amidst", "failed ("),
    ("hang", "at the end", "does not answer within 5 s"),
]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(("how", "when", "expected"), FAULTS)
def test_no_server_fails_or_holds_a_run(tmp_path, with_server, monkeypatch, caplog, how, when, expected):
    if how == "refuse":
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free(1)[0]}")
    elif when in ("at once", "after the first answer"):
        with_server.behave(how, after=0 if when == "at once" else 1)
    begun = time.monotonic()
    with tracking.Run(tmp_path, job_type="train", config={}) as run:
        run.log({"first": 3.0}, step=0)
        if when == "amidst":
            with_server.behave(how)
        run.log_table("samples", COLUMNS, ROWS, step=1)
        run.log({"loss": 2.0}, step=2)
        if when == "at the end":
            with_server.behave(how)
    with tracking.Run(tmp_path, job_type="gate", config={}) as run:
        run.summarize({"bleu4": 0.25})
    assert time.monotonic() - begun < 30
    (line,) = told(caplog)
    assert expected in line and "`memefly wandb-sync --root ROOT`" in line
    assert kept(tmp_path).count("offline-run") == (1 if when == "at the end" else 2)

    if how != "refuse":  # nothing is lost
        import wandb

        with_server.behave("well")
        wandb.teardown()
        said = synced(tmp_path, with_server)
        assert said["first"] == 3.0 and said["loss"] == 2.0 and said["bleu4"] == 0.25 and "samples" in said


@pytest.mark.slow
def test_a_run_inside_another_is_that_one(tmp_path):
    with tracking.Run(tmp_path, job_type="sweep", config={}) as outer:
        with tracking.Run(tmp_path, job_type="train", config={}) as inner:
            inner.log({"loss": 1.0}, step=0)
        assert inner.run is outer.run
        outer.log({"loss": 0.5}, step=1)
        outer.summarize({"best": 0.5})
        assert outer.run.summary["best"] == 0.5, "it goes on"
    assert kept(tmp_path) == ["offline-run"]


def test_what_wandb_raises_costs_nobody_else_a_thing(tmp_path, monkeypatch, caplog):
    with tracking.Run(tmp_path, job_type="train", config={}) as run:

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(run.run, "log", full)
        run.log({"loss": 1.0})
        run.log({"loss": 2.0})
    assert told(caplog) == ["W&B has not kept all of this run: it failed (OSError: [Errno 28] No space left on device)"]


@pytest.mark.slow
def test_a_report_of_all_that_is_tracked(tmp_path, with_server, monkeypatch):
    import wandb

    from memefly.tracking import wandb_report

    assert wandb_report.save(tmp_path, "How they get on").startswith(f"{with_server.url}/user/memefly/reports/")
    (view,) = with_server.views
    assert (view["displayName"], view["projectName"], view["entityName"]) == ("How they get on", "memefly", "user")
    source = "".join(path.read_text() for path in (HOME / "pipeline").glob("*.py"))
    source += "".join(path.read_text() for path in (HOME / "components").rglob("*.py"))
    tables = {*re.findall(r'log_table\(\s*"([^"]+)"', source)}
    assert len(tables) >= 10 and {table for table in tables if json.dumps(table) in view["spec"]} == tables
    assert tables == {table for _, _, part in wandb_report.PARTS for table in part}
    jobs = {*re.findall(r'"name":"jobType"},"op":"=","value":"([a-z-]+)"', view["spec"])}
    assert jobs == {"log-raw-data", "process-data", "train", "evaluate"}
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    with pytest.raises(UsageError, match="wants a key"):
        wandb_report.save(tmp_path, "x")


@pytest.mark.slow
def test_who_is_not_online_is_told_before_anything_is_sent(tmp_path, monkeypatch, with_server):
    import wandb

    from memefly.tracking import sync

    with pytest.raises(UsageError, match="expected ROOT of `memefly run"):
        sync.sync(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UsageError, match="leave WANDB_MODE out"):
        sync.sync(tmp_path)
    assert not with_server.asked
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UsageError, match="wants a key"):
        sync.sync(tmp_path)
    # A key may stand in netrc as well.
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / ".netrc").write_text(f"machine 127.0.0.1 login user password {KEY}\n")
    (home / ".netrc").chmod(0o600)
    wandb.teardown()
    assert sync.sync(tmp_path) == sync.Said() and "WANDB_MODE" not in os.environ


@pytest.mark.slow
def test_what_was_tracked_offline_is_sent_once(tmp_path, monkeypatch, server):
    from memefly.tracking import sync

    monkeypatch.setenv("WANDB_MODE", "offline")
    track(tmp_path)
    (tmp_path / "runs").mkdir()
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    import wandb

    wandb.teardown()
    server.behave("500", after=4)
    assert sync.sync(tmp_path).left
    server.behave("well")
    told: list[str] = []
    said = sync.sync(tmp_path, told.append)
    assert (said.runs, said.left) == (1, []) and told[0].endswith("  sent")
    assert "loss" in json.dumps(server.received)
    assert sync.sync(tmp_path) == sync.Said()
