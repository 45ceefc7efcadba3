import builtins
import io
import json
import os
import sys

import pytest
from wandb_server import WandbServer

from memefly.commands.main import main
from memefly.operations import doctor


def only(found) -> doctor.Found:
    (one,) = list(found)
    return one


@pytest.fixture
def kernel(monkeypatch):
    """What stands in a file of /proc."""

    def says(path: str, content: str) -> None:
        real = builtins.open
        monkeypatch.setattr(
            builtins, "open", lambda name, *a, **k: io.StringIO(content) if name == path else real(name, *a, **k)
        )

    return says


def test_this_machine_is_well(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    found = doctor.examine(tmp_path / "not" / "yet")
    assert {one.about for one in found} >= {"python", "packages", "processor", "memory", "disk", "beam", "wandb"}
    states = {one.about: one for one in found}
    assert states["python"].state == states["packages"].state == "ok", found
    assert f"the lane TFX {doctor.lane()}" in states["python"].told
    assert next(one.told for one in found if one.told.startswith("ROOT")).endswith(str(tmp_path))


def test_a_package_that_is_not_the_locks(monkeypatch):
    real = doctor._version
    had = {"numpy": "1.0", "wandb": None}
    monkeypatch.setattr(doctor, "_version", lambda name: had[name] if name in had else real(name))
    found = only(doctor.packages())
    assert found.state == "wrong" and found.told.startswith("numpy 1.0 where the lock has ")
    assert found.told.endswith("; no wandb") and "make setup" in found.advice


def test_a_python_of_no_lane(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    assert doctor.lane() is None and only(doctor.python()).state == "wrong"


def test_an_older_system(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("glibc", "2.36"))
    wrong, _ = doctor.python()
    assert (wrong.state, wrong.told) == ("wrong", "glibc 2.36, where TFX 1.21 wants 2.39")
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("glibc", "2.100"))
    assert only(doctor.python()).state == "ok", "versions are no decimals"


def test_processors(kernel):
    kernel("/proc/cpuinfo", "model name\t: Old\nflags\t\t: fpu sse2\n")
    assert only(doctor.processor()).state == "wrong"
    kernel("/proc/cpuinfo", "model name\t: New\nflags\t\t: avx avx2 avx512f avx512_bf16 amx_bf16\n")
    found = only(doctor.processor())
    assert found.state == "ok" and found.told.endswith("AVX2, AVX-512, BF16, AMX; computes in bfloat16")


@pytest.mark.parametrize(("kib", "state"), [(1 << 20, "wrong"), (5 << 20, "note")])
def test_memory(kernel, kib, state):
    kernel("/proc/meminfo", f"MemTotal: 99 kB\nMemAvailable:   {kib} kB\n")
    assert only(doctor.memory()).state == state


def test_wandb(monkeypatch, tmp_path):
    with WandbServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        assert only(doctor.wandb()).told.endswith("knows the key")
        monkeypatch.setenv("WANDB_API_KEY", "9" * 40)
        found = only(doctor.wandb())
        assert found.state == "wrong" and "9" * 40 not in found.told + found.advice
    assert only(doctor.wandb()).state == "note", "a server that is away stops no run"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert only(doctor.wandb()).state == "ok"


def test_what_nobody_foresaw_costs_one_answer(monkeypatch):
    monkeypatch.setattr(doctor, "memory", lambda: 1 / 0)
    found = doctor.examine()
    assert [one.state for one in found if "ZeroDivisionError" in one.told] == ["note"] and len(found) > 4


def test_the_command(monkeypatch, capsys, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    wanted = 1 if any(one.state == "wrong" for one in doctor.examine(tmp_path)) else 0
    assert main(["doctor", "--root", str(tmp_path)]) == wanted
    assert "python" in capsys.readouterr().out
    assert main(["doctor", "--tf-serving", "127.0.0.1:9", "--json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["state"] for one in told if one["about"] == "serving"] == ["wrong"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_place_that_is_not_ours(tmp_path):
    tmp_path.chmod(0o500)
    found = [one for one in doctor.disk(tmp_path) if one.told.startswith("ROOT")]
    tmp_path.chmod(0o700)
    assert found[0].state == "wrong"
