"""A thousand bad inputs: pictures, lines, lists, archives, servers. `make stress` tries more of each."""

from collections import Counter

import pytest

from stress import archives, pictures, records, servers, uploads

pytestmark = [pytest.mark.slow, pytest.mark.once]


def test_pictures():
    found = Counter(pictures.outcome(pictures.draw(seed))[0] for seed in range(300))
    assert sum(found.values()) == 300 and found["right"] > 50 and len(found) > 2


def test_lines_and_lists(tmp_path):
    found = Counter(records.outcome(seed) for seed in range(300))
    found += Counter(records.imported(seed, tmp_path) for seed in range(100))
    assert sum(found.values()) == 400 and found["right"] > 50 and found["refused"] > 10


def test_archives(tmp_path):
    found = Counter(archives.outcome(seed, tmp_path) for seed in range(200))
    assert sum(found.values()) == 200 and found["right"] > 20 and found["refused"] > 20 and len(found) > 4


def test_servers(tmp_path):
    found = Counter(servers.outcome(seed, tmp_path) for seed in range(100))
    assert sum(found.values()) == 100 and found["right"] > 20 and found["refused"] > 20


def test_uploads():
    with uploads.service() as client:
        found = Counter(uploads.outcome(seed, client) for seed in range(200, 350))
    assert sum(found.values()) == 150 and found["right"] > 40 and found["not_a_picture"] > 10
