"""The result of `bench models` as lines: epochs, memory, and the ratios of the paper beside ours."""

from typing import Any

from chartscan_lab.bench.machine import described

GIB = 2**30


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
        lines += ["", *(line for one in phase["beside_the_paper"] for line in _ratio_lines(one))]
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


def _ratio_lines(one: dict[str, Any]) -> list[str]:
    """MultiBird's epoch over the baseline's, and the baseline's largest batch over MultiBird's."""
    other, name, paper = one["row"], one["baseline"], one["paper"]
    lines = [
        f"{other}'s epoch takes {_ratio(one['seconds'])} times {name}'s "
        f"(padded {_ratio(one['padded_seconds'])}; the paper {paper['seconds']:.2f}).",
        f"{name}'s largest batch has {_batches(one, 'rows')} times {other}'s rows (the paper "
        f"{paper['batch']:.2f}).",
    ]
    if any(batch["prompts"] is not None for batch in one["batches"]):
        lines[-1] += f" In prompts: {_batches(one, 'prompts')} times."
    return lines


def _batches(one: dict[str, Any], what: str) -> str:
    """For each memory in which MultiBird has a row."""
    known = [batch for batch in one["batches"] if batch[what] is not None]
    return ", ".join(f"{batch[what]:.2f} ({batch['gib']:g} GiB)" for batch in known) or "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
