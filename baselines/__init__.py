"""baselines: the models. Tensors in, tensors out; nothing here knows of files, datasets or metrics."""
