"""Downloads from a local server that misbehaves, and archives that do."""

import dataclasses
import gzip
import hashlib
import io
import json
import stat
import time
import zipfile

import pytest
from file_server import FileServer, Served
from PIL import Image

from memefly import archives
from memefly.downloads import Downloader, Policy, Remote
from memefly.errors import DataError, DownloadError

DATA = bytes(range(256)) * 2000  # half a megabyte
# Patient but where a stall is what is looked at: a machine with other things to do is no server that stalls.
QUICK = Policy(tries=4, patience=10.0, first_pause=0.01, longest_pause=0.3, largest=1 << 22)
HASTY = dataclasses.replace(QUICK, patience=0.4)


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG")
    return file.getvalue()


def fetch(server, path, target, policy=QUICK, **wanted):
    return Downloader(policy).fetch(Remote(server.url(path), target, **wanted), progress=False)


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


MD5 = hashlib.md5(DATA).hexdigest()


@pytest.mark.parametrize(
    ("served", "ranges"),
    [
        (Served(), [""]),
        (Served(truncate_after=100_000, times=2), ["", "bytes=100000-", "bytes=200000-"]),
        (Served(stall_after=65_536 * 2, times=1), ["", "bytes=131072-"]),
        (Served(truncate_after=100_000, times=1, ranges=False), ["", "bytes=100000-"]),
        (Served(truncate_after=100_000, times=1, etag=""), ["", ""]),  # who says no mark may send another file next
        (Served(truncate_after=100_000, times=1, shifted=True), ["", "bytes=100000-", ""]),
        (Served(statuses=[503, 500]), ["", "", ""]),
        (Served(statuses=[429], retry_after="1"), ["", ""]),
        (Served(declared=len(DATA) + 5, times=1), ["", f"bytes={len(DATA)}-", ""]),  # a lie: nothing comes after that
        (Served(dribble=True, times=1), None),
    ],
)
def test_what_can_be_had_is_had_whole(tmp_path, served, ranges):
    served.data = DATA
    with FileServer({"/a": served}) as server:
        started = time.monotonic()
        policy = HASTY if served.stall_after or served.dribble else QUICK
        assert fetch(server, "/a", tmp_path / "deep" / "a", policy).read_bytes() == DATA
        if ranges is not None:
            assert [asked for _, asked in server.asked] == ranges
        if served.retry_after:
            assert time.monotonic() - started > 0.25, "as the server asked, up to the longest pause"
        asked = len(server.asked)
        fetch(server, "/a", tmp_path / "deep" / "a", size=len(DATA), md5=MD5)
        assert len(server.asked) == asked, "what is there is not fetched again"
    assert leftovers(tmp_path / "deep") == ["a"]


@pytest.mark.parametrize(
    ("served", "wanted", "message", "tries"),
    [
        (Served(), {"md5": "0" * 32}, r"expected MD5 0{32}, got [0-9a-f]{32}; nothing of it was kept", 1),
        (Served(), {"size": 7}, "expected 7 bytes, and the server has 512,000", 1),
        (Served(endless=True), {"size": 512_000}, "expected 512,000 bytes at most, and more came", 1),
        (Served(endless=True), {}, "expected 4,194,304 bytes at most, and more came", 1),
        (Served(kind="text/html; charset=utf-8"), {"picture": True}, r"expected a file, got a page \(text/html\)", 1),
        (Served(), {"picture": True}, "expected a picture, got something else", 1),
        (Served(statuses=[404]), {}, "the server says 404 Not Found", 1),
        (Served(statuses=[403]), {}, "the server says 403 Forbidden", 1),
        (Served(redirect="/a"), {}, "leads nowhere: Exceeded 5 redirects", 6),
        (Served(redirect="ftp://127.0.0.1/a"), {}, "leads nowhere", 1),
        (Served(statuses=[503] * 9), {}, r"could not be fetched in 4 tries: the server says 503", 4),
        (Served(stall_after=10), {}, r"could not be fetched in 4 tries: after \d+ bytes: it stalled", 4),
    ],
)
def test_what_cannot_be_had_is_told_and_nothing_half_is_kept(tmp_path, served, wanted, message, tries):
    served.data = DATA
    with FileServer({"/a": served}) as server:
        with pytest.raises(DownloadError, match=message):
            fetch(server, "/a", tmp_path / "a", HASTY if served.stall_after else QUICK, **wanted)
        assert len(server.asked) == tries
    assert not (tmp_path / "a").exists()


def test_the_next_call_goes_on_where_the_last_one_stopped(tmp_path):
    with FileServer({"/a": Served(DATA, truncate_after=100_000, times=4)}) as server:
        with pytest.raises(DownloadError, match=r"cut off.*goes on from there"):
            fetch(server, "/a", tmp_path / "a", md5=MD5)
        assert fetch(server, "/a", tmp_path / "a", md5=MD5).read_bytes() == DATA
        assert server.asked[-1] == ("/a", "bytes=400000-")
        # Where the file is another one by then, the rest of it is not put behind the old start.
        (tmp_path / "a").unlink()
        server.files["/a"] = Served(DATA, truncate_after=1000, times=4)
        with pytest.raises(DownloadError):
            fetch(server, "/a", tmp_path / "a")
        server.files["/a"] = Served(DATA[::-1], etag='"two"')
        assert fetch(server, "/a", tmp_path / "a").read_bytes() == DATA[::-1]


