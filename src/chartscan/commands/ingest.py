"""Ingest raw records into a dataset, with a source, the store, and a follow-up rule.

The words that were not understood can be written as a starter of a site file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chartscan import site_key
from chartscan.errors import ConfigError, DataError
from chartscan.files import write_bytes
from chartscan.find import find, outside_names, outside_parts, register
from chartscan.labels.making import stay_config
from chartscan.notes import Note
from chartscan.runs.job import Watcher
from chartscan.settings import with_settings
from chartscan.site import MEANINGS, Site, Vocabulary, read_site
from chartscan.store.accounting import OTHER_WORDS, Accounting, Recognition, Word, title_of
from chartscan.store.config import DaysAfterLastEvent, ExportTime, FollowUp, StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter

SECTIONS = {  # thing of the account -> section of the site file's vocabulary
    "class": "class",
    "encounter_status": "encounter_status",
    "disposition": "disposition",
    "diagnosis_system": "systems",
    "diagnosis": "diagnoses",
    "diagnosis_status": "diagnosis_status",
    "sex": "sex",
    "units": "units",
}
NOT_WORDS = {"no class", "no code", "no code system", "not said", OTHER_WORDS}  # nothing a site could declare


@dataclass(frozen=True)
class IngestPlan:
    """The arguments of the command."""

    source: str  # a name, or the Python file of a source
    path: Path
    out: Path
    settings: list[str]  # of the source
    store: list[str]  # of the store
    follow_up_end: str | None = None
    follow_up_days: int | None = None
    strict: bool = False
    overwrite: bool = False
    splits: str | None = None  # of sources that come in sets
    site: Path | None = None  # the site file
    suggest_site: Path | None = None  # where a starter of one is written


def run_ingest(plan: IngestPlan, watcher: Watcher) -> tuple[Dataset, Accounting]:
    """Read `plan.path` and publish `plan.out`; on any error, `plan.out` stays as it was."""
    if plan.source.endswith(".py"):
        plan = replace(plan, source=register(Path(plan.source), "sources")[1])
    plan = replace(plan, source=plan.source.replace("-", "_"))
    source = find("sources", plan.source)
    site = read_site(plan.site) if plan.site else Site()
    stay_config(site.stays, "--site stays.")  # refused now, not by `label`
    settings = with_settings(source.Config(), plan.settings, elsewhere={"--store": StoreConfig()})
    config = with_vocabulary(with_splits(settings, plan), site, plan)
    store = store_config(plan)
    check_places(plan)
    note_new_key(watcher)
    writer = DatasetWriter(
        plan.out,
        source=plan.source,
        settings=msgspec.to_builtins(config) | outside_parts(config),
        site=msgspec.to_builtins(site),
        config=store,
        overwrite=plan.overwrite,
        sorting=lambda: watcher.progress("Sorting", "events"),
    )
    try:
        with writer, watcher.progress("Reading", "bytes") as reading:  # ends before the writer sorts
            source.read(plan.path, writer, config, reading)
            if plan.source in outside_names("sources"):
                check_account(plan, writer.accounting)
    finally:  # also of an export that could not be published: its words may be what is wrong
        suggest(plan, writer.accounting, site, watcher)
    return Dataset.open(plan.out), writer.accounting


def check_account(plan: IngestPlan, accounting: Accounting) -> None:
    """Raise DataError where an outside source counted no line; warn of unmentioned files.

    That the counted lines add up is checked for every source, by the writer.
    """
    if not accounting.lines_in:
        raise DataError(
            f"The source {plan.source} counted no line of {plan.path}, so that lost lines would not be seen. "
            "Call writer.accounting.line(file, type) for each line, and accept, filter, merge_duplicate or "
            "quarantine. See docs/extend-source.md."
        )
    told = {row["file"] for row in accounting.table()} | {file["name"] for file in accounting.files}
    base = plan.path if plan.path.is_dir() else plan.path.parent
    inputs = plan.path.rglob("*") if plan.path.is_dir() else [plan.path]
    for path in sorted(path for path in inputs if path.is_file()):
        name = path.relative_to(base).as_posix()
        if not told & {name, path.name}:
            accounting.file(name, "not mentioned", "the source does not say", path.stat().st_size)
            accounting.warn(f"{name}: the source {plan.source} does not account for it.", "file_in_doubt")


def note_new_key(watcher: Watcher) -> None:
    """Create the site key if missing, with a note: all subjects are new then."""
    path = site_key.key_path()
    missing = not site_key.is_open() and not path.exists()
    site_key.site_key()
    if missing:
        text = (
            f"{path}: a new site key was made. Keep a copy. Patients of datasets that were made with another "
            f"key are not recognised; if there is one, name it with {site_key.VARIABLE} and ingest again."
        )
        watcher.note(Note("new_site_key", text, warning=False))


def with_vocabulary(config: msgspec.Struct, site: Site, plan: IngestPlan) -> msgspec.Struct:
    """Return the source's settings with the site's words; ConfigError without such a setting."""
    if site.vocabulary == Vocabulary():
        return config
    if "vocabulary" not in config.__struct_fields__:
        raise ConfigError(
            f"--site {plan.site}: the source {plan.source} has no words that a site could declare. Leave out "
            "the section 'vocabulary'."
        )
    return msgspec.structs.replace(config, vocabulary=site.vocabulary)


def suggest(plan: IngestPlan, accounting: Accounting, site: Site, watcher: Watcher) -> None:
    """Write a starter site file, if requested and any words were read."""
    if plan.suggest_site is None or not any(
        word.thing in SECTIONS for word, _ in accounting.recognition.words()
    ):
        return
    number = write_suggestions(plan.suggest_site, accounting.recognition, site)
    watcher.say(f"{plan.suggest_site}: {number:,} words to fill in")


def with_splits(config: msgspec.Struct, plan: IngestPlan) -> msgspec.Struct:
    """Return the source's settings with these splits; ConfigError where it does not come in sets."""
    if plan.splits is None:
        return config
    if "splits" not in config.__struct_fields__:
        raise ConfigError(
            f"--splits: the source {plan.source} does not come in sets. Its subjects are split at random: "
            "--store train_fraction=0.7 --store tuning_fraction=0.15 --store seed=0"
        )
    try:
        return msgspec.structs.replace(config, splits=plan.splits)
    except ValueError as err:
        raise ConfigError(f"--splits: {err}.") from None


