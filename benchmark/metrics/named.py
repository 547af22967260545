"""Metrics that --metrics names: what is named is computed, or refused before anything is trained or scored."""

import logging
from collections.abc import Iterable
from pathlib import Path

from benchmark.catalogue import METRICS, Metric, named_metrics
from benchmark.metrics.frechet import LEAST
from benchmark.networks import weights as published
from benchmark.options import Download
from mmnist_av.system.errors import InputError

log = logging.getLogger(__name__)


def check_model(text: str, model: str, predicts: Iterable[str]) -> None:
    """Raise InputError where `text` names a metric of something that the model does not predict."""
    for metric in _named(text):
        lacking = [need for need in _needs(metric, "predicted:") if need not in predicts]
        if lacking:
            raise InputError(f"--metrics {metric.name}: it needs a model that predicts {lacking[0]}, {model} does not")


def check_weights(text: str, source: Path | Download | None) -> None:
    """Raise InputError where `text` names a metric whose published weights are not in `source`; download them there.

    A note says where none of the named metrics needs any.
    """
    metrics = _named(text)
    if source is not None and metrics and not any(_needs(metric, "weights:") for metric in metrics):
        log.warning("--weights is of no use: none of --metrics %s needs published weights", text)
    for metric in metrics:
        for name in _needs(metric, "weights:"):
            if source is None:
                remedy = "give their folder with --weights DIR, or --weights download"
                raise InputError(f"--metrics {metric.name}: it needs published weights: {remedy}")
            published.locate(name, source)


def check_clips(text: str, clips: int, training_clips: int) -> None:
    """Raise InputError where `text` names a metric that needs more test clips, or training clips where none are."""
    for metric in _named(text):
        if metric.score_of == "set" and clips < LEAST:
            raise InputError(f"--metrics {metric.name}: it needs {LEAST} test clips or more, {clips} are scored")
        if "training samples" in metric.needs and not training_clips:
            raise InputError(f"--metrics {metric.name}: it needs samples that the model generates from training clips")


def _named(text: str) -> list[Metric]:
    return [METRICS[name] for name in sorted(named_metrics(text))]


def _needs(metric: Metric, kind: str) -> list[str]:
    return [need.removeprefix(kind) for need in sorted(metric.needs) if need.startswith(kind)]
