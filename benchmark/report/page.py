"""The HTML page of a report: what the runs are, their results, and the pictures that lie beside it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from benchmark.metrics import METRICS
from benchmark.report.figures import better
from benchmark.report.runs import RunFolder, futures_of

FACTS = ("model", "protocol", "preset", "dataset", "digits", "fingerprint", "seed", "steps", "batch")
MORE_FACTS = ("test_clips", "device", "precision", "code_version")
UNKNOWN = "–"
MARK = '<meta name="generator" content="avbench report">'  # by which a report is known

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{{ mark }}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: .25em .8em; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top }
thead th { border-bottom: 2px solid #888 }
td.figure { font-variant-numeric: tabular-nums; white-space: nowrap }
td.fact { overflow-wrap: anywhere }
td small { color: #666 }
caption { text-align: left; font-weight: 600; padding: .5em 0 }
figure { margin: 1.5em 0 }
figure img, figure video { max-width: 100% }
figcaption { color: #555; font-size: .9em }
pre { overflow-x: auto; background: #f5f5f5; padding: 1em }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<h2>Runs</h2>
<table>
<thead><tr><th></th>{% for run in runs %}<th>{{ run.label }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, values in facts %}<tr><th>{{ name }}</th>\
{% for value in values %}<td class="fact">{{ value }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% for run in runs %}<details><summary>{{ run.label }}: config.json and environment.json</summary>
<pre>{{ complete(run) }}</pre></details>
{% endfor %}
{% if tables %}<h2>Results</h2>
<p>Means over test clips with 95% bootstrap intervals over clips. Each line says how K futures became one number; \
lines of different ways do not compare.</p>
{% endif %}
{% for table in tables %}<table>
<caption>{{ table.caption }}</caption>
<thead><tr><th>model</th><th>futures</th>{% for frame in table.frames %}<th>{{ frame }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in table.lines %}<tr><td>{{ line.model }}</td><td>{{ line.futures }}</td>\
{% for cell in line.cells %}<td class="figure">{{ cell.value }} <small>{{ cell.interval }}</small></td>\
{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% endfor %}
{% for section in sections %}<h2>{{ section.title }}</h2>
<p>{{ section.told }}</p>
{% for item in section.items %}<figure>
{% if item.movie %}<video controls loop preload="metadata" src="{{ item.name }}.mp4"></video>
<figcaption>{{ item.caption }} <a href="{{ item.name }}.mp4">MP4</a></figcaption>
{% else %}<img src="{{ item.name }}.{{ item.shown }}" alt="{{ item.caption }}">
<figcaption>{{ item.caption }} <a href="{{ item.name }}.png">PNG</a> <a href="{{ item.name }}.svg">SVG</a></figcaption>
{% endif %}</figure>
{% endfor %}{% endfor %}</body>
</html>
"""


@dataclass(frozen=True)
class Item:
    """A picture or movie of the page."""

    name: str  # of the files, without their ending
    caption: str
    shown: str = "svg"  # which of the two the page shows: pictures of pixels are better as png
    movie: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    told: str  # how to read what is in it
    items: list[Item]


def render(runs: Sequence[RunFolder], sections: Sequence[Section]) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(TEMPLATE).render(
        mark=Markup(MARK),
        title=f"{', '.join(run.label for run in runs)} · {runs[0].protocol.name}",
        runs=runs,
        facts=facts(runs),
        complete=complete,
        tables=tables(runs),
        sections=sections,
    )


def facts(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """What the runs are: a name, and each run's value."""
    lines = [(name.replace("_", " "), [_told(run.facts.get(name)) for run in runs]) for name in (*FACTS, *MORE_FACTS)]
    lines.insert(len(FACTS), ("K, futures a clip", [_told(run.samples) for run in runs]))
    lines += [(name, [_told(_of_rows(run, name)) for run in runs]) for name in ("settings", "trained")]
    return [*lines, ("machine", [_told(run.environment.get("machine")) for run in runs])]


def _of_rows(run: RunFolder, column: str) -> object:
    """What the rows of the run's own model say in a column that is the same in all."""
    if run.rows is None or column not in run.rows:
        return None
    return next(iter(run.rows.loc[run.rows["model"] == run.model, column]), None)


def _told(value: object) -> str:
    return UNKNOWN if value in (None, "") else str(value)


def complete(run: RunFolder) -> str:
    """All that the run's folder says about it."""
    return json.dumps({"config": run.facts, "environment": run.environment}, indent=2, ensure_ascii=False)


def tables(runs: Sequence[RunFolder]) -> list[dict]:
    """A table a metric: a line for every run or floor and way in which futures became one number."""
    kept: list[pd.DataFrame] = []
    for run in runs:
        if run.rows is not None:
            own = run.rows[run.rows["model"].isin([run.model, *run.floors])]
            label = own["model"].where(own["model"] != run.model, run.label)
            kept.append(own.assign(label=label.where(~own["model"].isin(run.floors), own["model"] + " (floor)")))
    rows = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=["metric"])
    if kept:  # floors are the same in every run: runs.open_runs
        rows = rows.drop_duplicates(["label", "metric", "sampling", "k", "frame"])
    return [_table(metric, rows[rows["metric"] == metric]) for metric in METRICS if (rows["metric"] == metric).any()]


def _table(metric: str, rows: pd.DataFrame) -> dict:
    frames = sorted(rows["frame"].unique(), key=lambda frame: (frame == "mean", int(frame) if frame != "mean" else 0))
    lines = []
    for (label, sampling, k), own in rows.groupby(["label", "sampling", "k"], sort=False):
        cells = {row["frame"]: _cell(row) for _, row in own.iterrows()}
        empty = {"value": "", "interval": ""}
        line = {"model": label, "futures": futures_of(str(sampling), k)}
        lines.append({**line, "cells": [cells.get(frame, empty) for frame in frames]})
    clips = " to ".join(str(count) for count in sorted({rows["clips"].min(), rows["clips"].max()}))
    names = ["mean over frames" if frame == "mean" else f"frame {frame}" for frame in frames]
    return {"caption": f"{better(METRICS[metric])}; {clips} clips", "frames": names, "lines": lines}


def _cell(row: pd.Series) -> dict[str, str]:
    if row["clips"] == 0:
        return {"value": UNKNOWN, "interval": ""}
    digits = 2 if METRICS[row["metric"]].unit else 4  # as results.print_table has it
    interval = "" if np.isnan(row["low"]) else f"[{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return {"value": f"{row['value']:.{digits}f}", "interval": interval}
