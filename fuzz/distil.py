"""From what fuzzing has learned (`.fuzz/`), the few small inputs that the repository keeps: those that reach a line of
the product that no smaller one reached."""

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from fuzz.campaign import WORK
from fuzz.target import CORPUS, ROOT, Target, load

LARGEST_OCTETS: Final = 400
MOST_TRIED: Final = 400
MOST_KEPT: Final = 25
_PRODUCT: Final = str(ROOT.parent / "src")


def distil(name: str) -> int:
    target = load(name)
    directory = CORPUS / name
    candidates = [path for area in (directory, WORK / name / "corpus") for path in area.glob("*") if path.is_file()]
    candidates = sorted((path for path in candidates if path.stat().st_size <= LARGEST_OCTETS), key=_by_size)
    reached: set[tuple[CodeType, int]] = set()
    for seed in target.seeds:
        reached |= _lines(target, seed)
    kept: list[bytes] = []
    for path in candidates[:MOST_TRIED]:
        data = path.read_bytes()
        lines = _lines(target, data)
        if not lines <= reached and len(kept) < MOST_KEPT:
            reached |= lines
            kept.append(data)
    for path in directory.glob("*"):
        path.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(kept):
        (directory / f"{number:02}").write_bytes(data)
    return len(kept)


def _by_size(path: Path) -> tuple[int, str]:
    return path.stat().st_size, path.name


def _lines(target: Target, data: bytes) -> set[tuple[CodeType, int]]:
    found: set[tuple[CodeType, int]] = set()

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            found.add((frame.f_code, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, _event: str, _: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(_PRODUCT) else None

    sys.settrace(on_call)
    try:
        target.check(data)
    finally:
        sys.settrace(None)
    return found
