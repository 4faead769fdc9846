"""Notes and limits of an evaluation: what it assumed and cannot show."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from chartscan.evaluation.result import FEW_EVENTS, Evaluation, TaskResult
from chartscan.evaluation.sections import OTHER, SAME, UNKNOWN, Origin, ReportSections, origins
from chartscan.notes import Note, Notes, notes_in

FEWEST_RESAMPLES = 100  # below, the 2.5 % ends of an interval are one or two resamples
TRAINING_NOTES = "training_notes"  # in the run settings of predictions: notes of the model's run record
FEWEST_EVENTS = 100  # Collins et al. 2016, Statistics in Medicine 35:214: at least 100, better 200
ENOUGH_EVENTS = 200
ENOUGH_RESAMPLES = 1000
KINDS = (SAME, OTHER, UNKNOWN)
UNCALIBRATED = (None, "none", "")


class Limitation(msgspec.Struct, frozen=True):
    """One limit: a heading and a sentence. A `warning` can change the conclusion."""

    heading: str
    text: str
    warning: bool = False


def limitations(evaluation: Evaluation, sections: ReportSections) -> list[Limitation]:
    """Return all limits that follow from the numbers and the facts, warnings first."""
    found = [
        *(one for task in evaluation.tasks for one in _sample_size(task, title(sections, task.task))),
        *(one for task in evaluation.tasks for one in _baselines(task, title(sections, task.task))),
        *_seen(list(origins(evaluation))),
        *_place(list(origins(evaluation))),
        _calibration(evaluation, sections),
        _data(sections),
        _follow_up(sections.dataset.follow_up if sections.dataset else None),
        _intervals(evaluation),
        _multiplicity(evaluation),
        _subgroups(evaluation),
    ]
    return sorted(found, key=lambda one: not one.warning)


def title(sections: ReportSections, task: str) -> str:
    """The readable name of a task."""
    return sections.task_titles.get(task, task.replace("_", " "))


def notes_on(tasks: Iterable[TaskResult], replicates: int) -> list[Note]:
    """All notes of an evaluation, each once: its own first."""
    tasks, found = list(tasks), Notes()
    found.extend(own_notes(tasks, replicates))
    for task in tasks:
        for model in task.models:
            found.extend(_carried(model.model, model.run))
    return list(found)


def own_notes(tasks: Iterable[TaskResult], replicates: int) -> Iterator[Note]:
    """Yield notes on what the numbers of an evaluation cannot show."""
    yield from resample_notes(replicates)
    for task in tasks:
        if task.events in (0, task.predictions):
            text = f"All {task.predictions:,} predictions have the same outcome. Nothing can be estimated."
            yield Note("one_class", text, task.task)
            continue
        if task.few:
            text = (
                f"The AUROC rests on {task.few} among {task.predictions:,} predictions. From fewer than "
                f"{FEW_EVENTS} it is mostly chance."
            )
            yield Note("few_events", text, task.task)
        reasons: dict[tuple[str, str], list[str]] = {}
        for one in task.differences:
            if one.not_estimable:
                metrics = reasons.setdefault((one.baseline, one.not_estimable), [])
                metrics.append(one.metric.replace("_", " "))
        for (baseline, why), metrics in reasons.items():
            text = f"The difference to {baseline} is not estimable ({', '.join(metrics)}): {why}."
            yield Note("not_estimable", text, task.task)


def resample_notes(replicates: int) -> Iterator[Note]:
    """A note where there are too few resamples for any interval."""
    if replicates < FEWEST_RESAMPLES:
        text = f"Intervals of {replicates:,} resamples mean nothing. Give --bootstrap 1000."
        yield Note("few_resamples", text)


def _carried(model: str, run: dict) -> Iterator[Note]:
    """Notes that came with predictions, with the model they are of."""
    prediction = notes_in(run)
    training = notes_in({"notes": run.get(TRAINING_NOTES, [])})
    told = {(note.code, note.where) for note in prediction}
    for note in prediction:
        yield Note(note.code, f"{model}: {note.text}", note.where, note.warning)
    for note in training:
        if note.code == "unknown_codes" or (note.code, note.where) not in told:
            yield Note(note.code, f"{model}, training: {note.text}", note.where, note.warning)


def _sample_size(task: TaskResult, name: str) -> list[Limitation]:
    rarer = min(task.events, task.predictions - task.events)
    word = "events" if task.events <= task.predictions - task.events else "non-events"
    if rarer == 0:
        text = f"All {task.predictions:,} predictions have the same outcome: nothing can be estimated."
        return [Limitation(f"{name}: one class only", text, True)]
    if rarer < ENOUGH_EVENTS:
        short = "too few for any conclusion" if rarer < FEWEST_EVENTS else "few for judging calibration"
        text = (
            f"{rarer:,} {word} among {task.predictions:,} predictions of {task.subjects:,} subjects are "
            f"{short}; at least 100, better 200, are advised. Read the intervals, not the numbers."
        )
        return [Limitation(f"{name}: few {word}", text, rarer < FEWEST_EVENTS)]
    return []


def _baselines(task: TaskResult, name: str) -> list[Limitation]:
    if len(task.models) > 1:
        return []
    text = (
        "No baseline was scored on the same rows, so the result cannot say whether the model earns its keep."
    )
    return [Limitation(f"{name}: no baseline", text, True)]


def _seen(found: list[Origin]) -> list[Limitation]:
    """How many of the subjects were seen in training: a warning where some were, or may have been."""
    seen = [one for one in found if one.seen]
    unknown = [one for one in found if one.seen is None]
    limits = []
    if seen:
        most = {one.model: one for one in sorted(seen, key=lambda one: one.seen or 0)}.values()
        told = "; ".join(f"{one.model}: {one.seen:,} of {one.subjects:,}" for one in most)
        text = (
            f"Some of the evaluated subjects were used for training or tuning. For the task with most of "
            f"them, {told}. Results for other subjects will be worse."
        )
        limits.append(Limitation("Not held out", text, True))
    if unknown:
        models = ", ".join(sorted({one.model for one in unknown}))
        text = f"Unknown whether evaluated subjects were used to train {models}. If so, results are too good."
        limits.append(Limitation("Unknown who was used in training", text, True))
    if not seen and not unknown:
        limits.append(Limitation("Held out", "None of the evaluated subjects were used in training."))
    return limits


def _place(found: list[Origin]) -> list[Limitation]:
    """What the numbers show for other hospitals: by where each model was trained."""
    names = {kind: ", ".join(sorted({o.model for o in found if o.dataset == kind})) for kind in KINDS}
    limits = []
    if names[SAME]:
        text = (
            f"Subjects of the test set come from the same source and years as the train subjects of "
            f"{names[SAME]}. Performance at another site or in later years is not shown here."
        )
        limits.append(Limitation("One dataset, split by subject", text))
    if names[OTHER]:
        text = (
            f"{names[OTHER]} learned from another dataset than the one evaluated. The numbers say how well "
            "what was learned there holds here. Calibration and thresholds are those of the other dataset."
        )
        limits.append(Limitation("Another dataset than the one trained on", text, True))
    if names[UNKNOWN]:
        text = f"Unknown whether {names[UNKNOWN]} was trained on the evaluated dataset or on another."
        limits.append(Limitation("Dataset trained on not known", text, True))
    return limits


def _calibration(evaluation: Evaluation, sections: ReportSections) -> Limitation:
    models = [(m.model, m.calibrated, task.task) for task in evaluation.tasks for m in task.models]
    without = sorted({name for name, how, _ in models if how in UNCALIBRATED})
    if without:
        tasks = [task for _, how, task in models if how in UNCALIBRATED]
        some = {name for name, how, _ in models if how not in UNCALIBRATED} & set(without)
        where = f" for {', '.join(title(sections, task) for task in dict.fromkeys(tasks))}" if some else ""
        text = (
            f"The scores of {', '.join(without)}{where} are uncalibrated, or nothing says that they were "
            "calibrated. They rank subjects; they must not be read as risks."
        )
        return Limitation("Uncalibrated scores", text, True)
    ways = sorted({str(how) for _, how, _ in models})
    text = (
        f"The settings say that all models were calibrated ({', '.join(ways)}) before these predictions. The "
        "curves show the calibrated probabilities."
    )
    return Limitation("Calibration", text)


def _data(sections: ReportSections) -> Limitation:
    simulated = sections.dataset.simulated if sections.dataset else None
    if simulated is None:
        text = (
            "It is unknown whether the data are simulated or real. The best possible AUROC is unknown, so "
            "no share of it is given."
        )
        return Limitation("Origin of the data", text)
    if simulated:
        text = (
            "The records come from a simulator. The numbers show whether the method works, not how well it "
            "would do on patients. The ceiling is the AUROC of the true risks."
        )
        return Limitation("Simulated data", text, True)
    text = "The data are real, so the best possible AUROC is not known and no share of it can be given."
    return Limitation("Real data", text)


def _follow_up(rule: dict[str, Any] | None) -> Limitation:
    heading = "Follow-up"
    if not rule:
        text = "How long subjects were followed is not available: labels may be incomplete."
        return Limitation(heading, text, True)
    if rule.get("rule") == "export_time":
        text = (
            f"Every subject is assumed to be followed up to the time of the export ({rule.get('time')}). "
            "Events outside this hospital count as not having happened."
        )
    elif rule.get("rule") == "days_after_last_event" and not rule.get("days"):
        text = (
            "The end of follow-up is unknown, so follow-up ends with each one's last record. "
            "Only subjects who came back or died count as negatives: a selection by the future. Tell how "
            "long they were followed when ingesting (--follow-up-end or --follow-up-days)."
        )
        return Limitation(heading, text, True)
    elif rule.get("rule") == "days_after_last_event":
        text = (
            f"Every subject is assumed to be followed up to {rule.get('days')} days after the last record, "
            "and not beyond. Predictions whose horizon ends later have no label and were left out."
        )
    else:
        text = f"The follow-up rule is '{rule.get('rule')}'."
    return Limitation(heading, text)


def _intervals(evaluation: Evaluation) -> Limitation:
    undefined = sum(task.undefined_resamples for task in evaluation.tasks)
    text = (
        f"Intervals are 95 % percentile intervals of {evaluation.replicates:,} bootstrap resamples of whole "
        "subjects. They hold for the models as trained: the spread between training runs is not in them."
    )
    if undefined:
        text += f" {undefined:,} resamples lacked a class and were left out."
    if evaluation.replicates < FEWEST_RESAMPLES:
        text += f" Intervals of fewer than {FEWEST_RESAMPLES} resamples mean nothing: do not read them."
    elif evaluation.replicates < ENOUGH_RESAMPLES:
        text += f" Fewer than {ENOUGH_RESAMPLES:,} resamples make the ends of the intervals uncertain."
    return Limitation("Intervals", text, evaluation.replicates < ENOUGH_RESAMPLES)


def _multiplicity(evaluation: Evaluation) -> Limitation:
    compared = sum(len(task.differences) for task in evaluation.tasks)
    text = (
        f"{len(evaluation.tasks)} tasks and {compared} paired differences are shown without correction for "
        "multiple comparisons; of 20 true zeros about one interval misses zero by chance."
    )
    return Limitation("Multiple comparisons", text)


def _subgroups(evaluation: Evaluation) -> Limitation:
    if any(task.groups for task in evaluation.tasks):
        flagged = [f"{g.attribute} {g.group}" for task in evaluation.tasks for g in task.groups if g.flagged]
        text = f"Groups with an AUROC gap above 0.05: {', '.join(flagged) or 'none'}."
        return Limitation("Subgroups", text, bool(flagged))
    return Limitation("Subgroups", "Performance by age, sex or other groups was not assessed.")
