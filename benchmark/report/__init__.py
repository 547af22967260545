"""Figures, movies and one HTML page from run folders alone: no model and no dataset is needed."""

from benchmark.report.write import renew_report, write_report

__all__ = ["renew_report", "write_report"]
