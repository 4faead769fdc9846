"""The page of explanations in a real browser: hover, filter, other methods, no complaint, no request."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from browser import CHROMIUM, browser
from chartscan.interpret.page import Coming, Event, Forecast, Patient, page

TYPES = ("lab", "vital", "medication administration", "diagnosis")
HOSTILE = "</script><script>document.title='broken'</script>"


def patient(events=400, subject="17"):
    random = np.random.default_rng(0)
    start = datetime(2020, 1, 1)
    rows = [
        Event(
            start + timedelta(days=40 * (k // 50), hours=k % 50),
            f"LOINC//{k % 7}",
            TYPES[k % 4],
            HOSTILE if k == 0 else f"Measured thing {k % 7}" if k % 3 else None,
            f"{k} mg" if k % 2 else None,
            1 + k // 50,
        )
        for k in range(events)
    ]
    values = random.normal(size=events) * random.random(events) ** 4
    if events > 200:
        values[200] = 9
    found = {"integrated gradients": values.tolist(), "hidden attention": np.abs(values).tolist()}
    return Patient(subject, "a", "2021-01-01 08:00", 0.4, True, None, rows, found)


def forecast():
    came = [
        Coming(2.5, "LOINC//1//Q2", "lab", HOSTILE, "7 mg"),
        Coming(3, "CVX//1", "immunization", "Flu", None),
    ]
    likeliest = [Coming(4, "LOINC//1//Q2", "lab", "Sodium", "5 to below 8 mg", 0.25)]
    shares = [Coming(1.5, "LOINC//1//Q2", "lab", "Sodium", "5 to below 8 mg", 0.75)]
    shares += [Coming(6, "LOINC//2//Q1", "vital", "Pulse", "below 60", 0.5)]
    return Forecast(30.0, 20, 12.0, came, likeliest, shares)


def report():
    measures = {
        "comprehensiveness": {"10%": 0.5}, "sufficiency": {"10%": 0.2}, "deletion": 0.1, "insertion": 0.6,
    }  # fmt: skip
    row = {"type": "lab", "tokens": 3, "mean": 0.1, "mean_size": 0.2, "sum_per_answer": 0.3}
    method = measures | {"by_type": [row, row | {"type": "vital", "mean": -0.05, "sum_per_answer": -0.1}]}
    task = {
        "explained": 1,
        "methods": {"integrated gradients": method, "hidden attention": method},
        "random ranks": measures,
    }
    return {
        "model": "ehrmamba",
        "split": "held_out",
        "version": "0",
        "dataset": "0" * 64,
        "forecast": None,
        "tasks": {"a": task},
    }


SIGNED = {"integrated gradients": "compared with the usual"}


def html():
    return page(
        [patient(), patient(3, "18")],
        report(),
        {"a": "Task a"},
        SIGNED,
    )


def test_records_cannot_end_the_script_that_holds_them():
    assert HOSTILE not in html()
    assert "Measured thing" in html()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_hovers_and_filters_without_a_complaint_or_a_request(tmp_path):
    path = tmp_path / "explain.html"
    path.write_text(html())
    points = "document.querySelectorAll('#timeline .scatterlayer .point').length"
    with browser(tmp_path / "profile") as shown:
        shown.open(path.as_uri())
        shown.until(f"{points} === 400")
        assert shown.value("document.title") == "chartscan explain"
        assert "compared with the usual" in shown.value("document.getElementById('legend').textContent")
        box = shown.value(
            "(() => { const all = [...document.querySelectorAll('#timeline .point')];"
            "const boxes = all.map(one => one.getBoundingClientRect()).sort((a, b) => b.width - a.width);"
            "const r = boxes[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        shown.hover(*box)
        shown.until("document.querySelector('#timeline .hovertext') !== null", 10)
        words = shown.value("document.querySelector('#timeline .hovertext').textContent")
        assert "LOINC//4" in words
        assert "integrated gradients +9.00" in words
        shown.value("document.querySelector('button[data-type=lab]').click()")
        shown.until(f"{points} === 300")
        lanes = shown.value("[...document.querySelectorAll('#timeline .ytick')].map(one => one.textContent)")
        assert sorted(lanes) == sorted(TYPES[1:])
        assert "lab" not in shown.value("document.getElementById('largest').textContent")
        _choose(shown, "method", "hidden attention")
        assert "no sign" in shown.value("document.getElementById('legend').textContent")
        assert "usual" not in shown.value("document.getElementById('legend').textContent")
        _choose(shown, "axis", "time")
        _choose(shown, "least", "0.95")
        assert shown.value(points) < 20
        _choose(shown, "patient", "1")
        shown.until("document.getElementById('answer').textContent.includes('Events 3')")
        shown.screenshot(tmp_path / "page.png")
        assert shown.complaints == []
        assert shown.requests == [path.as_uri()]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_forecasts_stand_beside_what_came_with_the_end_of_knowledge_marked(tmp_path):
    path = tmp_path / "explain.html"
    one = patient()._replace(asked="2021-01-01 08:00", forecast=forecast())
    path.write_text(
        page(
            [one],
            report() | {"forecast": {"days": 30}},
            {"a": "Task a"},
            SIGNED,
        )
    )
    marks = "document.querySelectorAll('#future .scatterlayer .point').length"
    with browser(tmp_path / "profile") as shown:
        shown.open(path.as_uri())
        shown.until(f"{marks} === 5")
        assert shown.value("document.title") == "chartscan explain"
        drawing = shown.value("document.querySelector('#future').textContent")
        assert "nothing from here on was known" in drawing
        assert "the record ends" in drawing
        rows = "[...document.querySelectorAll('#beside tr')].map(r => [...r.cells].map(c => c.textContent))"
        assert shown.value(rows) == [
            ["Sodium", "5 to below 8 mg", "lab", "75.0 %", "+1.5", "+4.0", "+2.5"],
            ["Pulse", "below 60", "vital", "50.0 %", "+6.0", "", "no"],
            ["Flu", "", "immunization", "in none", "", "", "+3.0"],
        ]
        assert "Kinds of them in any future 1 of 2" in shown.value(
            "document.getElementById('ahead').textContent"
        )
        box = shown.value(
            "(() => { const one = document.querySelector('#future .trace:last-child .point');"
            "one.scrollIntoView({block: 'center'}); const r = one.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        shown.hover(*box)
        shown.until("document.querySelector('#future .hovertext') !== null", 10)
        words = shown.value("document.querySelector('#future .hovertext').textContent")
        assert "in 75.0 % of 20 futures" in words
        assert "5 to below 8 mg" in words
        shown.value("document.querySelector('button[data-type=lab]').click()")
        shown.until(f"{marks} === 2")
        shown.value("document.querySelector('button[data-type=immunization]').click()")
        shown.until(f"{marks} === 1")
        assert [row[0] for row in shown.value(rows)] == ["Pulse"]
        shown.screenshot(tmp_path / "page.png")
        assert shown.complaints == []
        assert shown.requests == [path.as_uri()]


def _choose(shown, name, value):
    shown.value(
        f"(() => {{ const s = document.getElementById('{name}'); s.value = '{value}';"
        "s.dispatchEvent(new Event('change')); })()"
    )
