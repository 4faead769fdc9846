"""What can be known and what can be learnt in the simulated hospital, per task.

Prints prevalence, the best possible AUROC (of the true risk), the AUROC of XGBoost on token counts and ages,
and that of XGBoost on hand-made features of the binned record in its order (what a sequence model could
see), on subjects that training did not see. Also the deciles of true risk beside the observed frequency,
and the rate of simulation.

    python lab/benchmarks/simulator.py --subjects 10000 --seed 0
"""

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import xgboost
from sklearn.metrics import roc_auc_score

from chartscan.simulator import SimulateConfig, simulate
from chartscan.simulator.catalogue import CHRONIC, DRUGS, OPERATIONS
from chartscan.simulator.life import live
from chartscan.simulator.subject import DAY, Record

GROUPS = {"hypertension_1y": ("I10", "I11", "I12", "I13", "I15", "I16"), "fluid_disorder_1y": ("E86", "E87")}
GROUPS["lipid_disorder_1y"] = ("E78",)
LAST_TWO = ("systolic", "sodium", "triglyceride")
DRIFTS = ("diastolic", "potassium", "ldl")


def values_of(record: Record) -> list[tuple[int, int, str, float]]:
    """(time, available, measure, value) of every valid measurement."""
    rows = [(o.time, o.issued, o.measure, o.value) for o in record.observations if o.status == "final"]
    for p in record.pressures:
        rows.append((p.time, p.time + 60, "systolic", float(p.systolic)))
        rows.append((p.time, p.time + 60, "diastolic", float(p.diastolic)))
    return rows


def edges_of(records: list[Record]) -> dict[str, np.ndarray]:
    """Quintile edges per measure."""
    values = defaultdict(list)
    for record in records:
        for _, _, measure, value in values_of(record):
            values[measure].append(value)
    return {m: np.quantile(v, [0.2, 0.4, 0.6, 0.8]) for m, v in values.items()}


def events_of(record: Record, edges: dict[str, np.ndarray]) -> list[tuple[int, int, str, int]]:
    """(available, time, code, bin) of everything, in order of availability."""
    rows = [(a, t, m, int(np.searchsorted(edges[m], v, side="right"))) for t, a, m, v in values_of(record)]
    rows += [(m.time, m.time, "order:" + m.drug, 0) for m in record.orders]
    rows += [(d.time, d.time, "dose:" + d.drug, 0) for d in record.doses]
    rows += [(c.time, c.time, "procedure:" + c.code, 0) for c in record.procedures]
    rows += [(c.time, c.time, "condition:" + c.code, 0) for c in record.conditions]
    previous = None
    for e in sorted(record.encounters, key=lambda e: e.start):
        rows += [
            (e.start, e.start, "start:" + e.kind + e.source, 0),
            (e.end, e.end, "end:" + e.kind + e.disposition, 0),
        ]
        if previous is not None:
            rows.append((e.start, e.start, interval(e.start - previous), 0))
        previous = e.end
    return sorted(rows)


def interval(seconds: int) -> str:
    """Interval token between visits: weeks 0-3, months, long."""
    days = max(0, seconds) / DAY
    return f"W_{int(days // 7)}" if days < 28 else f"M_{int(days // 30)}" if days < 390 else "LT"


def label(record: Record, task: str, now: int) -> int | None:
    """The label by its definition, from encounters, diagnoses and death; None where unknown."""
    stays = sorted((e for e in record.encounters if e.kind == "IMP"), key=lambda e: e.start)
    if task in ("in_hospital_mortality", "long_stay_7d"):
        stay = next(e for e in stays if e.start + DAY == now)
        return int(stay.disposition == "exp") if task[0] == "i" else int(stay.end - stay.start > 7 * DAY)
    if task == "mortality_30d":
        return int(record.death is not None and record.death <= now + 30 * DAY)
    if task == "readmission_30d":
        return int(any(now < e.start <= now + 30 * DAY for e in stays))
    starts = [
        record.encounters[c.encounter].start for c in record.conditions if c.code.startswith(GROUPS[task])
    ]
    if any(now < s <= now + 365 * DAY for s in starts):
        return 1
    return None if record.death is not None and record.death < now + 365 * DAY else 0


