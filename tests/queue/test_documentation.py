import re
from pathlib import Path

from posthouse.queue.crashpoints import QueueStep

ROOT = Path(__file__).parents[2]


def test_every_crash_point_is_described_under_its_number_and_marked_in_the_code() -> None:
    page = (ROOT / "docs/queue-states.md").read_text()
    described = re.findall(r"^(\d+)\. `([A-Z_]+)` — ", page, re.MULTILINE)
    assert [(int(number), name) for number, name in described] == [(point.value, point.name) for point in QueueStep]
    code = "".join(path.read_text() for path in (ROOT / "src/posthouse/queue").glob("*.py"))
    for point in QueueStep:
        assert code.count(f"reach(QueueStep.{point.name})") >= 1
