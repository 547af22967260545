"""mmnist_av: the datasets of the benchmark for audio-conditioned video prediction."""

__version__ = "0.1.0"
