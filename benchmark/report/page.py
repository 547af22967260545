"""The HTML page of a report: what the runs are, their results, and their pictures, which lie beside the page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from baselines.names import reference_note
from benchmark.catalogue import METRICS
from benchmark.report.runs import RunFolder
from benchmark.report.tables import Table, metric_tables
from benchmark.scoring.rows import COLUMNS

FACTS = ("model", "protocol", "preset", "dataset", "fingerprint", "seed", "steps", "batch")
MORE_FACTS = ("test_clips", "device", "precision", "code_version")
UNKNOWN = "–"
CONTROLS = 64  # px below a movie, for the browser's controls, which would hide its lower part
MARK = '<meta name="generator" content="avbench report">'  # only reports have it
RECORD = "report.json"  # beside the page: the SHA-256 of each file of the report

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
th.figure, td.figure { text-align: right }
td.fact { overflow-wrap: anywhere }
td small, caption small { color: #666; font-weight: normal }
caption { text-align: left; font-weight: 600; padding: .5em 0 }
figure { margin: 1.5em 0 }
figure img, figure video { max-width: 100% }
figure img.svg { width: 900px }
figure video { object-fit: contain; object-position: top; background: #222 }
figcaption { color: #555; font-size: .9em }
pre { overflow-x: auto; background: #f5f5f5; padding: 1em }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for run in unsealed %}<p><strong>{{ run.label }} is unfinished, or was changed after its end: no seal.</strong></p>
{% endfor %}<h2>Runs</h2>
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
<p>Means over test clips with 95% bootstrap intervals over clips. Each line says how K samples became one number; \
lines of different sampling rules do not compare.</p>
{% if note %}<p>{{ note }}</p>
{% endif %}{% endif %}
{% for table in tables %}<table>
<caption>{{ table.title }} <small>{{ table.note }}</small></caption>
<thead><tr>{% for name in table.header %}<th{% if loop.index0 >= table.names %} class="figure"{% endif %}>\
{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in table.lines %}<tr>{% for cell in line %}\
{% if loop.index0 < table.names %}<td>{{ cell.text }}</td>\
{% else %}<td class="figure">{{ cell.text }} <small>{{ cell.interval }}</small></td>{% endif %}\
{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% endfor %}
{% for section in sections %}<h2>{{ section.title }}</h2>
<p>{{ section.text }}</p>
{% for item in section.items %}<figure>
{% if item.movie %}<video controls loop preload="metadata" width="{{ item.movie[0] }}" \
style="aspect-ratio: {{ item.movie[0] }} / {{ item.movie[1] + controls }}" src="{{ item.name }}.mp4"></video>
<figcaption>{{ item.caption }} <a href="{{ item.name }}.mp4">MP4</a></figcaption>
{% else %}<img class="{{ item.shown }}" src="{{ item.name }}.{{ item.shown }}" alt="{{ item.caption }}">
<figcaption>{{ item.caption }} <a href="{{ item.name }}.png">PNG</a> <a href="{{ item.name }}.svg">SVG</a></figcaption>
{% endif %}</figure>
{% endfor %}{% endfor %}<p><a href="{{ record }}">SHA-256 of these files</a></p>
</body>
</html>
"""


@dataclass(frozen=True)
class Item:
    """A picture or a movie of the page."""

    name: str  # of the files, without their suffix
    caption: str
    shown: str = "svg"  # the picture that the page shows, svg or png; the other one is linked
    movie: tuple[int, int] | None = None  # width and height, px; None for a picture


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str  # how to read its pictures
    items: list[Item]


def render(runs: Sequence[RunFolder], sections: Sequence[Section], unsealed: Sequence[RunFolder]) -> str:
    """Return the page's HTML; `unsealed` are the runs that it marks as unfinished or edited."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(TEMPLATE).render(
        mark=Markup(MARK),
        title=f"{', '.join(run.label for run in runs)} · {runs[0].protocol.name}",
        runs=runs,
        unsealed=unsealed,
        facts=facts(runs),
        complete=complete,
        controls=CONTROLS,
        tables=tables(runs),
        note=reference_note(run.model for run in runs),
        sections=sections,
        record=RECORD,
    )


def facts(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """Return what the runs are: a name, and each run's value."""
    lines = [(name.replace("_", " "), [_shown(run.facts.get(name)) for run in runs]) for name in (*FACTS, *MORE_FACTS)]
    lines.insert(len(FACTS), ("K, samples per clip", [_shown(run.samples) for run in runs]))
    lines += [
        (name, [_shown(_of_rows(run, name)) for run in runs]) for name in ("checkpoint", "settings", "pretrained")
    ]
    return [*lines, ("machine", [_shown(run.environment.get("machine")) for run in runs])]


def _of_rows(run: RunFolder, column: str) -> object:
    """Return the value of a column of the run's own rows; all of them have the same."""
    if run.rows is None or column not in run.rows:
        return None
    return next(iter(run.rows.loc[run.rows["model"] == run.model, column]), None)


def _shown(value: object) -> str:
    return UNKNOWN if value in (None, "") else str(value)


def complete(run: RunFolder) -> str:
    """Return config.json and environment.json in one text."""
    return json.dumps({"config": run.facts, "environment": run.environment}, indent=2, ensure_ascii=False)


def tables(runs: Sequence[RunFolder]) -> list[Table]:
    """Return one table per metric: a line per run and sampling rule, below them the floors, which all runs share."""
    models, floors = [], []
    for run in runs:
        if run.rows is not None:
            columns = [column for column in (*COLUMNS, "fingerprint") if column in run.rows]
            own = run.rows.loc[run.rows["model"].isin([run.model, *run.floors]), columns]
            names = {run.model: run.label} | {floor: f"{floor} (floor)" for floor in run.floors}
            own_model = own["model"] == run.model
            own = own.assign(model=own["model"].map(names), protocol=run.protocol.matched.name)
            models.append(own[own_model])
            floors.append(own[~own_model])
    if not models:
        return []
    rows = pd.concat([*models, *floors], ignore_index=True)
    rows = rows.drop_duplicates(["model", "metric", "sampling", "k", "frame"])
    order = [*METRICS]
    return metric_tables(rows.sort_values("metric", key=lambda names: names.map(order.index), kind="stable"))
