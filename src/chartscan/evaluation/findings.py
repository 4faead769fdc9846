"""Notes of an evaluation: on its own numbers, and those that came with the predictions."""

from collections.abc import Iterable, Iterator

from chartscan.evaluation.result import FEW_EVENTS, TaskResult
from chartscan.notes import Note, Notes, notes_in

FEWEST_RESAMPLES = 100  # below, the 2.5 % ends of an interval are one or two resamples
TRAINING_NOTES = "training_notes"  # in the run settings of predictions: notes of the model's run record


def notes_on(tasks: Iterable[TaskResult], replicates: int) -> list[Note]:
    """All notes of an evaluation, each once: its own first."""
    tasks, found = list(tasks), Notes()
    found.extend(own_notes(tasks, replicates))
    for task in tasks:
        for model in task.models:
            found.extend(_carried(model.model, model.run))
    return list(found)


def own_notes(tasks: Iterable[TaskResult], replicates: int) -> Iterator[Note]:
    """What the numbers of an evaluation cannot say."""
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
