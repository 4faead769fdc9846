"""Where a future begins: the tokens that a model sees of a record, and the state they leave."""

from dataclasses import dataclass

from chartscan.artifact import SequenceArtifact
from chartscan.inputs.tokens import Continuation, Encoded, Grammar, Timeline, window


@dataclass(frozen=True)
class History:
    """The first tokens of one subject's record. `now` is the instant the future is asked for."""

    subject_id: int
    now: int  # microseconds since 1970
    window: Encoded  # what fits into the context
    state: Continuation
    grammar: Grammar


def history_of(
    artifact: SequenceArtifact,
    subject_id: int,
    encoded: Encoded,
    timeline: Timeline,
    now: int,
    context: int | None = None,
) -> History:
    """The history of the tokens `encoded`, the visible part of a subject's sequence.

    Of a longer one, the model sees the last `context` tokens (default: the vocabulary's own context).
    """
    config, pace = artifact.vocabulary.config, artifact.pace
    assert pace is not None
    shown = window(encoded, encoded.n, context or config.context)
    state = Continuation.after(shown, timeline.origin(encoded, now), config, pace)
    return History(subject_id, now, shown, state, Grammar.after(encoded.types))
