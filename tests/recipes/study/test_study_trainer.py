"""The trainer of real studies: where it computes answers."""

from chartscan.recipes.study._trainer import on_device
from family_artifacts import ensemble, sequence_artifact, series_artifact, summary_artifact


def test_every_sequence_model_is_asked_on_the_device_of_the_study():
    found = on_device(
        ensemble(sequence_artifact(), series_artifact(), summary_artifact(), sequence_artifact(1)), "meta"
    )
    first, series, _, last = found.members
    for member in (first, last):
        for part in (member.model, member.head):
            assert {weights.device.type for weights in part.parameters()} == {"meta"}
    assert next(series.model.parameters()).device.type == "cpu"
    alone = sequence_artifact()
    assert on_device(alone, "cpu") is alone
