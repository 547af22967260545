"""Records are appended one by one, and what was torn or changed is measured again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.scoring.records import Recorder

CLIPS = 5


def measure(index):
    rng = np.random.default_rng(index)
    return {"psnr": rng.random((3, 4)), "psnr/mean_frame": rng.random(4), "lag": np.array(float(index))}


def recorded(path, measure=measure, about=("psnr", "lag")):
    """Record what is missing, as a pass over the clips does."""
    with Recorder(path, list(about), CLIPS) as recorder:
        for index in range(recorder.done, CLIPS):
            recorder.append(measure(index))
        return recorder.records()


def test_records_hold_the_measured_arrays(tmp_path):
    records = recorded(tmp_path / "model")
    assert records.shape == (CLIPS,)
    for index in range(CLIPS):
        for name, values in measure(index).items():
            np.testing.assert_array_equal(records[name][index], values.astype(np.float32))


def test_every_clip_is_in_the_file_before_the_next_is_measured(tmp_path):
    sizes = []

    def watching(index):
        sizes.append((tmp_path / "model").stat().st_size)
        return measure(index)

    recorded(tmp_path / "model", watching)
    steps = set(np.diff(sizes[1:]))
    assert len(steps) == 1
    assert steps.pop() == 4 * (12 + 4 + 1) + 4


@given(cut=st.integers(0, 2000), flipped=st.integers(0, 2000), flip=st.booleans())
def test_a_cut_or_changed_file_ends_with_the_same_bytes(tmp_path_factory, cut, flipped, flip):
    folder = tmp_path_factory.mktemp("records")
    recorded(folder / "whole")
    whole = (folder / "whole").read_bytes()
    damaged = bytearray(whole[:cut])
    if flip and damaged:
        damaged[flipped % len(damaged)] ^= 1
    (folder / "other").write_bytes(damaged)
    recorded(folder / "other")
    assert (folder / "other").read_bytes() == whole


def test_whole_records_are_not_measured_again(tmp_path):
    measured = []

    def dying(index):
        if index == 3:
            raise KeyboardInterrupt
        return measure(index)

    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path / "model", dying)
    records = recorded(tmp_path / "model", lambda index: measured.append(index) or measure(index))
    assert measured == [3, 4]
    np.testing.assert_array_equal(records["lag"], np.arange(CLIPS))


def test_records_of_other_metrics_are_discarded(tmp_path):
    recorded(tmp_path / "model", lambda index: {"psnr": np.zeros(2)}, about=("psnr",))
    assert set(recorded(tmp_path / "model").dtype.names) == {"psnr", "psnr/mean_frame", "lag", "checksum"}


def test_clips_must_agree_in_shape(tmp_path):
    with pytest.raises(ValueError, match="a record of"):
        recorded(tmp_path / "model", lambda index: {"psnr": np.zeros(index + 1)})