def store_config(plan: IngestPlan) -> StoreConfig:
    """Return the store's settings: those of --store, then options of the same name."""
    config = with_settings(
        StoreConfig(), plan.store, "--store", {"--set": find("sources", plan.source).Config()}
    )
    rule = follow_up(plan)
    return msgspec.structs.replace(
        config, strict=plan.strict or config.strict, follow_up=config.follow_up if rule is None else rule
    )


def check_places(plan: IngestPlan) -> None:
    """Raise ConfigError where IN and OUT overlap: the input is never changed."""
    taken, made = plan.path.resolve(), plan.out.resolve()
    if (starter := plan.suggest_site) is not None:
        if starter.exists() or starter.is_symlink():
            raise ConfigError(f"--suggest-site {starter} exists and is not overwritten. Name a new file.")
        if not starter.parent.is_dir():
            raise ConfigError(f"--suggest-site {starter}: there is no folder {starter.parent}.")
        if {taken, made} & {starter.resolve(), *starter.resolve().parents}:
            raise ConfigError(f"--suggest-site {starter}: name a file outside of IN and OUT.")
    if taken == made or taken in made.parents or made in taken.parents:
        raise ConfigError(
            f"{plan.out} and {plan.path} must not be the same folder, nor one inside the other. "
            "Choose another output folder."
        )


def follow_up(plan: IngestPlan) -> FollowUp | None:
    """The rule the user set, if any."""
    if plan.follow_up_end is not None and plan.follow_up_days is not None:
        raise ConfigError("Give --follow-up-end or --follow-up-days, not both.")
    if plan.follow_up_days is not None:
        try:
            return DaysAfterLastEvent(plan.follow_up_days)
        except ValueError as err:
            raise ConfigError(f"--follow-up-days: {err}.") from None
    if plan.follow_up_end is None:
        return None
    try:
        time = datetime.fromisoformat(plan.follow_up_end)
    except ValueError:
        raise ConfigError("--follow-up-end: expected a date such as 2024-12-31.") from None
    return ExportTime(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC))


COLUMNS = ("lines_in", "accepted", "merged_duplicates", "filtered", "quarantined")
_MOST_FILES = 20  # named for each reason


