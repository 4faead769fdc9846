"""Random records with boundaries on purpose, as plain rows and as EVENTS; and the audit's own labeller.

`brute_force` is written from the label rules, not from the engine: it works on the rows in integer
microseconds, joins stays by repeated pairwise comparison, and walks calendar days for mortality.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from chartscan.schema import TIME

US = timedelta(microseconds=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1)
GAPS = [
    timedelta(0), US, HOUR, 23 * HOUR, DAY - US, DAY, DAY + US, 3 * DAY, 7 * DAY - US, 7 * DAY, 7 * DAY + US,
    28 * DAY, 29 * DAY, 30 * DAY - 60_000_000 * US, 30 * DAY - US, 30 * DAY, 30 * DAY + US, 31 * DAY,
    45 * DAY, 60 * DAY, 200 * DAY, 365 * DAY - US, 365 * DAY, 365 * DAY + US, 500 * DAY,
]  # fmt: skip
CODES = [
    "ICD10CM//I10", "ICD9CM//4019", "ICD10CM//E871", "ICD9CM//2768", "ICD10CM//E785", "ICD9CM//2724",
    "ICD10CM//J18", "ICD10CM//O10", "ICD9CM//6420", "ICD10CM//E88", "SNOMED//38341003", "LOCAL//I10",
]  # fmt: skip
DISPOSITIONS = ["//HOME", "//HOME", "//SNF", "//EXPIRED", "//UNK", ""]


@dataclass
class History:
    """Rows (time, code, event_type, encounter_id, available_time) of one subject, and the follow-up rule."""

    subject_id: int
    rows: list[tuple] = field(default_factory=list)
    follow_up: dict = field(default_factory=lambda: {"rule": "days_after_last_event", "days": 0})

    def add(self, time, code, event_type, encounter=None, known=None):
        self.rows.append((time, code, event_type, encounter, known or time))
        return self

    def stay(self, start, end, encounter, disposition="//HOME", admission="HOSPITAL_ADMISSION//EMERGENCY"):
        self.add(start, admission, "admission", encounter)
        return self.add(end, f"HOSPITAL_DISCHARGE{disposition}", "discharge", encounter) if end else self

    def events(self, order=None):
        """EVENTS columns that labelling reads, rows by time or in the given order."""
        rows = sorted(self.rows, key=lambda r: r[0] or datetime.min) if order is None else order
        names = ["time", "code", "event_type", "encounter_id", "available_time"]
        types = [TIME, pa.string(), pa.string(), pa.string(), TIME]
        columns = [pa.array([r[i] for r in rows], t) for i, t in enumerate(types)]
        ids = pa.array([self.subject_id] * len(rows), pa.int64())
        return pa.table([ids, *columns], names=["subject_id", *names])


def end_of_day(time):
    return datetime(time.year, time.month, time.day) + DAY - US


def random_history(subject_id, rng):
    """A subject with up to five hospital encounters whose distances like to fall on boundaries."""
    history = History(subject_id).add(datetime(1950, 1, 1), "MEDS_BIRTH", "birth")
    now = datetime(2100, 1, 1, int(rng.integers(24)), int(rng.integers(60)))
    anchors = [now]
    for number in range(rng.integers(1, 6)):
        start = now
        end = start + GAPS[rng.integers(len(GAPS) // 2)] if rng.random() < 0.93 else None
        history.stay(start, end, f"h{number}", DISPOSITIONS[rng.integers(len(DISPOSITIONS))])
        anchors += [start, end or start]
        if rng.random() < 0.5:
            when = None if rng.random() < 0.03 else (end or start) + int(rng.integers(3)) * DAY
            history.add(when, CODES[rng.integers(len(CODES))], "diagnosis", f"h{number}")
        now = (end or start) + GAPS[rng.integers(len(GAPS))] - (HOUR if rng.random() < 0.1 else timedelta(0))
    for number in range(rng.integers(0, 4)):
        start = anchors[rng.integers(len(anchors))] + GAPS[rng.integers(len(GAPS))]
        history.add(start, "ENCOUNTER_START//AMB", "visit_start", f"v{number}")
        history.add(start + HOUR, "ENCOUNTER_END//AMB", "visit_end", f"v{number}")
        own = None if rng.random() < 0.3 else f"v{number}"
        delay = GAPS[rng.integers(len(GAPS))] if own else timedelta(0)
        time = None if own is None and rng.random() < 0.05 else start + delay
        known = time + GAPS[rng.integers(len(GAPS))] if time and rng.random() < 0.5 else None
        history.add(time, CODES[rng.integers(len(CODES))], "diagnosis", own, known)
    return _with_end(history, anchors, rng)


def _with_end(history, anchors, rng):
    if rng.random() < 0.4:
        death = anchors[rng.integers(len(anchors))] + GAPS[rng.integers(len(GAPS))]
        death = end_of_day(death) if rng.random() < 0.5 else death
        history.add(None if rng.random() < 0.1 else death, "MEDS_DEATH", "death")
    last = max(r[0] for r in history.rows if r[0])
    if rng.random() < 0.5:
        history.add(last + GAPS[rng.integers(len(GAPS))], "LOINC//2345-7", "lab")
    rule = rng.integers(4)
    if rule == 0:
        history.follow_up = {"rule": "export_time", "time": (last + 400 * DAY).isoformat() + "Z"}
    elif rule == 1:
        time = anchors[rng.integers(len(anchors))] + GAPS[rng.integers(len(GAPS))]
        history.follow_up = {"rule": "export_time", "time": time.isoformat()}
    elif rule == 2:
        history.follow_up = {"rule": "days_after_last_event", "days": 365}
    return history


# --- the independent labeller ---------------------------------------------------------------------------


def micros(time):
    return None if time is None else (time - EPOCH) // US


D = 86_400_000_000  # microseconds of a day


class Facts:
    """What the rules need of a history, found by plain loops over its rows."""

    def __init__(self, history):
        rows = [(micros(t), code, kind, enc, micros(known)) for t, code, kind, enc, known in history.rows]
        timed = [r[0] for r in rows if r[0] is not None]
        deaths = [r[0] for r in rows if r[2] == "death"]
        self.dead = bool(deaths)
        self.death = min([d for d in deaths if d is not None], default=None)
        self.doubtful = self.death is not None and any(t > self.death + 60 * D for t in timed)
        rule = history.follow_up
        if rule["rule"] == "export_time":
            self.followed = micros(datetime.fromisoformat(rule["time"].removesuffix("Z")))
        else:
            self.followed = max(timed) + rule["days"] * D
        self.parts = []
        for t, _, kind, enc, _ in rows:
            if kind == "admission":
                closing = [r for r in rows if r[2] == "discharge" and r[3] == enc]
                end, code = (closing[0][0], closing[0][1]) if closing else (None, "")
                self.parts.append((t, end, code.partition("//")[2]))
        self.stays = [self._stay(group) for group in self._groups()]
        started = {r[3]: r[0] for r in rows if r[2] in ("admission", "visit_start")}
        self.codes = [(started.get(r[3], r[4]), r[1]) for r in rows if r[2] == "diagnosis"]

    def _groups(self):
        """Encounters joined as long as any two groups overlap or touch."""
        groups = [[p] for p in self.parts]
        joined = True
        while joined:
            joined = False
            for a in groups:
                for b in groups:
                    if a is not b and self._touch(a, b):
                        groups = [g for g in groups if g is not a and g is not b] + [a + b]
                        joined = True
                        break
                if joined:
                    break
        return sorted(groups, key=min_start)

    @staticmethod
    def _touch(a, b):
        span_a = (min_start(a), max(p[1] if p[1] is not None else p[0] for p in a))
        span_b = (min_start(b), max(p[1] if p[1] is not None else p[0] for p in b))
        return span_a[0] <= span_b[1] and span_b[0] <= span_a[1]

    def _stay(self, parts):
        is_open = any(p[1] is None for p in parts)
        end = None if is_open else max(p[1] for p in parts)
        closing = sorted((p for p in parts if p[1] is not None), key=lambda p: (p[1], p[0]))
        said = closing[-1][2] if closing else ""
        died = any(p[2] == "EXPIRED" for p in parts)
        if not died and said in ("", "UNK") and end is not None and self.death is not None:
            died = self.death // D <= end // D
        return min_start(parts), end, died, said in ("", "UNK")


def min_start(parts):
    return min(p[0] for p in parts)


GROUPS = {
    "hypertension_1y": ["ICD10CM//I10", "ICD9CM//4019", "SNOMED//38341003"],
    "fluid_disorder_1y": ["ICD10CM//E871", "ICD9CM//2768"],
    "lipid_disorder_1y": ["ICD10CM//E785", "ICD9CM//2724"],
}


def brute_force(task, history):
    """{prediction_time in microseconds: True, False or None (unknown)} of the eligible stays."""
    facts = Facts(history)
    if facts.doubtful:
        return {}
    found = {}
    for start, end, died, unsaid in facts.stays:
        if task in ("in_hospital_mortality", "long_stay_7d"):
            at = start + D
            alive = facts.death is None or facts.death > at
            if not alive or (end is not None and (end < at or (end == at and died))):
                continue
            if end is None:
                found[at] = None
            elif task == "long_stay_7d":
                found[at] = end - start > 7 * D
            else:
                found[at] = None if (unsaid and not died and facts.death is None) else died
            continue
        left_alive = end is not None and not died and (facts.death is None or facts.death > end)
        if left_alive and not (facts.dead and facts.death is None and unsaid):
            verdict = _after_discharge(task, facts, end)
            if verdict != "not eligible":
                found[end] = verdict
    return found


def _after_discharge(task, facts, end):
    timeless = facts.dead and facts.death is None
    if task == "mortality_30d":
        if any(facts.death is not None and facts.death // D == end // D + day for day in range(31)):
            return True
        if timeless:
            return None
        watched = facts.death is not None or (facts.followed + 1) // D > end // D + 30
        return False if watched else None
    if task == "readmission_30d":
        if any(0 < other[0] - end <= 30 * D for other in facts.stays):
            return True
        dead_by = facts.death is not None and facts.death - end <= 30 * D and facts.death <= facts.followed
        return False if dead_by or facts.followed - end >= 30 * D else None
    times = [t for t, code in facts.codes if code in GROUPS[task]]
    if any(t is None or t <= end for t in times):
        return "not eligible"
    if any(t - end <= 365 * D for t in times):
        return True
    alive = not facts.dead or (facts.death is not None and facts.death - end >= 365 * D)
    return False if alive and facts.followed - end >= 365 * D else None


TASKS = ["mortality_30d", "in_hospital_mortality", "long_stay_7d", "readmission_30d", *GROUPS]


def histories(number, seed):
    rng = np.random.default_rng(seed)
    return [random_history(i, rng) for i in range(number)]