def test_nobody_there(tmp_path):
    with pytest.raises(DownloadError, match="in 4 tries: after 0 bytes: connection refused"):
        Downloader(QUICK).fetch(Remote("http://127.0.0.1:9/a", tmp_path / "a"))
    with pytest.raises(DownloadError, match="is no address"):
        Downloader(QUICK).fetch(Remote("a.jpg", tmp_path / "a"))


def test_what_comes_compressed_though_nobody_asked(tmp_path):
    served = Served(gzip.compress(b"text " * 9999), encoding="gzip", truncate_after=100, times=1)
    with FileServer({"/a": served}) as server:
        assert fetch(server, "/a", tmp_path / "a").read_bytes() == b"text " * 9999
        assert [asked for _, asked in server.asked] == ["", ""]


@pytest.mark.once
@pytest.mark.slow
def test_many_a_few_at_once_and_a_list_of_what_failed(tmp_path):
    good = picture()
    files = {f"/{n}.jpg": Served(good) for n in range(30)}
    files["/3.jpg"] = Served(good, statuses=[404])
    files["/4.jpg"] = Served(good[:-200])  # cut, and the server calls that the whole
    files["/5.jpg"] = Served(b"<html>", kind="text/html")
    files["/6.jpg"] = Served(good, statuses=[429], retry_after="1")
    with FileServer(files) as server:
        remotes = [Remote(server.url(path), tmp_path / path[1:], picture=True) for path in files]
        failed = Downloader(HASTY).fetch_all(iter(remotes), tmp_path / "failed.jsonl")
        assert sorted(failed) == ["3.jpg", "4.jpg", "5.jpg"] and "404" in failed["3.jpg"]
        assert "expected a picture, got something else" in failed["4.jpg"]
        listed = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
        assert [entry["path"] for entry in listed] == sorted(failed) and listed[0]["url"] == remotes[3].url
        assert 1 < server.most_together <= QUICK.at_once
        server.asked.clear()
        for path in ("/3.jpg", "/4.jpg", "/5.jpg"):
            server.files[path] = Served(good)
        assert Downloader(HASTY).fetch_all(iter(remotes), tmp_path / "failed.jsonl") == {}
        assert sorted(path for path, _ in server.asked) == ["/3.jpg", "/4.jpg", "/5.jpg"]
    assert len(leftovers(tmp_path)) == 30 and not (tmp_path / "failed.jsonl").exists()


# --- archives ---------------------------------------------------------------------------------------------------------


def archive(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, *mode in members:
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16
            file.writestr(member, content)
    return path


def test_what_is_wanted_is_unpacked_and_what_is_there_is_not_again(tmp_path):
    path = archive(
        tmp_path / "a.zip", ("annotations/captions.json", b"{}"), ("annotations/else.json", b"x"), ("b/", b"")
    )
    out = tmp_path / "out"
    assert archives.unzip(path, out, r"annotations/captions.*") == 1
    assert [str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()] == ["annotations/captions.json"]
    assert archives.unzip(path, out, r"annotations/captions.*") == 0
    (out / "annotations" / "captions.json").write_bytes(b"{")  # half of it
    assert archives.unzip(path, out, r"annotations/captions.*") == 1


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../evil", b"x"), "leads out of the folder"),
        (("a/../../evil", b"x"), "leads out of the folder"),
        (("/etc/evil", b"x"), "leads out of the folder"),
        (("C:\\evil", b"x"), "leads out of the folder"),
        (("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "is a link or a device"),
        (("bomb.json", b"0" * 5_000_000), "are a decompression bomb"),
        (("good.json", b"again"), "is there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_not_to_be_trusted(tmp_path, monkeypatch, member, message):
    monkeypatch.setattr(archives, "_RATIO", 2)
    path = archive(tmp_path / "a.zip", ("good.json", b"{}"), member)
    with pytest.raises(DataError, match=f"a.zip.*{message}"):
        archives.unzip(path, tmp_path / "deep" / "out")
    assert leftovers(tmp_path) == ["a.zip"], "nothing was unpacked"


def test_damaged_archives(tmp_path):
    path = archive(tmp_path / "a.zip", ("a.json", bytes(range(256)) * 400))
    content = bytearray(path.read_bytes())
    for damage in (bytes(content[:500]), b"<html>", b"", bytes(content[:60]) + b"\xff" * 50 + bytes(content[110:])):
        path.write_bytes(damage)
        with pytest.raises(DataError, match="is damaged, or no zip archive"):
            archives.unzip(path, tmp_path / "out")
        assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
