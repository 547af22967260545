"""Figures, movies and one HTML page from run folders alone: no model and no dataset is needed."""

from benchmark.report.write import write_report

__all__ = ["write_report"]
