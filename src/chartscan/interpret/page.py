"""Explanations as one HTML file without network requests: a timeline of each answer's events.

Everything from records and users is data, never markup: JSON that the script puts in as text.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "template"


class Event(NamedTuple):
    """One event of an answer, as people read it."""

    time: datetime | None
    code: str
    type: str
    description: str | None
    value: str | None
    visit: int


class Coming(NamedTuple):
    """An event after the prediction time, forecast or recorded."""

    days: float  # since the prediction time
    token: str  # what forecast and record are compared by
    type: str
    description: str
    value: str | None  # recorded, or the range that the token stands for
    weight: float | None = None  # probability of the token, or share of the futures that hold it


class Forecast(NamedTuple):
    """What a model forecast after the prediction time, and what came."""

    days: float  # how far both go
    samples: int
    followed_days: float | None  # until when the record is complete; None: not known
    came: list[Coming]
    likeliest: list[Coming]  # one future, of the likeliest token each time
    shares: list[Coming]  # tokens of most sampled futures, at the median day of the first


class Patient(NamedTuple):
    """One answer and its explanations."""

    subject: str
    task: str
    asked: str
    probability: float
    label: bool | None
    true_risk: float | None
    events: list[Event]
    attributions: dict[str, list[float]]  # by method
    forecast: Forecast | None = None


def page(
    patients: Sequence[Patient],
    report: Mapping[str, Any],
    titles: Mapping[str, str],
    signed: Mapping[str, str],
) -> str:
    """The page as text. `report` is what explain.json holds.

    `signed` are the methods that tell up from down, and the words for what each sets an event against.
    """
    data = {
        "patients": [_packed(one) for one in patients],
        "tasks": report["tasks"],
        "titles": dict(titles),
        "signed": dict(signed),
    }
    found = json.dumps(data, allow_nan=False, separators=(",", ":"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("explain.html").render(
        report=report, data=Markup(_inside_script(found)), plotly=Markup(_plotly())
    )


def _inside_script(text: str) -> str:
    """JSON that no tag in it can end."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(one: Patient) -> dict[str, Any]:
    """Columns instead of rows, and as many digits as can be seen."""
    times, codes, types, descriptions, values, visits = (
        zip(*one.events, strict=True) if one.events else ((),) * 6
    )
    return {
        "subject": one.subject,
        "task": one.task,
        "asked": one.asked,
        "probability": one.probability,
        "label": one.label,
        "true_risk": one.true_risk,
        "times": [None if time is None else time.isoformat(" ", "minutes") for time in times],
        "codes": codes,
        "types": types,
        "descriptions": descriptions,
        "values": values,
        "visits": visits,
        "attributions": {name: [_short(v) for v in found] for name, found in one.attributions.items()},
        "forecast": None if one.forecast is None else _packed_forecast(one.forecast),
    }


def _packed_forecast(one: Forecast) -> dict[str, Any]:
    columns = {name: _columns(getattr(one, name)) for name in ("came", "likeliest", "shares")}
    followed = None if one.followed_days is None else _short(one.followed_days)
    return {"days": one.days, "samples": one.samples, "followed": followed, **columns}


def _columns(events: Sequence[Coming]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        name: [getattr(event, name) for event in events] for name in Coming._fields
    }
    for name in ("days", "weight"):
        found[name] = [None if value is None else _short(value) for value in found[name]]
    return found


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


@functools.cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # here, because it takes a second that only pages need

    return get_plotlyjs()
