"""Samples drawn from a model, ground truth, scores per (clip, sample, frame), statistics, rows."""
