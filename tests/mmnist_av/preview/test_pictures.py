"""Previews show the clip: movies, GIFs, figures, sheets."""

import errno
import gc
import resource
import subprocess
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
from click.testing import CliRunner

from mmnist_av.cli import main
from mmnist_av.dataset import ClipFormat
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.figure import explain
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.sound import keys_pressed
from mmnist_av.m3so.spec import Spec
from mmnist_av.preview import pictures
from mmnist_av.preview.movie import write_movie
from mmnist_av.preview.pictures import preview, sheet, write_clip, write_gif
from mmnist_av.system.errors import InputError
from plain_clips import make_plain


@pytest.fixture(scope="module")
def written(small_dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("preview")
    return {path.name: path for path in preview(small_dataset, "test", [2], out)}


def test_a_preview_writes_four_files(written):
    assert sorted(written) == ["test-000002.gif", "test-000002.mp4", "test-000002.png", "test-sheet.png"]
    assert all(path.is_file() for path in written.values())


def test_the_gif_shows_the_frames(written, small_dataset):
    gif = imageio.imread(written["test-000002.gif"])[..., 0].astype(int)
    frames = small_dataset.split("test").frames[2]
    assert gif.shape == (100, 192, 192)
    assert np.abs(gif[:, ::4, ::4] - frames).max() <= 2  # a palette's rounding


def test_the_movie_has_the_frames_and_the_sound(written, small_dataset):
    path, split = str(written["test-000002.mp4"]), small_dataset.split("test")
    reader = imageio_ffmpeg.read_frames(path, pix_fmt="gray", bits_per_pixel=8)
    facts = next(reader)
    assert facts["fps"] == 10
    assert facts["audio_codec"] == "aac"
    movie = np.stack([np.frombuffer(frame, np.uint8).reshape(384, 384) for frame in reader])
    assert len(movie) == 100
    error = movie.reshape(100, 48, 8, 48, 8).mean(axis=(2, 4)) - split.frames[2]
    assert np.abs(error).mean() < 3

    line = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"]
    found = np.frombuffer(subprocess.run(line, capture_output=True, check=True).stdout, np.int16)[: 100 * 800]
    loudness = np.sqrt((found.astype(float).reshape(-1, 800) ** 2).mean(axis=1))
    stored = np.sqrt((split.audio[2].astype(float).reshape(100, 800) ** 2).mean(axis=1))[: len(loudness)]
    assert np.corrcoef(loudness, stored)[0, 1] > 0.97


def test_the_figure_draws_the_truth(small_dataset):
    figure = explain(small_dataset, "test", 1)
    strip, frequency, amplitude = figure.axes
    spec, split = spec_of(small_dataset), small_dataset.split("test")
    truth = truth_of(split, slice(1, 2))
    assert len(strip.images) == 20
    np.testing.assert_array_equal(strip.images[0].get_array(), split.frames[1, 2])
    high = frequency.lines[1].get_ydata()
    column = {key: spec.column_hz[keys.index(key)] for keys in spec.keypad for key in keys}
    assert list(high) == [column[key] for key in keys_pressed(truth, spec)[0, :, 0]]
    marked = [line.get_xdata()[0] for line in frequency.lines[2:]]
    events = np.flatnonzero(truth.event[0, :, 0])
    assert sorted(marked) == sorted([*events, truth.block_first_frame[0] - 0.5])
    assert amplitude.lines[1].get_ydata().max() <= 1


def test_the_sheet_has_one_row_per_clip(small_dataset):
    assert len(sheet(small_dataset, "test").axes) == 3


@pytest.mark.parametrize(
    ("height", "width", "channels", "frames"), [(48, 48, 1, 90), (64, 64, 3, 30), (64, 96, 3, 15), (96, 64, 1, 9)]
)
def test_pictures_on_a_sheet_keep_their_proportions(tmp_path, height, width, channels, frames):
    format = ClipFormat(frames=frames, channels=channels, height=height, width=width, fps=30, sample_rate=300)
    figure = sheet(make_plain(tmp_path / "data", {"test": 2}, format), "test")
    assert_proportions(figure, figure.axes, width / height)


@pytest.mark.parametrize("frames", [12, 37])
def test_the_figures_strip_keeps_its_proportions_above_its_sound(tmp_path, frames):
    figure = explain(generate(tmp_path / "data", Spec(frames=frames), {"test": 1}, 0), "test", 0)
    assert_proportions(figure, figure.axes[:1], 1)
    strip, *sounds = (axes.get_window_extent() for axes in figure.axes)
    for sound in sounds:
        np.testing.assert_allclose([sound.x0, sound.x1], [strip.x0, strip.x1], atol=1)


def assert_proportions(figure, strips, expected):
    figure.draw_without_rendering()
    for strip in strips:
        for picture in strip.images:
            shown = picture.get_window_extent()
            assert shown.width / shown.height == pytest.approx(expected, rel=0.01)


def test_a_preview_keeps_its_own_files_and_replaces_no_others(tmp_path):
    format = ClipFormat(frames=4, channels=3, height=16, width=16, fps=10, sample_rate=8000)
    dataset, out = make_plain(tmp_path / "data", {"test": 2}, format), tmp_path / "out"
    first = {path: path.stat().st_mtime_ns for path in preview(dataset, "test", [1], out)}
    assert {path: path.stat().st_mtime_ns for path in preview(dataset, "test", [1], out)} == first
    for path in first:
        kept = path.read_bytes()
        path.write_text("mine")
        with pytest.raises(InputError, match=f"{path.name} exists and is something else: move it away, or choose"):
            preview(dataset, "test", [1], out)
        assert path.read_text() == "mine"
        path.write_bytes(kept)


def test_a_folder_with_a_colon_is_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    format = ClipFormat(frames=4, channels=3, height=16, width=16, fps=10, sample_rate=8000)
    paths = preview(make_plain(Path("a:data"), {"test": 1}, format), "test", [0], Path("a:b"))
    assert sorted(Path("a:b").iterdir()) == sorted(paths)


def test_a_clip_that_does_not_exist_is_refused(small_dataset, tmp_path):
    with pytest.raises(InputError, match="has clips 0 to 2, not 3"):
        preview(small_dataset, "test", [3], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"the split 'val' of .* has no clips: choose another --split"):
        preview(small_dataset, "val", [0], tmp_path / "out")


def test_a_failure_of_ffmpeg_is_reported(tmp_path):
    with pytest.raises(OSError, match="ffmpeg failed on"):
        write_movie(tmp_path / "x.mp4", np.zeros((2, 8, 8), np.uint8), 10, ["-c:v", "nonsense"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("write", [write_gif, partial(write_clip, audio=np.zeros(400, np.int16), sample_rate=1000)])
def test_a_full_disk_is_reported_once(monkeypatch, write):
    monkeypatch.setattr(pictures, "written_once", lambda path: nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left on device") as error:
        write(path=Path("x"), frames=np.zeros((4, 8, 8), np.uint8), fps=10)
    assert error.value.errno == errno.ENOSPC
    del error
    gc.collect()


def test_a_sound_that_cannot_be_written_is_one_line(small_dataset, tmp_path):
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, allowed[1]))  # bytes a file: the kernel refuses more
    try:
        result = CliRunner().invoke(main, ["preview", str(small_dataset.path), "--out", str(tmp_path / "out")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    message = (
        f"{tmp_path / 'out' / 'test-000000.mp4'}: File too large; the shell (ulimit -f) or the file system does not"
    )
    assert (result.exit_code, result.stderr) == (2, f"Error: {message} allow files that large\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_in_the_folders_place_is_said_to_be_one(small_dataset, tmp_path):
    (tmp_path / "mine").write_text("mine")
    result = CliRunner().invoke(main, ["preview", str(small_dataset.path), "--out", str(tmp_path / "mine")])
    assert (result.exit_code, result.stderr) == (2, f"Error: {tmp_path / 'mine'} is a file: name a folder\n")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_colour_clip_without_an_explanation_is_shown_in_its_colours(tmp_path):
    dataset = make_plain(tmp_path / "data", {"test": 2})
    paths = preview(dataset, "test", [1], tmp_path / "out")
    assert [path.name for path in paths] == ["test-000001.mp4", "test-000001.gif", "test-sheet.png"]
    gif = imageio.imread(paths[1])[..., :3].astype(int)
    assert np.abs(gif[:, 2::4, 2::4] - dataset.split("test").frames[1]).max() <= 4  # a palette's rounding
