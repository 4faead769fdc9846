"""What models cost, as Markdown: of the trainings that were run, and measured in turn by `bench models`."""

from collections.abc import Iterator, Sequence
from typing import Any

from chartscan.evaluation.text import NOTHING
from chartscan_lab.bench.machine import described
from chartscan_lab.bench.paper_ratios import PAPER
from chartscan_lab.study._score import RowScore
from chartscan_lab.study._table import FINE_TUNING
from chartscan_lab.tables import GIB, MIB, count_text, markdown_table, ratio_text, reach_text

PRETRAINING = "pretraining"
PHASES = (PRETRAINING, FINE_TUNING)

TRAININGS = (
    "From the records of the trainings above, by the clock on the wall: evaluations are in the seconds, "
    "padding is in the tokens, and of seeds it is the median. Each was run when its turn came, so anything "
    "else the machine did then is in it. An epoch of fine-tuning is that of all tasks."
)
MEASURED = (
    "As `chartscan bench models` does, on the same train subjects: {patients:,} patients with {labels:.1f} "
    "labels each. A few batches of each model are timed in turn ({clock}, {rounds} rounds) and scaled to the "
    "epoch by positions and updates, without evaluations; in brackets the fastest and slowest round. "
    "Fine-tuning is of all tasks at once. Full rows are as long as the context."
)
MEMORY = (
    "Memory of a process beyond its start: weights, gradients, optimiser and a step of full rows. Largest "
    "batch: by the line through what was measured, its error the largest residual; in brackets what the line "
    "says with each of three or more points left out; * beyond what was measured."
)
UNMEASURED = (
    "Epochs and batches are not measured yet: that waits until all rows have all seeds. The same command "
    "without --only goes on."
)


def trainings(rows: Sequence[RowScore], ours: str, other: str) -> list[str]:
    """Tokens and seconds of every row that has any; how often `other`'s epoch takes `ours`'s time."""
    known = [row for row in rows if row.tokens_per_epoch]
    if not known:
        return []
    headings = ["row", *(f"{phase}: {what}" for phase in PHASES for what in ("tokens an epoch", "tokens/s"))]
    lines = [[row.name, *(text for phase in PHASES for text in _rate(row, phase))] for row in known]
    named = {row.name: row for row in known}
    ratios = list(_ratios(named[ours], named[other])) if {ours, other} <= named.keys() else []
    said = [f"An epoch of '{other}' took that of '{ours}' {', '.join(ratios)}."] if ratios else []
    return ["## Efficiency: the trainings", markdown_table(headings, lines), TRAININGS, *said]


def measured(found: dict[str, Any]) -> list[str]:
    """Epochs, memory and the ratios of the paper, from a result of the bench."""
    asked, rounds = found["patients"], found["settings"]["rounds"]
    about = MEASURED.format(
        patients=asked["patients"],
        labels=asked["prompts"] / asked["patients"],
        clock=found["clock"],
        rounds=rounds,
    )
    parts = ["## Efficiency: measured in turn", about, described(found["conditions"])]
    for phase in found["phases"]:
        if phase["rows"]:
            title = phase["phase"].capitalize()
            parts += [f"### {title}", _epochs(phase["rows"]), _memory(phase["rows"])]
    parts.append(MEMORY)
    ratios = [one for phase in found["phases"] for one in phase["beside_the_paper"]]
    return [*parts, "### Beside the paper", _beside(found["phases"])] if ratios else parts


def _rate(row: RowScore, phase: str) -> tuple[str, str]:
    tokens, seconds = of_phase(row.tokens_per_epoch, phase), of_phase(row.seconds_per_epoch, phase)
    return (f"{tokens:,.0f}", f"{tokens / seconds:,.0f}") if tokens and seconds else (NOTHING, NOTHING)


def of_phase(found: dict[str, float], phase: str) -> float:
    """The sum over its parts: fine-tuning may be one of all tasks or one a task."""
    return sum(value for name, value in found.items() if name.split()[0] == phase)


def _ratios(ours: RowScore, other: RowScore) -> Iterator[str]:
    for phase in PHASES:
        mine, theirs = (of_phase(row.seconds_per_epoch, phase) for row in (ours, other))
        if mine:
            yield f"{theirs / mine:.2f} times in {phase} (the paper {PAPER[phase]['seconds']:.2f})"


def _epochs(rows: Sequence[dict[str, Any]]) -> str:
    headings = (
        "recipe", "weights with head", "rows an epoch", "tokens an epoch", "prompts a row", "s an epoch",
        "tokens/s", "full rows: s an epoch", "full rows: tokens/s",
    )  # fmt: skip
    lines = [
        [
            f"{row['name']} ({row['precision']})",
            count_text(row["parameters"]),
            f"{row['rows']:,}",
            f"{row['positions']:,}",
            f"{row['prompts_per_row']:.1f}" if row["prompts"] else NOTHING,
            f"{row['seconds']:,.1f} [{row['range'][0]:,.1f}, {row['range'][1]:,.1f}]",
            f"{row['tokens_per_second']:,.0f}",
            count_text(row["padded_seconds"], 1),
            count_text(row["padded_tokens_per_second"]),
        ]
        for row in rows
    ]
    return markdown_table(headings, lines)


def _memory(rows: Sequence[dict[str, Any]]) -> str:
    sizes = sorted({int(size) for row in rows for size in row["peaks"]})
    goals: list[dict[str, Any]] = next((row["largest"] for row in rows if row["largest"]), [])
    headings = [
        "recipe",
        "context",
        *(f"GiB by {size} rows" for size in sizes),
        "fixed GiB + MiB a row",
        "error",
    ]
    lines = []
    for row in rows:
        peaks = [row["peaks"].get(str(size)) for size in sizes]
        fit = [NOTHING] * (2 + len(goals))
        if row["largest"]:
            fixed, each, error = row["fixed_bytes"] / GIB, row["bytes_a_row"] / MIB, row["error"]
            fit = [f"{fixed:.2f} + {each:,.1f}", NOTHING if error is None else f"{error:.1%}"]
            fit += [reach_text(one) for one in row["largest"]]
        shown = [NOTHING if peak is None else f"{peak / GIB:.2f}" for peak in peaks]
        lines.append([row["name"], f"{row['context']:,}", *shown, *fit])
    return markdown_table([*headings, *(f"rows in {one['gib']:g} GiB" for one in goals)], lines)


def _beside(phases: Sequence[dict[str, Any]]) -> str:
    """EHRMamba's ratios to MultiBird, a line each, beside those of the paper."""
    headings = ["ratio", "phase", "here", "the paper"]
    lines = []
    for phase in phases:
        for one in phase["beside_the_paper"]:
            name, epoch = phase["phase"], f"{one['row']}'s epoch over {one['baseline']}'s"
            batch = f"{one['baseline']}'s largest batch over {one['row']}'s"
            lines += [
                [epoch, name, ratio_text(one["seconds"]), ratio_text(one["paper"]["seconds"])],
                [f"{epoch}, full rows", name, ratio_text(one["padded_seconds"]), NOTHING],
            ]
            for found in one["batches"]:
                gib = f"{found['gib']:g} GiB"
                lines.append(
                    [
                        f"{batch}, rows, {gib}",
                        name,
                        ratio_text(found["rows"]),
                        ratio_text(one["paper"]["batch"]),
                    ]
                )
                if found["prompts"] is not None:
                    lines.append([f"{batch}, prompts, {gib}", name, ratio_text(found["prompts"]), NOTHING])
    return markdown_table(headings, lines)