class Bins:
    """Bins of one measure inside the present stay, or over all visits."""

    def __init__(self, rows: list[tuple[int, int, str, int]], since: int):
        self.now, self.all = defaultdict(list), defaultdict(list)
        for _, t, code, b in sorted(rows, key=lambda r: r[1]):
            self.all[code].append((t, b))
            if t >= since:
                self.now[code].append((t, b))

    def trend(self, measure: str) -> list[float]:
        """Last, first, and last minus first bin in the stay."""
        bins = [b for _, b in self.now[measure]]
        return (
            [bins[-1], bins[0], np.mean(bins[len(bins) // 2 :]) - np.mean(bins[: (len(bins) + 1) // 2])]
            if bins
            else [np.nan] * 3
        )

    def first_time(self, code: str) -> float:
        """Time of the first such event in the stay."""
        return self.now[code][0][0] if self.now[code] else np.nan


def sequence_features(
    record: Record, rows: list[tuple[int, int, str, int]], now: int, late: bool
) -> list[float]:
    """Hand-made features that use order and time of the binned record. `late`: at discharge."""
    stays = sorted(
        (e for e in record.encounters if e.kind == "IMP" and e.start <= now), key=lambda e: e.start
    )
    stay = stays[-1]
    gap = (stay.start - stays[-2].end) / DAY if len(stays) > 1 else 9999.0
    bins = Bins(rows, stay.start)
    out = [(now - record.birth) / DAY / 365.25, gap, (now - record.encounters[0].start) / DAY, len(stays)]
    out += [float(record.sex == "male")] + [float(bool(bins.all["condition:" + c])) for c in CHRONIC.values()]
    for measure in ("lactate", "creatinine", "bnp", "hemoglobin", "saturation", "crp", "pulse"):
        out += bins.trend(measure)
    out.append(len(bins.now["lactate"]))
    dose = {role: "dose:" + code for role, (code, _) in DRUGS.items()}
    out.append((bins.first_time(dose["antibiotic"]) - stay.start) / 3600)
    out.append(float(bool(bins.now[dose["nsaid"]]) and bool(bins.all["condition:N18.3"])))
    furosemide = [t for t, _ in bins.now[dose["loop_diuretic"]]]
    out.append((now - furosemide[-1]) / DAY / (now - stay.start) * DAY if furosemide else np.nan)
    operations = [t for code in OPERATIONS for t, _ in bins.now["procedure:" + code]]
    out.append(bins.first_time(dose["heparin"]) - operations[0] if operations else 0.0)
    return out + onset_features(bins, stays)


def onset_features(bins: Bins, stays: list) -> list[float]:
    """Mean response over stays and drift over visits, per condition."""
    out = []
    for measure, drift in zip(LAST_TWO, DRIFTS, strict=True):
        changes = []
        for s in stays:
            inside = [b for t, b in bins.all[measure] if s.start <= t <= s.end]
            if len(inside) >= 4:
                changes.append(sum(inside[2:4]) - sum(inside[:2]))
        levels = [b for _, b in bins.all[drift]]
        half = len(levels) // 2
        out += [sum(np.sign(changes)), sum(changes), len(changes)]
        out += [levels[-1], levels[0], np.mean(levels[half:]) - np.mean(levels[:half] or [2]), len(levels)]
    return out


def design(records: list[Record]) -> dict[str, dict[str, np.ndarray]]:
    """Per task: subject, label, true risk, counts and sequence features. Bins are those of all subjects."""
    edges = edges_of(records)
    vocabulary: dict[str, int] = {}
    rows_by_task: dict[str, list[tuple]] = defaultdict(list)
    for subject, record in enumerate(records):
        events = events_of(record, edges)
        available = [e[0] for e in events]
        ids = np.array([vocabulary.setdefault(f"{c}#{b}", len(vocabulary)) for _, _, c, b in events])
        seen: dict[int, tuple] = {}
        for p in record.predictions:
            if p.time not in seen:
                n = int(np.searchsorted(available, p.time, side="right"))
                visits = [e for e in record.encounters if e.start <= p.time]
                ages = [
                    (v - record.birth) / DAY / 365.25 for v in (visits[0].start, max(e.start for e in visits))
                ]
                late = any(e.end == p.time for e in record.encounters)
                seen[p.time] = (
                    np.bincount(ids[:n]),
                    [*ages, len(visits)],
                    sequence_features(record, events[:n], p.time, late),
                )
            y = label(record, p.task, p.time)
            if y is not None:
                rows_by_task[p.task].append((subject, y, p.true_risk, *seen[p.time]))
    return {task: columns(rows, len(vocabulary)) for task, rows in rows_by_task.items()}


def columns(rows: list[tuple], width: int) -> dict[str, np.ndarray]:
    """Arrays of one task."""
    counts = np.zeros((len(rows), width + 3), np.float32)
    for k, row in enumerate(rows):
        counts[k, : len(row[3])] = row[3]
        counts[k, width:] = row[4]
    return {
        "subject": np.array([r[0] for r in rows]),
        "y": np.array([r[1] for r in rows]),
        "risk": np.array([r[2] for r in rows]),
        "counts": counts,
        "sequence": np.array([r[5] for r in rows], np.float32),
    }


def held_out_auroc(
    x: np.ndarray, d: dict[str, np.ndarray], train: np.ndarray, depth: int, rounds: int
) -> float:
    """AUROC of XGBoost on the subjects outside `train`, stopped on a tenth of the training subjects."""
    tuning = train & (d["subject"] % 10 == 0)
    model = xgboost.XGBClassifier(
        n_estimators=rounds,
        max_depth=depth,
        learning_rate=0.06,
        subsample=0.8,
        colsample_bytree=0.5,
        min_child_weight=5,
        early_stopping_rounds=25,
        n_jobs=2,
    )
    fit = train & ~tuning
    model.fit(x[fit], d["y"][fit], eval_set=[(x[tuning], d["y"][tuning])], verbose=False)
    return roc_auc_score(d["y"][~train], model.predict_proba(x[~train])[:, 1])


def worst_decile(d: dict[str, np.ndarray]) -> float:
    """Largest miscalibration over deciles of risk in standard errors; a subject's questions count as one."""
    off = []
    for rows in np.array_split(np.argsort(d["risk"]), 10):
        by_subject = np.bincount(d["subject"][rows], weights=(d["y"] - d["risk"])[rows])
        variance = max((by_subject**2).sum(), (d["risk"] * (1 - d["risk"]))[rows].sum())
        off.append(by_subject.sum() / np.sqrt(variance))
    return max(off, key=abs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    records = [live(args.seed, index) for index in range(args.subjects)]
    print("task                           n prevalence  ceiling   counts    order  worst decile, SE")
    for task, d in design(records).items():
        train = d["subject"] < 0.8 * args.subjects
        ceiling = roc_auc_score(d["y"][~train], d["risk"][~train])
        counts = held_out_auroc(d["counts"], d, train, 4, 500)
        order = held_out_auroc(d["sequence"], d, train, 3, 500)
        everyone = roc_auc_score(d["y"], d["risk"])
        print(
            f"{task:24s} {len(d['y']):7d} {d['y'].mean():10.3f} {ceiling:8.3f} {counts:8.3f} {order:8.3f}"
            f" {worst_decile(d):+17.1f}   (ceiling, all subjects: {everyone:.3f})",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        written = sum(simulate(Path(folder) / "hospital", SimulateConfig(1000, args.seed)).values())
        seconds = time.perf_counter() - began
    print(f"{1000 / seconds:.0f} subjects and {written / seconds:,.0f} resources a second, written")


if __name__ == "__main__":
    main()
