"""The result of `bench models` as lines: epochs, memory, and the ratios of the paper beside ours."""

from typing import Any

from chartscan.recipes.bench.machine import described

GIB = 2**30
# The paper's C.3: MultiBird's seconds over EHRMamba's, and EHRMamba's batch over MultiBird's; on GPUs.
PAPER = {
    "pretraining": {"seconds": (24 * 60 + 5) / (14 * 60 + 29), "batch": 44 / 32},
    "fine-tuning": {"seconds": (4 * 60 + 37) / (60 + 17), "batch": 64 / 26},
}
PAPER_MODEL = "multibird"


def table(found: dict[str, Any]) -> str:
    """The whole result."""
    asked = found["patients"]
    lines = [
        described(found["conditions"]),
        f"{asked['patients']} train patients of {asked['data'] or 'a simulated hospital'} with "
        f"{asked['prompts'] / asked['patients']:.1f} labels each ({asked['tasks']} tasks) at "
        f"{asked['instants'] / asked['patients']:.1f} times.",
        f"Epoch: {found['clock']} of a few batches, scaled by positions and updates; x: times the first "
        "row's. Padded: with every row as long as the context.",
        "Largest batch: rows as long as the context that a memory holds, by the line through what was "
        "measured (its range: each of three or more points left out in turn); * beyond what was measured.",
    ]
    for phase in found["phases"]:
        lines += ["", phase["phase"], *_epochs(phase["rows"]), "", *_memory(phase["rows"])]
        lines += ["", *_beside_the_paper(phase)]
    return "\n".join(lines)


def _epochs(rows: list[dict[str, Any]]) -> list[str]:
    head = f"{'':26}{'weights':>12}{'rows':>9}{'positions':>12}{'prompts':>9}{'epoch s':>10}{'min - max':>19}"
    lines = [f"{head}{'tokens/s':>10}{'x':>7}{'padded s':>12}{'tokens/s':>10}{'x':>7}"]
    for row in rows:
        span = " - ".join(f"{value:,.0f}" for value in row["range"])
        lines.append(
            f"{row['name']:26}{_number(row['parameters']):>12}{row['rows']:>9,}{row['positions']:>12,}"
            f"{row['prompts']:>9,}{row['seconds']:>10,.0f}{span:>19}{row['tokens_per_second']:>10,.0f}"
            f"{_ratio(row.get('ratio')):>7}{_number(row['padded_seconds']):>12}"
            f"{_number(row['padded_tokens_per_second']):>10}{_ratio(row['padded_ratio']):>7}"
        )
    return lines


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    sizes = sorted({size for row in rows for size in row["peaks"]}, key=int)
    goals = [one["gib"] for one in next((row["largest"] for row in rows if row["largest"]), [])]
    head = f"{'GiB by rows':26}{'':5}{'tokens':>7}" + "".join(f"{size:>8}" for size in sizes)
    head += f"{'fixed':>8}{'a row':>8}{'error':>8}"
    lines = [head + "".join(f"{f'rows in {gib:g} GiB':>26}" for gib in goals)]
    for row in rows:
        cells = "".join(
            f"{row['peaks'][size] / GIB:8.2f}" if size in row["peaks"] else f"{'-':>8}" for size in sizes
        )
        text = f"{row['name']:26}{row['precision']:5}{row['context']:>7,}{cells}"
        if row["largest"]:
            text += f"{row['fixed_bytes'] / GIB:8.2f}{row['bytes_a_row'] / GIB:8.3f}"
            text += f"{'-' if row['error'] is None else format(row['error'], '.1%'):>8}"
            text += "".join(f"{_reach(one):>26}" for one in row["largest"])
        lines.append(text)
    return lines


def _reach(one: dict[str, Any]) -> str:
    mark = "*" if one["extrapolated"] else ""
    span = "" if one["least"] is None else f" ({one['least']:,} - {one['most']:,})"
    return f"{one['largest']:,}{mark}{span}"


def _beside_the_paper(phase: dict[str, Any]) -> list[str]:
    """MultiBird's epoch over the baseline's, and the baseline's largest batch over MultiBird's."""
    rows, name = {row["name"]: row for row in phase["rows"]}, phase["baseline"]
    base, paper = rows.get(name), PAPER[phase["phase"]]
    lines = []
    for other, row in rows.items():
        if base is None or row is base or not other.startswith(PAPER_MODEL):
            continue
        lines.append(
            f"{other}'s epoch takes {_ratio(row['ratio'])} times {name}'s "
            f"(padded {_ratio(row['padded_ratio'])}; the paper {paper['seconds']:.2f})."
        )
        lines.append(
            f"{name}'s largest batch has {_batches(base, row, 1)} times {other}'s rows (the paper "
            f"{paper['batch']:.2f})."
        )
        if base["prompts"]:
            more = base["prompts_per_row"] / row["prompts_per_row"]
            lines[-1] += f" In prompts: {_batches(base, row, more)} times."
    return lines


def _batches(base: dict[str, Any], row: dict[str, Any], factor: float) -> str:
    """The largest batch of `base` over that of `row`, times `factor`, for each memory."""
    found = [
        f"{factor * mine['largest'] / other['largest']:.2f} ({mine['gib']:g} GiB)"
        for mine, other in zip(base["largest"], row["largest"], strict=False)
        if other["largest"]
    ]
    return ", ".join(found) or "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
