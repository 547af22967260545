from dataclasses import replace

import pytest

from benchmark.metrics import METRICS
from benchmark.presets import PRESETS
from benchmark.presets import find as find_preset
from benchmark.protocols import PROTOCOLS, find
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError


def test_m3so_protocols_are_the_papers():
    nb, block = PROTOCOLS["m3so-nb"], PROTOCOLS["m3so"]
    assert (nb.seen, nb.train_predicted, nb.test_predicted, nb.reported) == (5, 15, 20, (6, 15, 25))
    assert (block.seen, block.train_predicted, block.test_predicted, block.reported) == (30, 30, 40, (31, 42, 70))
    assert nb.audio.shape(800) == block.audio.shape(800) == (41, 21)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_reported_frames_are_predicted_and_metrics_exist(protocol):
    assert all(protocol.seen < frame <= protocol.test_frames for frame in protocol.reported)
    assert set(protocol.metrics) <= set(METRICS)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(InputError, match="unknown protocol 'm3so_nb': did you mean m3so-nb"):
        find("m3so_nb")
    with pytest.raises(InputError, match="unknown preset 'smal': did you mean small"):
        find_preset("smal")


def test_a_dataset_of_the_other_variant_or_of_short_clips_is_refused():
    with pytest.raises(InputError, match="needs M3SO, this dataset is M3SO-NB: generate one with --obstacle"):
        PROTOCOLS["m3so"].check(Spec(obstacle=False))
    with pytest.raises(InputError, match="needs clips of 105 frames, this dataset's have 100"):
        replace(PROTOCOLS["m3so-nb"], test_predicted=100).check(Spec(obstacle=False))
    PROTOCOLS["m3so-nb"].check(Spec(obstacle=False))
    with pytest.raises(
        InputError, match="a block of 16 px from frame 42 on, this dataset's has 8 px and comes at frame 3"
    ):
        PROTOCOLS["m3so"].check(Spec(obstacle=True, block=8, block_frame=2))


def test_presets_grow():
    demo, small, paper = (PRESETS[name] for name in ("demo", "small", "paper"))
    assert (small.steps, small.batch, small.test_clips, small.samples) == (2000, 16, 1000, 100)
    assert demo.steps * demo.batch < small.steps * small.batch < paper.steps * paper.batch
    assert (paper.train_clips, paper.val_clips, paper.test_clips) == (8000, 1000, 1000)
