"""Whether a job was done before. Nothing here imports torch, which takes seconds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.catalogue import METRICS, named_metrics
from benchmark.job import Job
from benchmark.runs.environment import code_version
from benchmark.runs.folder import CONFIG, JOB, RESULTS, read_json, write_json
from benchmark.runs.seal import is_whole
from mmnist_av.dataset import open_dataset

if TYPE_CHECKING:
    import pandas as pd


def keep_job(job: Job) -> None:
    """Write job.json into the run's folder: what the user requested there last."""
    write_json(job.folder / JOB, as_json(job))


def as_json(job: Job) -> dict[str, Any]:
    """Return what the user requested, but for the folder, as job.json holds it."""
    fields: dict[str, Any] = json.loads(json.dumps(vars(job), default=str))
    return {name: value for name, value in fields.items() if name != "out"}


def rows_of_finished(job: Job) -> "pd.DataFrame | None":
    """Return the results of a finished run of this very job; None where anything is, or may be, left to do.

    The folder is as its run left it, which was of the same job, with the same code, on the same dataset. Raises
    InputError where --data is no dataset.
    """
    if not ((job.folder / JOB).is_file() and (job.folder / RESULTS).is_file() and is_whole(job.folder)):
        return None
    config = read_json(job.folder / CONFIG)
    same = read_json(job.folder / JOB) == as_json(job) and config["code_version"] == code_version()
    if not same or job.trained is not None:  # the pretrained run may have changed
        return None
    if isinstance(job.data, Path) and open_dataset(job.data).fingerprint != config["fingerprint"]:
        return None
    from benchmark.scoring.rows import read_rows

    rows = read_rows(job.folder / RESULTS)
    scored = set(rows.loc[rows["model"] == job.model, "metric"])
    return rows if job.weights is None or weighted_metrics(job) <= scored else None


def weighted_metrics(job: Job) -> set[str]:
    """Return the metrics that the job wants and that need published weights, which may have been put there since."""
    wanted = named_metrics(job.metrics) or {name for name in METRICS if METRICS[name].standard}
    return {name for name in wanted if any(need.startswith("weights:") for need in METRICS[name].needs)}
