"""mmnist_av: the data of the audio-conditioned video prediction benchmark."""

__version__ = "0.1.0"
