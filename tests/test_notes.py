"""The channel of notes."""

from hypothesis import given
from hypothesis import strategies as st

from chartscan.console import Display
from chartscan.notes import KEY, Note, Notes, notes_in, records

NOTES = st.lists(st.builds(Note, st.text(), st.text(), st.sampled_from(["", "a", "b"]), st.booleans()))


@given(NOTES)
def test_notes_are_kept_once_and_in_order(found):
    notes = Notes()
    notes.extend([*found, *found])
    assert list(notes) == list(dict.fromkeys(found))


@given(NOTES)
def test_a_record_gives_back_the_notes_that_were_put_in(found):
    assert notes_in({KEY: records(found)}) == found


def test_a_record_without_readable_notes_has_none():
    assert notes_in(None) == notes_in({}) == notes_in({KEY: 3}) == notes_in({KEY: [{"text": 1}]}) == []


@given(NOTES)
def test_a_task_has_its_own_notes_and_those_of_the_whole_dataset(found):
    notes = Notes()
    notes.extend(found)
    assert notes.about("a") == [note for note in notes if note.where != "b"]


def test_a_note_goes_to_standard_error_once_over_several_runs(capsys):
    display = Display()
    for _ in range(2):
        notes = Notes(display.note)
        notes.add("few_events", "12 train events.", where="readmission_30d")
        notes.add("cut_histories", "3 of 10 histories are cut.", warning=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("warning: readmission_30d: 12 train events.\nnote: 3 of 10 histories are cut.\n")


def test_quiet_leaves_notes_to_the_records(capsys):
    notes = Notes(Display(quiet=True).note)
    notes.add("few_events", "12 train events.")
    assert capsys.readouterr().err == ""
    assert len(notes) == 1