def accounting_lines(accounting: Accounting, dataset: Dataset) -> list[str]:
    """Return the account of lines by type of record, and what the dataset holds."""
    by_type: dict[str, list[int]] = {}
    for row in accounting.table():
        numbers = [row[c] if isinstance(row[c], int) else sum(row[c].values()) for c in COLUMNS]
        before = by_type.get(row["type"], [0] * len(COLUMNS))
        by_type[row["type"]] = [a + b for a, b in zip(before, numbers, strict=True)]
    heads = ("lines in", "= accepted", "+ merged", "+ filtered", "+ quarantined")
    lines = [f"{'type':<28}" + "".join(f"{head:>14}" for head in heads)]
    lines += [f"{name:<28}" + "".join(f"{n:>14,}" for n in row) for name, row in sorted(by_type.items())]
    n = dataset.manifest["counts"]
    return [
        *lines,
        *file_lines(accounting),
        *(f"Warning: {text}" for text in accounting.warnings),
        f"{dataset.path}: {n['subjects']:,} subjects, {n['events']:,} events, {n['codes']:,} codes",
    ]


def file_lines(accounting: Accounting) -> list[str]:
    """Return the files that gave no records, by reason; empty where every file was read."""
    by_reason: dict[str, list[str]] = {}
    for file in accounting.files:
        if file["reason"]:
            by_reason.setdefault(f"{file['how']} ({file['reason']})", []).append(file["name"])
    lines = []
    for reason, names in sorted(by_reason.items()):
        more = f" and {len(names) - _MOST_FILES} more" if len(names) > _MOST_FILES else ""
        lines.append(f"{reason}: {', '.join(names[:_MOST_FILES])}{more}")
    return lines


def write_suggestions(path: Path, recognition: Recognition, site: Site) -> int:
    """Write a starter site file: declared words, and every word still unknown.

    Free text is in it too, so that only its owner may read it. Gives the number of words to fill in.
    """
    words = [(word, n) for word, n in recognition.words() if word.how == "unknown" and word.thing in SECTIONS]
    content, number = suggestions(words, site)
    write_bytes(path, content.encode(), private=True)
    return number


_PREFACE = """\
# Words of the records that chartscan did not understand, with the number of records of each.
# Write a meaning after each colon or delete the line, then: chartscan ingest ... --site THIS_FILE
# Words are listed as they stand in the records: keep this file as private as the records.
"""


def suggestions(words: Iterable[tuple[Word, int]], site: Site) -> tuple[str, int]:
    """Return the starter's text, units commented out, and its count of unknown words."""
    declared = {
        "class": site.vocabulary.class_,
        **{part: getattr(site.vocabulary, part) for part in SECTIONS.values() if part != "class"},
    }
    blank: dict[str, dict[str, str]] = {part: {} for part in declared}
    notes = []
    for word, n in words:
        if word.word in NOT_WORDS:
            notes.append(f"# {title_of(word.thing)}: {n:,} records with {word.word}; no word to declare")
            continue
        key = f"{word.system}|{word.word}" if word.system else word.word
        blank[SECTIONS[word.thing]].setdefault(key, f"{n:,} records")
    sections = [_section(part, declared[part], blank[part]) for part in declared]
    body = "".join(filter(None, sections))
    stays = "".join(f"  {_quoted(k)}: {json.dumps(v, ensure_ascii=False)}\n" for k, v in site.stays.items())
    text = _PREFACE + "".join(f"{note}\n" for note in notes)
    text += f"vocabulary:\n{body}" if body else "# Every word was understood.\n"
    number = sum(len(keys) for part, keys in blank.items() if part != "units")
    return text + (f"stays:\n{stays}" if stays else ""), number


def _section(part: str, declared: Mapping[str, str], blank: Mapping[str, str]) -> str:
    if not declared and not blank:
        return ""
    lines = [f"  {part}:  # {', '.join(MEANINGS[part])}"]
    lines += [f"    {_quoted(word)}: {_quoted(meaning)}" for word, meaning in declared.items()]
    open_words = {word: n for word, n in blank.items() if word not in declared}
    mark = "# " if part == "units" else ""
    lines += [f"    {mark}{_quoted(word)}:  # fill in: {n}" for word, n in open_words.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text as YAML in double quotes; what cannot be printed is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    number = ord(letter)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
