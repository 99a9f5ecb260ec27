"""docs/performance.md: the part between the markers, from the results."""

import statistics
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.line import Figure, Line
from bench.server import OURS, STOCK, TUNED

BEGIN = "<!-- figures: begin (written by make bench) -->"
END = "<!-- figures: end -->"
REASONS = Path(__file__).parent / "reasons.toml"

Servers = dict[str, list[dict[str, float]]]


def values(servers: Servers, server: str, key: str) -> list[float]:
    return [run[key] for run in servers.get(server, []) if key in run]


def ratio(servers: Servers, peer: str, figure: Figure) -> float | None:
    """How many times better than the peer we are: the median over the pairs. None if one of them has no figure."""
    pairs = zip(values(servers, OURS, figure.key), values(servers, peer, figure.key), strict=False)
    ratios = [(theirs / ours if figure.is_cost else ours / theirs) for ours, theirs in pairs if ours > 0 and theirs > 0]
    return statistics.median(ratios) if ratios else None


def is_reached(servers: Servers, figure: Figure) -> bool | None:
    """None: the figure has no target, or nothing was measured."""
    ours = values(servers, OURS, figure.key)
    if not ours:
        return None
    verdicts = []
    if figure.target.limit is not None:
        verdicts.append(statistics.median(ours) <= figure.target.limit)
    for peer, wanted in figure.target.ratios.items():
        found = ratio(servers, peer, figure)
        if found is not None:
            verdicts.append(found >= wanted)
    return all(verdicts) if verdicts else None


def page(sections: Iterable[tuple[str, str, Iterable[Line]]], results: dict[str, Any]) -> str:
    """`sections`: title, peer, lines."""
    reasons: dict[str, str] = tomllib.loads(REASONS.read_text()) if REASONS.exists() else {}
    machine = "; ".join(f"{name} {value}" for name, value in results["machine"].items())
    parts = [f"Measured on: {machine}.", ""]
    for title, peer, lines in sections:
        known = [line for line in lines if line.name in results["lines"]]
        if not known:
            continue
        parts += [f"### {title}", ""]
        parts.append(
            f"| line | figure | {peer} stock | {peer} tuned | Posthouse | × stock | × tuned | must reach | aim"
            " | reached |"
        )
        parts.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |")
        for line in known:
            parts += _rows(line, results["lines"][line.name]["runs"])
        parts.append("")
        short = [
            f"- **{line.title}**: {reasons.get(line.name, 'no reason is written down yet.')}"
            for line in known
            if any(is_reached(results["lines"][line.name]["runs"], figure) is False for figure in line.figures)
        ]
        if short:
            parts += ["Short of the target:", "", *short, ""]
    runs = sorted({(one["date"], one["version"], one["pairs"]) for one in results["lines"].values()})
    parts += ["Runs: " + "; ".join(f"{date} at {version}, {pairs} pairs" for date, version, pairs in runs) + ".", ""]
    return "\n".join(parts)


def _rows(line: Line, servers: Servers) -> Iterable[str]:
    for position, figure in enumerate(line.figures):
        cells = [_middle(values(servers, server, figure.key), figure.unit) for server in (STOCK, TUNED, OURS)]
        ratios = [ratio(servers, peer, figure) for peer in (STOCK, TUNED)]
        cells += ["" if found is None else f"{found:.2f}" for found in ratios]
        verdict = {None: "", True: "yes", False: "**no**"}[is_reached(servers, figure)]
        name = f"{line.title} (`{line.name}`)" if position == 0 else ""
        yield f"| {name} | {figure.title} | {' | '.join(cells)} | {_wanted(figure)} | {_aim(figure)} | {verdict} |"


def _wanted(figure: Figure) -> str:
    if figure.target.limit is not None:
        return f"≤ {figure.target.limit:g} {figure.unit}".strip()
    ratios = figure.target.ratios
    if len(set(ratios.values())) == 1:
        return f"≥ {next(iter(ratios.values())):g} ×"
    return ", ".join(f"≥ {wanted:g} × {peer}" for peer, wanted in ratios.items())


def _aim(figure: Figure) -> str:
    aim = figure.target.aim
    if aim is None:
        return ""
    if figure.target.limit is not None:
        return f"≤ {aim:g} {figure.unit}"
    return f"≥ {aim:,.0f} {figure.unit}" if aim > 100 else f"≥ {aim:g} ×"


def _middle(found: list[float], unit: str) -> str:
    if not found:
        return "—"
    middle = statistics.median(found)
    text = f"{middle:,.0f}" if abs(middle) >= 100 else f"{middle:.3g}"
    return f"{text}{'' if unit.startswith('/') else ' '}{unit}".strip()


def write(text: str, path: Path) -> None:
    """Puts `text` between the markers of the page; what stands around them stays."""
    old = path.read_text()
    if BEGIN not in old or END not in old:
        raise ValueError(f"{path} has no place for the figures: {BEGIN} … {END}")
    head, tail = old.partition(BEGIN)[0], old.partition(END)[2]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")
