"""The protocols: what is seen, what is predicted, what is reported. One name, one meaning."""

from dataclasses import dataclass, replace

from mmnist_av.audio_features import Spectrogram
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError, unknown_name

MISMATCH = "-av-mismatch"  # how the names of mismatched protocols end


@dataclass(frozen=True)
class Protocol:
    """One row of the table of protocols. Frame numbers are 1-based."""

    name: str
    dataset: str
    obstacle: bool  # the variant of M3SO
    seen: int  # frames given
    train_predicted: int  # frames predicted in training
    test_predicted: int  # frames predicted at test
    reported: tuple[int, ...]  # frames whose scores are reported, beside the mean over predicted frames
    audio: Spectrogram  # of each frame's own samples: what every model hears
    metrics: tuple[str, ...]
    mismatched: bool = False  # at test, the model hears the split's next clip instead

    @property
    def matched(self) -> "Protocol":
        """The protocol in which every clip is heard with its own sound: this one, unless it is mismatched."""
        return replace(self, name=self.name.removesuffix(MISMATCH), mismatched=False)

    @property
    def train_frames(self) -> int:
        """Frames of a training clip: seen and predicted."""
        return self.seen + self.train_predicted

    @property
    def test_frames(self) -> int:
        """Frames of a test clip: seen and predicted."""
        return self.seen + self.test_predicted

    def check(self, spec: Spec) -> None:
        """Raise InputError where a dataset of `spec` cannot serve this protocol."""
        if spec.obstacle != self.obstacle:
            wanted, found = ("M3SO", "M3SO-NB") if self.obstacle else ("M3SO-NB", "M3SO")
            flag = "with" if self.obstacle else "without"
            raise InputError(
                f"protocol {self.name} needs {wanted}, this dataset is {found}: generate one {flag} --obstacle"
            )
        if self.obstacle and (spec.block, spec.block_frame) != (Spec.block, Spec.block_frame):
            raise InputError(
                f"protocol {self.name} scores a block of {Spec.block} px from frame {Spec.block_frame + 1} on, this "
                f"dataset's has {spec.block} px and comes at frame {spec.block_frame + 1}"
            )
        asked = max(self.train_frames, self.test_frames)
        if asked > spec.frames:
            raise InputError(f"protocol {self.name} needs clips of {asked} frames, this dataset's have {spec.frames}")


IMAGE_METRICS = ("psnr", "ssim", "ssim_uniform", "lpips", "fid", "fvd", "fooling_rate", "aepe", "uncertainty_rank")
DIVERSITY_METRICS = ("self_similarity", "self_similarity_flow")
M3SO_METRICS = (*IMAGE_METRICS, *DIVERSITY_METRICS, "position_error", "bounce_f1", "sync_lag", "digit_accuracy")


def with_mismatch(protocol: Protocol) -> tuple[Protocol, Protocol]:
    """The protocol, and the same with another clip's sound at test (Sound2Sight, supplement, Table 11)."""
    return protocol, replace(protocol, name=f"{protocol.name}{MISMATCH}", mismatched=True)


M3SO_AUDIO = Spectrogram(n_fft=160, hop=40, bins=41)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        *with_mismatch(Protocol("m3so-nb", "M3SO-NB", False, 5, 15, 20, (6, 15, 25), M3SO_AUDIO, M3SO_METRICS)),
        *with_mismatch(
            Protocol("m3so", "M3SO", True, 30, 30, 40, (31, 42, 70), M3SO_AUDIO, (*M3SO_METRICS, "block_iou"))
        ),
    )
}


def find(name: str) -> Protocol:
    """The protocol called `name`; InputError with the nearest names if there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
