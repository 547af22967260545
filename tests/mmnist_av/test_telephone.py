"""An independent telephone decoder, Debian's multimon-ng, decodes the keys from the sound."""

import shutil
import subprocess
from itertools import groupby

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from mmnist_av.exchange.convert import export
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.sound import keys_pressed
from mmnist_av.m3so.spec import Spec

CLIPS = 20


@pytest.mark.skipif(shutil.which("multimon-ng") is None, reason="needs multimon-ng: apt install multimon-ng")
def test_a_telephone_decoder_reads_the_tones_of_exported_files(tmp_path):
    dataset = generate(tmp_path / "data", Spec(obstacle=True), {"test": CLIPS}, seed=0)
    export(dataset, "clips", tmp_path / "out")
    truth = truth_of(dataset.split("test"), slice(0, CLIPS))
    pressed = keys_pressed(truth, spec_of(dataset))[:, :, 0]
    assert {"*", "#"} < set(pressed.ravel())
    for clip in range(CLIPS):
        audio, rate = soundfile.read(tmp_path / "out" / "test" / f"{clip:06d}.wav")
        assert rate == 8000
        wave = (resample_poly(audio, 441, 160) * 32767).astype(np.int16)  # its own rate, 22050 Hz
        line = ["multimon-ng", "-q", "-a", "DTMF", "-t", "raw", "-"]
        message = subprocess.run(line, input=wave.tobytes(), capture_output=True, check=True).stdout.decode()
        found = [line.removeprefix("DTMF: ") for line in message.splitlines() if line.startswith("DTMF: ")]
        assert found == [key for key, _ in groupby(pressed[clip])]
