"""bench/results.json: every figure of the last run of each line."""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "results.json"


def load(path: Path = PATH) -> dict[str, Any]:
    if not path.exists():
        return {"machine": {}, "lines": {}}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def merge(old: dict[str, Any], machine: dict[str, str], runs: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    """Lines that were not run keep their figures and the date of these."""
    lines = dict(old["lines"])
    for name, servers in runs.items():
        lines[name] = {**about, "runs": _rounded(servers)}
    return {"machine": machine, "lines": lines}


def save(results: dict[str, Any], path: Path = PATH) -> None:
    path.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _rounded(servers: dict[str, list[dict[str, float]]]) -> dict[str, list[dict[str, float]]]:
    return {
        server: [{key: float(f"{value:.4g}") for key, value in run.items()} for run in runs]
        for server, runs in servers.items()
    }
