"""The result of `bench models` as lines: epochs, memory, and the ratios of the paper beside ours."""

from typing import Any

from chartscan_lab.bench.machine import described
from chartscan_lab.tables import GIB, count_text, ratio_text, reach_text, span_text, text_table


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
    headings = (
        "", "weights", "rows", "positions", "prompts", "epoch s", "min - max", "tokens/s", "x", "padded s",
        "tokens/s", "x",
    )  # fmt: skip
    lines = [
        [
            row["name"],
            count_text(row["parameters"]),
            count_text(row["rows"]),
            count_text(row["positions"]),
            count_text(row["prompts"]),
            count_text(row["seconds"]),
            span_text(row["range"], 0),
            count_text(row["tokens_per_second"]),
            ratio_text(row.get("ratio")),
            count_text(row["padded_seconds"]),
            count_text(row["padded_tokens_per_second"]),
            ratio_text(row["padded_ratio"]),
        ]
        for row in rows
    ]
    return text_table(headings, lines)


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    sizes = sorted({size for row in rows for size in row["peaks"]}, key=int)
    goals = [one["gib"] for one in next((row["largest"] for row in rows if row["largest"]), [])]
    headings = ["GiB by rows", "", "tokens", *map(str, sizes), "fixed", "a row", "error"]
    headings += [f"rows in {gib:g} GiB" for gib in goals]
    lines = []
    for row in rows:
        peaks = [f"{row['peaks'][size] / GIB:.2f}" if size in row["peaks"] else "-" for size in sizes]
        line = [row["name"], row["precision"], count_text(row["context"]), *peaks]
        if row["largest"]:
            line += [f"{row['fixed_bytes'] / GIB:.2f}", f"{row['bytes_a_row'] / GIB:.3f}"]
            line += ["-" if row["error"] is None else f"{row['error']:.1%}"]
            line += [reach_text(one) for one in row["largest"]]
        lines.append(line)
    return text_table(headings, lines)


def _ratio_lines(one: dict[str, Any]) -> list[str]:
    """MultiBird's epoch over the baseline's, and the baseline's largest batch over MultiBird's."""
    other, name, paper = one["row"], one["baseline"], one["paper"]
    lines = [
        f"{other}'s epoch takes {ratio_text(one['seconds'])} times {name}'s "
        f"(padded {ratio_text(one['padded_seconds'])}; the paper {paper['seconds']:.2f}).",
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
