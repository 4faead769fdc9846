"""The limits state themselves, and the grave ones come first."""

from chartscan.evaluation import DatasetFacts, PredictionSet, ReportSections, evaluate
from chartscan.evaluation.limitations import limitations

REAL = ReportSections(
    dataset=DatasetFacts(simulated=False, follow_up={"rule": "days_after_last_event", "days": 365})
)


def found(evaluation, sections=REAL):
    return {one.heading: one for one in limitations(evaluation, sections)}


def calibrated(models):
    run = {"calibration": "platt", "split": "held_out", "dataset": "a", "trained_on": {"fingerprint": "a"}}
    return [PredictionSet(m.task, m.model, m.table, m.cohort, run) for m in models]


def test_a_sound_evaluation_warns_of_nothing(make_models):
    models, _ = make_models()
    assert not [one for one in limitations(evaluate(calibrated(models)), REAL) if one.warning]


def test_scores_that_nobody_calibrated_are_named(make_models):
    models, _ = make_models()
    one = found(evaluate(models, bootstrap=10))["Uncalibrated scores"]
    assert one.warning
    assert "xgboost" in one.text
    assert "ehrmamba-small" not in one.text


def test_few_events_are_a_warning_below_a_hundred_and_a_remark_below_two_hundred(make_models):
    few = found(evaluate(make_models(n=200)[0], bootstrap=10))["readmission 30d: few events"]
    more = found(evaluate(make_models(n=700)[0], bootstrap=10))["readmission 30d: few events"]
    assert few.warning
    assert not more.warning
    assert "readmission 30d: few events" not in found(evaluate(make_models()[0], bootstrap=10))


def test_a_missing_baseline_is_a_warning(make_models):
    models, _ = make_models()
    assert found(evaluate(models[:1], bootstrap=10))["readmission 30d: no baseline"].warning


def test_the_follow_up_assumption_is_spelled_out(make_models):
    evaluation = evaluate(make_models()[0], bootstrap=10)
    assert "365 days after the last record" in found(evaluation)["Follow-up"].text
    export = DatasetFacts(simulated=True, follow_up={"rule": "export_time", "time": "2021-12-31"})
    assert "2021-12-31" in found(evaluation, ReportSections(dataset=export))["Follow-up"].text
    assert found(evaluation, ReportSections())["Follow-up"].warning


def test_simulated_data_are_called_so_and_unknown_origin_is_said(make_models):
    evaluation = evaluate(make_models()[0], bootstrap=10)
    assert found(evaluation, ReportSections(dataset=DatasetFacts(simulated=True)))["Simulated data"].warning
    assert "simulated or real" in found(evaluation, ReportSections())["Origin of the data"].text
    assert not found(evaluation)["Real data"].warning


def test_fewer_than_a_thousand_resamples_are_a_warning(make_models):
    models, _ = make_models(n=300)
    assert found(evaluate(models, bootstrap=999))["Intervals"].warning
    assert not found(evaluate(models, bootstrap=1000))["Intervals"].warning


def test_warnings_come_first(make_models):
    flags = [
        one.warning for one in limitations(evaluate(make_models(n=200)[0], bootstrap=10), ReportSections())
    ]
    assert flags == sorted(flags, reverse=True)


def test_intervals_of_fewer_than_a_hundred_resamples_are_said_to_mean_nothing(make_models):
    models, _ = make_models(n=300)
    few, more = (found(evaluate(models, bootstrap=n))["Intervals"] for n in (99, 100))
    assert few.warning
    assert "mean nothing" in few.text
    assert "mean nothing" not in more.text


def test_tasks_without_calibration_are_named_where_a_model_has_it_for_others(make_models):
    models, _ = make_models()
    others = [PredictionSet("death", m.model, m.table, m.cohort, {}) for m in models]
    text = found(evaluate([*calibrated(models), *others], bootstrap=10))["Uncalibrated scores"].text
    assert "for death are uncalibrated" in text
    assert "readmission" not in text
