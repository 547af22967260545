"""Torch reads the stored clips without a copy."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError


@pytest.mark.parametrize("frames", [None, 1, 30, 100])
def test_a_clip_is_the_stored_bytes(small_dataset, frames):
    split = small_dataset.split("train")
    clips, count = StoredClips(split, frames), frames or 100
    assert len(clips) == 5
    clip = clips[3]
    assert clip["index"] == 3
    np.testing.assert_array_equal(clip["frames"].numpy()[:, 0], split.frames[3, :count])
    np.testing.assert_array_equal(clip["audio"].numpy().reshape(-1), split.audio[3, : 800 * count])
    assert clip["frames"].shape == (count, 1, 48, 48)
    assert clip["audio"].shape == (count, 800)
    assert (clip["frames"].dtype, clip["audio"].dtype) == (torch.uint8, torch.int16)


def test_clips_are_views_without_a_copy_or_a_warning(small_dataset):
    split = small_dataset.split("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = StoredClips(split, 50)[2]
    assert clip["frames"].data_ptr() == split.frames[2].ctypes.data
    assert clip["audio"].data_ptr() == split.audio[2].ctypes.data


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_reads_every_clip(small_dataset, workers):
    split = small_dataset.split("train")
    context = "spawn" if workers else None
    loader = DataLoader(StoredClips(split), batch_size=2, num_workers=workers, multiprocessing_context=context)
    frames = torch.cat([batch["frames"] for batch in loader])
    np.testing.assert_array_equal(frames[:, :, 0].numpy(), split.frames)


@pytest.mark.parametrize("frames", [0, 101, -1])
def test_more_frames_than_a_clip_has_are_refused(small_dataset, frames):
    with pytest.raises(InputError, match="100 frames: 1 to 100 can be used"):
        StoredClips(small_dataset.split("train"), frames)


def test_an_index_beyond_the_clips_is_an_index_error(small_dataset):
    clips = StoredClips(small_dataset.split("train"))
    for index in (5, -1):
        with pytest.raises(IndexError):
            clips[index]
    assert sum(1 for _ in clips) == 5
