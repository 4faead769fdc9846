"""Random records with boundaries on purpose, as plain rows and as EVENTS; and the audit's own labeller.

`brute_force` is written from the label rules, not from the engine: it works on the rows in integer
microseconds, joins stays by repeated pairwise comparison, and walks calendar days for mortality. Where a time
is known to a day or a year only it tries many instants of it, and gives an answer only where all that agree
with the dispositions say the same.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product

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
    "SNOMED//55822004", "SNOMED//195662009", "UNVERIFIED//ICD10CM//I10",
]  # fmt: skip
DISPOSITIONS = ["//HOME", "//HOME", "//SNF", "//EXPIRED", "//UNK", ""]


@dataclass
class History:
    """Rows of one subject, and the follow-up rule. A row is (time, code, event_type, encounter_id,
    available_time, and the first instants that the two times may mean)."""

    subject_id: int
    rows: list[tuple] = field(default_factory=list)
    follow_up: dict = field(default_factory=lambda: {"rule": "days_after_last_event", "days": 0})

    def add(self, time, code, event_type, encounter=None, known=None, first=None, first_known=None):
        self.rows.append((time, code, event_type, encounter, known or time, first, first_known))
        return self

    def stay(self, start, end, encounter, disposition="//HOME", admission="HOSPITAL_ADMISSION//EMERGENCY"):
        self.add(start, admission, "admission", encounter)
        return self.add(end, f"HOSPITAL_DISCHARGE{disposition}", "discharge", encounter) if end else self

    def events(self, order=None):
        """EVENTS columns that labelling reads, rows by time or in the given order."""
        rows = sorted(self.rows, key=lambda r: r[0] or datetime.min) if order is None else order
        names = ["time", "code", "event_type", "encounter_id", "available_time"]
        names += ["earliest_time", "earliest_available_time"]
        types = [TIME, pa.string(), pa.string(), pa.string(), TIME, TIME, TIME]
        columns = [pa.array([r[i] for r in rows], t) for i, t in enumerate(types)]
        ids = pa.array([self.subject_id] * len(rows), pa.int64())
        return pa.table([ids, *columns], names=["subject_id", *names])


def start_of_day(time):
    return datetime(time.year, time.month, time.day)


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
        recorded = known or time
        first_known = start_of_day(recorded) if own is None and recorded and rng.random() < 0.4 else None
        history.add(time, CODES[rng.integers(len(CODES))], "diagnosis", own, known, None, first_known)
    return _with_end(history, anchors, rng)


def _with_end(history, anchors, rng):
    if rng.random() < 0.4:
        death = anchors[rng.integers(len(anchors))] + GAPS[rng.integers(len(GAPS))]
        by_date = rng.random() < 0.5
        first = (start_of_day(death) if rng.random() < 0.7 else death - 200 * DAY) if by_date else None
        death = end_of_day(death) if by_date else death
        timeless = rng.random() < 0.1
        history.add(None if timeless else death, "MEDS_DEATH", "death", first=None if timeless else first)
    elif rng.random() < 0.1:
        history.add(None, "VITAL_STATUS//ALIVE", "outcome")
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
        rows = [
            (micros(t), code, kind, enc, micros(known), micros(first), micros(first_known))
            for t, code, kind, enc, known, first, first_known in history.rows
        ]
        timed = [r[0] if r[5] is None else r[5] for r in rows if r[0] is not None and r[2] != "outcome"]
        deaths = [r for r in rows if r[2] == "death"]
        self.dead = bool(deaths)
        self.lives = not deaths and any(r[1] == "VITAL_STATUS//ALIVE" for r in rows)
        told = [(r[0] if r[5] is None else r[5], r[0]) for r in deaths if r[0] is not None]
        self.death = told[0] if told else None  # first and last instant
        self.doubtful = self.death is not None and any(t > self.death[1] + 60 * D for t in timed)
        rule = history.follow_up
        if rule["rule"] == "export_time":
            self.followed = micros(datetime.fromisoformat(rule["time"].removesuffix("Z")))
        else:
            self.followed = max(timed) + rule["days"] * D
        self.last = max(timed)
        self.parts = []
        for t, _, kind, enc, *_ in rows:
            if kind == "admission":
                closing = [r for r in rows if r[2] == "discharge" and r[3] == enc]
                end, code = (closing[0][0], closing[0][1]) if closing else (None, "")
                self.parts.append((t, end, code.partition("//")[2]))
        self.stays = [self._stay(group) for group in self._groups()]
        started = {r[3]: r[0] for r in rows if r[2] in ("admission", "visit_start")}
        self.codes = []  # first and last instant, code
        for r in rows:
            if r[2] == "diagnosis":
                at = started.get(r[3])
                first = r[4] if r[6] is None else r[6]
                self.codes.append(((at, at) if at is not None else (first, r[4]), r[1]))

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

    @staticmethod
    def _stay(parts):
        """Start, end, and what the dispositions say: dead, alive, both (dead, then alive) or nothing."""
        is_open = any(p[1] is None for p in parts)
        end = None if is_open else max(p[1] for p in parts)
        closed = [p for p in parts if p[1] is not None]
        last = [p[2] for p in closed if p[1] == max(q[1] for q in closed)]
        alive = "HOME" in last or "SNF" in last
        if any(p[2] == "EXPIRED" for p in parts):
            return min_start(parts), end, "both" if alive else "dead"
        return min_start(parts), end, "alive" if alive else "nothing"


def min_start(parts):
    return min(p[0] for p in parts)


GROUPS = {
    "hypertension_1y": ["ICD10CM//I10", "ICD9CM//4019", "SNOMED//38341003"],
    "fluid_disorder_1y": ["ICD10CM//E871", "ICD9CM//2768"],
    "lipid_disorder_1y": ["ICD10CM//E785", "ICD9CM//2724", "SNOMED//55822004"],
}
NOT_READ = ["LOCAL//I10", "SNOMED//195662009"]
NO_LABEL = "no label"


def brute_force(task, history):
    """{prediction_time in microseconds: True or False} of the stays that have an answer."""
    facts = Facts(history)
    if facts.doubtful:
        return {}
    found = {}
    for start, end, said in facts.stays:
        by_hours = task in ("in_hospital_mortality", "long_stay_7d")
        at = start + D if by_hours else end
        if at is None or at > facts.followed or (end is None and at > facts.last):
            continue
        answers = set()
        for death in deaths_that_agree(facts, start, end, said):
            if by_hours:
                answers.add(_after_a_day(task, start, end, death))
            else:
                answers |= _after_discharge(task, facts, end, death)
        if len(answers) == 1 and answers <= {True, False}:
            found[at] = answers.pop()
    return found


def instants(first, last, facts):
    """Instants of an interval at which something may change, its ends among them."""
    points = [first, last]
    for start, end, _ in facts.stays:
        for mark in (start, start + D, *([] if end is None else [end, end + D, end + 365 * D])):
            points += [mark - 1, mark, mark + 1]
        if end is not None:
            day = end // D
            points += [(day + 31) * D - 1, (day + 31) * D, end + 30 * D, end + 30 * D + 1]
            points += [end + 7 * D, start + 7 * D, start + 7 * D + 1]
    return sorted({p for p in points if first <= p <= last})


def deaths_that_agree(facts, start, end, said):
    """(whether the patient died in the stay or None, instant of death or None) of all possible readings."""
    if facts.death is None:
        back = any(other[0] > (start if end is None else end) + D for other in facts.stays)
        if said == "both" or (said == "dead" and (facts.lives or back)):
            return [(None, None)]
        if said == "dead":
            return [(True, end)]
        if said == "alive" or facts.lives:
            return [(False, None)]
        return [(None, None)] if not facts.dead or end is None else [(None, "some time")]
    first, last = facts.death
    if end is None:
        return [(None, t) for t in instants(first, last, facts)]
    if said in ("dead", "both") and first < last and first <= end <= last and start <= end:
        return [(True, end)]  # the discharge dates the death
    times = [t for t in instants(first, last, facts) if t >= start]
    if not times:
        return [(None, t) for t in (first, last)]
    late = end + D if said == "dead" else end
    if said in ("dead", "both"):
        agree = [(True, min(t, end)) for t in times if t <= late]
    elif said == "alive":
        agree = [(False, t) for t in times if t > end]
    else:
        agree = [(t <= end, t) for t in times]
    return agree or [(None, t) for t in times]


def _after_a_day(task, start, end, reading):
    died, death = reading
    at = start + D
    if (isinstance(death, int) and death <= at) or (end is not None and end < at) or end is None:
        return NO_LABEL
    if task == "in_hospital_mortality":
        return NO_LABEL if died is None else died
    stop = min(death, end) if isinstance(death, int) else end
    if died is None and isinstance(death, int) and (stop - start > 7 * D) != (end - start > 7 * D):
        return NO_LABEL
    return stop - start > 7 * D


def _after_discharge(task, facts, end, reading):
    """All answers that a reading of the death allows."""
    died, death = reading
    unsaid = died is None and death is None and not facts.dead
    if died or (died is None and not unsaid):
        return {NO_LABEL}
    if died is None and any(s[2] in ("both", "dead") for s in facts.stays if s[1] == end):
        return {NO_LABEL}
    timeless = facts.dead and death is None
    if task == "mortality_30d":
        if death is not None and any(death // D == end // D + day for day in range(31)):
            return {True}
        if timeless:
            return {NO_LABEL}
        watched = death is not None or (facts.followed + 1) // D > end // D + 30
        return {False if watched else NO_LABEL}
    if task == "readmission_30d":
        if any(0 < other[0] - end <= 30 * D for other in facts.stays):
            return {True}
        dead_by = death is not None and facts.death[1] <= facts.followed
        return {False if dead_by or facts.followed - end >= 30 * D else NO_LABEL}
    return _onsets(task, facts, end, death, timeless)


def _onsets(task, facts, end, death, timeless):
    """Answers over all readings of the times of diagnoses; one that is not understood may be any or none."""
    if any(code in GROUPS[task] and span[0] is None for span, code in facts.codes):
        return {NO_LABEL}
    alive = not facts.dead or (death is not None and death - end >= 365 * D)
    negative = False if alive and facts.followed - end >= 365 * D and not timeless else NO_LABEL
    sure = [instants(*span, facts) for span, code in facts.codes if code in GROUPS[task]]
    unverified = [f"UNVERIFIED//{code}" for code in GROUPS[task]]
    strange = [span for span, code in facts.codes if code in NOT_READ or code in unverified]
    for span in strange:
        times = [end, end + 1, end + 366 * D] if span[0] is None else instants(*span, facts)
        sure.append([*times, end + 10_000 * D])  # or it is none of the group
    answers = set()
    for times in product(*sure):
        if any(t <= end for t in times):
            answers.add(NO_LABEL)
        else:
            answers.add(True if any(t - end <= 365 * D for t in times) else negative)
    return answers


TASKS = ["mortality_30d", "in_hospital_mortality", "long_stay_7d", "readmission_30d", *GROUPS]


def histories(number, seed):
    rng = np.random.default_rng(seed)
    return [random_history(i, rng) for i in range(number)]
