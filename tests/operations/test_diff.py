"""What `memefly diff` makes of records that are not as they should be; real runs are compared in tests/e2e."""

import json

from memefly.operations import diff
from memefly.operations.records import Node
from memefly.operations.runs import Run


def run(run_id: str, **data) -> Run:
    summary = {"run_id": run_id, "data": data, "components": [{"name": "Trainer", "state": "ran", "seconds": 1}]}
    return Run(run_id, "part", "2026-11-01T09:00:00+00:00", summary=summary)


def test_where_ml_metadata_began_afresh(monkeypatch, tmp_path):
    """The runs before have their summaries still."""
    before, after = run("20261101-090000", images=60), run("20261102-090000", images=61)
    monkeypatch.setattr(diff.records, "read", lambda root, run_id: {})
    assert diff.compare(tmp_path, before, after).data == [diff.Change("images", "60", "61")]
    later = {"CaptionExampleGen": Node("ran", properties={"fingerprint": "f00"}, outputs={"examples": ("root://a/1",)})}
    monkeypatch.setattr(diff.records, "read", lambda root, run_id: later if run_id == after.run_id else {})
    found = diff.compare(tmp_path, before, after)
    assert found.data == [diff.Change("digest", "unknown", "f00"), diff.Change("images", "60", "61")]
    assert found.configuration is None and found.nodes["Trainer"] == diff.Told("ran", "ran", "")
    assert json.dumps(found.as_dict()) and diff.describe(found)


def test_captions_that_hold_what_python_takes_for_a_line_s_end(tmp_path):
    rows = [{"image_id": str(i), "references": ["a cat\u2028sat"], "caption": f"a\x0bcat {i}"} for i in range(2)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "captions-00000-of-00001.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    evaluator = Node("ran", outputs={"evaluation": (str(tmp_path),)})
    assert diff._captions(tmp_path, evaluator)["1"] == ([["a", "cat", "sat"]], ["a", "cat", "1"])
