"""The protocols, presets, metrics and sampling rules of the benchmark, as plain data. Nothing here imports torch.

A new protocol, preset or metric is one new row; a metric's row names the function that computes it.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmnist_av.audio_features import AudioFeatures, Spectrogram
from mmnist_av.system.errors import InputError, unknown_name

if TYPE_CHECKING:
    from mmnist_av.dataset import Dataset

log = logging.getLogger(__name__)

Better = Literal["higher", "lower", "nearer 1"]  # which values of a metric are better

Row = TypeVar("Row", "Protocol", "Preset", "Metric")

MISMATCH = "-av-mismatch"  # the end of the names of mismatched protocols
M3SO_AUDIO = Spectrogram(n_fft=160, hop=40, bins=41)  # 8 kHz at 10 frames per second: 41 bins up to 2 kHz, 21 columns


@dataclass(frozen=True)
class Protocol:
    """What is seen, predicted and reported, and on which dataset. Frame numbers are 1-based."""

    name: str
    family: str  # of the dataset: a name of mmnist_av.families
    dataset: str  # the name that the dataset has in its manifest
    world: Mapping[str, object]  # values that the dataset's spec must have; the family generates a dataset with them
    seen: int  # frames given to the model
    train_predicted: int  # frames predicted in training
    test_predicted: int  # frames predicted at test
    reported: tuple[int, ...]  # frames with a row of their own in results.csv, beside the mean over predicted frames
    audio: AudioFeatures  # what a model is given of each frame's sound
    mismatched: bool = False  # at test, a clip comes with the sound of the split's next clip

    def __post_init__(self) -> None:
        if self.seen < 0 or min(self.train_predicted, self.test_predicted) < 1:
            raise InputError(f"protocol {self.name}: seen must be at least 0, and at least one frame predicted")
        wrong = [frame for frame in self.reported if frame not in self.predicted_frames]
        if wrong or len(set(self.reported)) < len(self.reported):
            first, last = self.predicted_frames[0], self.predicted_frames[-1]
            raise InputError(
                f"protocol {self.name}: reported frames must be within {first} and {last}, each once, "
                f"not {', '.join(map(str, self.reported))}"
            )

    @property
    def matched(self) -> "Protocol":
        """Return the protocol in which every clip comes with its own sound."""
        return replace(self, name=self.name.removesuffix(MISMATCH), mismatched=False)

    @property
    def train_frames(self) -> int:
        """Return the number of frames of a training clip, seen and predicted."""
        return self.seen + self.train_predicted

    @property
    def test_frames(self) -> int:
        """Return the number of frames of a test clip, seen and predicted."""
        return self.seen + self.test_predicted

    @property
    def predicted_frames(self) -> range:
        """Return the numbers of the frames that are predicted at test."""
        return range(self.seen + 1, self.test_frames + 1)

    @property
    def reported_frames(self) -> tuple[int | str, ...]:
        """Return what has a row of its own: the reported frames' numbers, and "mean"."""
        return (*self.reported, "mean")

    @property
    def training_key(self) -> tuple[object, ...]:
        """Return what decides how a model is trained: protocols with equal keys train the same model."""
        return self.family, self.dataset, self.seen, self.train_predicted, self.audio

    def check(self, dataset: "Dataset") -> None:
        """Raise InputError, which says in one line what does not fit, where the dataset cannot serve this protocol."""
        found = dataset.family, dataset.name
        if found != (self.family, self.dataset):
            fitting = sorted(row.name for row in PROTOCOLS.values() if (row.family, row.dataset) == found)
            hint = f"name another --data, or a --protocol for it ({', '.join(fitting) or 'there is none yet'})"
            raise InputError(
                f"protocol {self.name} needs the dataset {self.dataset} of the family {self.family}, {dataset.path} is "
                f"{dataset.name} of the family {dataset.family}: {hint}"
            )
        check_world(f"protocol {self.name}", self.world, dataset)
        needed = max(self.train_frames, self.test_frames)
        if needed > dataset.format.frames:
            raise InputError(
                f"protocol {self.name} needs clips of {needed} frames, those of {dataset.path} have "
                f"{dataset.format.frames}"
            )
        try:
            self.audio.shape(dataset.format.samples_per_frame)
        except InputError as error:
            raise InputError(
                f"the audio features of protocol {self.name} do not fit {dataset.path}: {error}"
            ) from error


def check_world(who: str, world: Mapping[str, object], dataset: "Dataset", remedy: str = "") -> None:
    """Raise InputError, which names the first value of `world` that the dataset's spec does not have.

    who: what needs these values, for the message; remedy: what else the user can do than generate another dataset.
    """
    spec = dataset.manifest["spec"]
    for name, value in world.items():
        if name not in spec or spec[name] != value:
            found = f"{name} {spec[name]}" if name in spec else f"no {name}"
            raise InputError(
                f"{who} needs {name} {value}, {dataset.path} has {found}: "
                f"generate a dataset with {name} {value}{remedy}"
            )


def _with_mismatch(*rows: Protocol) -> tuple[Protocol, ...]:
    """Return every protocol, and behind it the one with another clip's sound (Sound2Sight, supplement, Table 11)."""
    return tuple(each for row in rows for each in (row, replace(row, name=f"{row.name}{MISMATCH}", mismatched=True)))


_M3SO_NB = Protocol(
    name="m3so-nb",
    family="m3so",
    dataset="m3so-nb",
    world={"obstacle": False},
    seen=5,
    train_predicted=15,
    test_predicted=20,
    reported=(6, 15, 25),
    audio=M3SO_AUDIO,
)
_M3SO = Protocol(
    name="m3so",
    family="m3so",
    dataset="m3so",
    world={"obstacle": True, "block": 16, "block_frame": 41},
    seen=30,
    train_predicted=30,
    test_predicted=40,
    reported=(31, 42, 70),
    audio=M3SO_AUDIO,
)
PROTOCOLS = {
    row.name: row
    for row in _with_mismatch(
        _M3SO_NB,
        _M3SO,
        replace(_M3SO_NB, name="m3so-nb-long", test_predicted=25, reported=(6, 15, 25, 30)),
        replace(_M3SO, name="m3so-long", test_predicted=60, reported=(31, 42, 70, 90)),
    )
}


@dataclass(frozen=True)
class Preset:
    """The size of a run."""

    name: str
    source: str  # what the family draws clips from where it generates the dataset: for M3SO, the digits
    train_clips: int
    val_clips: int
    test_clips: int  # the test split's first clips, which are scored
    steps: int  # optimizer steps
    batch: int  # clips per step
    samples: int  # K, samples per test clip
    annealed: float  # the last part of the steps, 0 to 1, over which the learning rates fall to 0
    eval_every: int  # steps between two validations; 0: none

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of clips of each split of a generated dataset."""
        return {"train": self.train_clips, "val": self.val_clips, "test": self.test_clips}


EXTERNAL = "external"  # in rows, the name of the preset that external predictions have none of

# Short trainings end in the noise of the papers' constant rates. Measured on M3SO-NB with PUQ, 40 clips, K = 5: 600
# steps at 2e-3 reach a PSNR of 13.6 over 20 frames, 150 more with the rate falling to 0 reach 14.6 (black: 14.4).
PRESETS = {
    row.name: row
    for row in (
        Preset(
            name="demo",
            source="embedded",
            train_clips=400,
            val_clips=50,
            test_clips=60,
            steps=120,
            batch=16,
            samples=10,
            annealed=0.5,
            eval_every=0,
        ),
        Preset(
            name="small",
            source="embedded",
            train_clips=8000,
            val_clips=1000,
            test_clips=1000,
            steps=2000,
            batch=16,
            samples=100,
            annealed=0.5,
            eval_every=500,
        ),
        # 8000 clips in batches of 110 for 1001 epochs: the release's; the paper gives the splits and K = 100
        Preset(
            name="paper",
            source="mnist",
            train_clips=8000,
            val_clips=1000,
            test_clips=1000,
            steps=1001 * 72,
            batch=110,
            samples=100,
            annealed=0.0,
            eval_every=10 * 72,
        ),
    )
}


MEANS = ("mean", "mean_frame")
BEST_OF_K = ("mean", "best_sequence", "best_frame", "mean_frame")  # of metrics whose best of K samples is published


@dataclass(frozen=True)
class Metric:
    """A metric's facts, and the function that computes it."""

    name: str
    function: str  # "module:name"; see `takes`
    better: Better
    unit: str  # "" for a pure number
    summary: str  # what it is, and where it comes from
    lowest: float = 0.0
    highest: float = math.inf
    frames: Literal["all", "last", "clip"] = "all"  # the predicted frames that have a score; clip: one score for all
    # What has a score: each sample; the pairs of a clip's samples; or the first samples of all clips as one set, and
    # then the function returns the features of a clip.
    score_of: Literal["sample", "pairs", "set"] = "sample"
    samplings: tuple[str, ...] = MEANS  # how K samples become one number, if samples have scores: names of SAMPLINGS
    # What the function is called with. frames: (target frames, predicted frames); samples: (predicted frames,);
    # clip: (TargetClip, Prediction); resources: (Resources,), once, and it returns a function of the kind "clip".
    takes: Literal["frames", "samples", "clip", "resources"] = "frames"
    # What it cannot do without: a dataset's annotation ("block"), "predicted:flow" or "predicted:variance" (of the
    # model), "weights:NAME" (published weights), "training samples" (generated by the model from training clips).
    needs: frozenset[str] = field(default_factory=frozenset)
    min_seen: int = 0  # the least number of seen frames
    max_samples: int | None = None  # how many of a clip's samples are scored at most, the first ones; None: all
    standard: bool = True  # False: computed only where the user names it
    beside: str = (
        ""  # the metric that is computed with this one where this one is named: it says what this one is worth
    )
    undefined: str = ""  # where it has no value (NaN), in words: "in clips without a block"


ROUNDING = 1e-5  # by which a value may leave its metric's range; SSIM of float32 frames errs by up to 4.3e-6
_IMAGE = "benchmark.metrics.image"
METRICS = {
    row.name: row
    for row in (
        Metric(
            name="psnr",
            function=f"{_IMAGE}:psnr",
            better="higher",
            unit="dB",
            highest=60,
            samplings=BEST_OF_K,
            summary="10 log10(1 / MSE), MSE at least 1e-6",
        ),
        Metric(
            name="psnr_exact",
            function=f"{_IMAGE}:psnr_exact",
            better="higher",
            unit="",
            highest=1,
            summary="share of frames with psnr's highest value: an MSE of 1e-6 or less",
        ),
        Metric(
            name="ink",
            function="benchmark.metrics.ink:ink",
            better="nearer 1",
            unit="",
            samplings=("mean",),  # that of averaged samples would be the same
            undefined="where the true frame is black",
            summary="predicted over true amount of ink, the sums of brightness: below 1 where a prediction fades",
        ),
        Metric(
            name="ssim",
            function=f"{_IMAGE}:ssim",
            better="higher",
            unit="",
            lowest=-1,
            highest=1,
            samplings=BEST_OF_K,
            summary="SSIM, Gaussian 11x11 window, Wang et al. 2004",
        ),
        Metric(
            name="ssim_uniform",
            function=f"{_IMAGE}:ssim_uniform",
            better="higher",
            unit="",
            lowest=-1,
            highest=1,
            samplings=BEST_OF_K,
            summary="SSIM, uniform 7x7 window and range 2: scikit-image 0.15 on float images, Sound2Sight's tables",
        ),
        Metric(
            name="lpips",
            function="benchmark.metrics.perceptual:lpips",
            takes="resources",
            needs=frozenset({"weights:alexnet"}),
            better="lower",
            unit="",
            samplings=BEST_OF_K,
            summary="with --weights: distance in AlexNet's features, the lpips package's v0.1",
        ),
        Metric(
            name="fid",
            function="benchmark.metrics.frechet:fid",
            takes="resources",
            needs=frozenset({"weights:inception"}),
            better="lower",
            unit="",
            frames="clip",
            score_of="set",
            summary="with --weights: Frechet distance of Inception-v3's features of true frames and of first samples",
        ),
        Metric(
            name="fvd",
            function="benchmark.metrics.frechet:fvd",
            takes="resources",
            needs=frozenset({"weights:i3d"}),
            better="lower",
            unit="",
            frames="clip",
            score_of="set",
            summary="with --weights: Frechet distance of I3D's logits of true clips and of first samples",
        ),
        Metric(
            name="fooling_rate",
            function="benchmark.metrics.fooling:train_judge",
            takes="resources",
            needs=frozenset({"training samples"}),
            better="higher",
            unit="",
            highest=1,
            min_seen=2,
            standard=False,
            beside="fooling_rate_true",
            summary="share of windows of 3 frames with sound that a judge takes for real, Sound2Sight's Table 8",
        ),
        Metric(
            name="fooling_rate_true",
            function="benchmark.metrics.fooling:judge_true_frames",
            takes="resources",
            needs=frozenset({"training samples"}),
            better="higher",
            unit="",
            highest=1,
            min_seen=2,
            max_samples=1,
            samplings=("mean",),
            standard=False,
            summary="share of true windows of the scored clips that the judge of fooling_rate takes for real",
        ),
        Metric(
            name="aepe",
            function="benchmark.metrics.flow:clip_aepe",
            takes="clip",
            needs=frozenset({"flow", "predicted:flow"}),
            better="lower",
            unit="px",
            summary="mean end-point error of the predicted flow",
        ),
        Metric(
            name="uncertainty_rank",
            function="benchmark.metrics.uncertainty:clip_uncertainty_rank",
            takes="clip",
            needs=frozenset({"predicted:variance"}),
            better="higher",
            unit="",
            lowest=-1,
            highest=1,
            frames="clip",
            samplings=("mean",),
            summary="rank correlation, over frames, of the error that a model expects (PUQ's 1/m_t) with its error",
        ),
        Metric(
            name="self_similarity",
            function="benchmark.metrics.diversity:self_similarity",
            takes="samples",
            better="lower",
            unit="",
            lowest=-1,
            highest=1,
            score_of="pairs",
            undefined="for a single sample",
            summary="mean SSIM of 50 pairs of a clip's samples (all pairs if fewer), Sound2Sight's figure 5c",
        ),
        Metric(
            name="self_similarity_flow",
            function="benchmark.metrics.diversity:self_similarity_flow",
            takes="samples",
            better="lower",
            unit="",
            lowest=-1,
            highest=1,
            score_of="pairs",
            max_samples=4,
            undefined="for a single sample",
            standard=False,
            summary="self_similarity of pictures of the TV-L1 flow of a clip's first 4 samples",
        ),
        Metric(
            name="digit_visible",
            function="benchmark.metrics.track:clip_digit_visible",
            takes="clip",
            needs=frozenset({"block_mask"}),
            better="higher",
            unit="",
            highest=1,
            undefined="where the true digit is hidden",
            summary="share of frames with enough ink in one place, which position_error and digit_accuracy are of",
        ),
        Metric(
            name="position_error",
            function="benchmark.metrics.track:clip_position_error",
            takes="clip",
            needs=frozenset({"block_mask"}),
            better="lower",
            unit="px",
            beside="digit_visible",
            undefined="where no digit is visible",
            summary="distance of the centres of ink where a digit is visible, the true block's pixels left out",
        ),
        Metric(
            name="digit_accuracy",
            function="benchmark.metrics.reader:clip_digit_accuracy",
            takes="clip",
            needs=frozenset({"block_mask", "label"}),
            better="higher",
            unit="",
            highest=1,
            max_samples=10,
            beside="digit_visible",
            undefined="where no digit is visible",
            summary="share of frames with a digit that a small classifier reads as the true one (10 samples)",
        ),
        Metric(
            name="bounce_f1",
            function="benchmark.metrics.bounces:clip_bounce_f1",
            takes="clip",
            needs=frozenset({"block_mask", "events"}),
            better="higher",
            unit="",
            highest=1,
            frames="clip",
            min_seen=2,
            summary="F1 of the bounces read off the predicted track against the true ones, within one frame",
        ),
        Metric(
            name="sync_lag",
            function="benchmark.metrics.bounces:clip_sync_lag",
            takes="clip",
            needs=frozenset({"block_mask", "events"}),
            better="lower",
            unit="frames",
            highest=5,
            frames="clip",
            min_seen=2,
            undefined="in clips without a bounce before the last frame",
            summary="distance from 0 of the lag at which changes of velocity and bounces correlate best; 5 if unseen",
        ),
        Metric(
            name="block_iou",
            function="benchmark.metrics.block:clip_block_iou",
            takes="clip",
            needs=frozenset({"block"}),
            better="higher",
            unit="",
            highest=1,
            frames="last",
            undefined="in clips without a block",
            summary="IoU of the true block with the brightest 16x16 window, after Sound2Sight",
        ),
    )
}

# How the K samples of a clip become one number
SAMPLINGS = {
    "mean": "the mean over the K samples",
    "best_sequence": "per clip, the sample that is best on average over its frames",
    "best_frame": "per clip and frame, the best sample of that frame",
    "mean_frame": "the K samples averaged pixel by pixel and scored as one prediction",
    "single": "one sample: of a deterministic model, with K = 1, or the first one",
    "pairs": "the clip's samples compared with each other",
}


def merit(values: Any, better: Better) -> Any:
    """Return numbers of which the highest are those of the best of `values`: of floats, arrays or a table's column."""
    if better == "nearer 1":
        return -abs(values - 1)
    return values if better == "higher" else -values


def sampling_name(sampling: str, k: object) -> str:
    """Return how K samples became one number, in words: "mean of 100", or "single"."""
    return sampling if sampling == "single" else f"{sampling} of {k}"


def find_protocol(name: str) -> Protocol:
    """Return the protocol called `name`; InputError with the nearest names for an unknown one."""
    return _find("protocol", PROTOCOLS, name)


def find_preset(name: str) -> Preset:
    """Return the preset called `name`; InputError with the nearest names for an unknown one."""
    return _find("preset", PRESETS, name)


def find_metric(name: str) -> Metric:
    """Return the metric called `name`; InputError with the nearest names for an unknown one."""
    return _find("metric", METRICS, name)


def known_metrics(names: Iterable[str], run: Path) -> list[str]:
    """Return those of `names` that are metrics of this version, each once; one note names the others.

    names: metrics of a `run`'s results, which another version or another package may have written.
    """
    found = list(dict.fromkeys(names))
    unknown = [name for name in found if name not in METRICS]
    if unknown:
        log.warning("%s: left out %s, no metric of this version", run, ", ".join(unknown))
    return [name for name in found if name in METRICS]


def _find(kind: str, rows: Mapping[str, Row], name: str) -> Row:
    if name not in rows:
        raise unknown_name(kind, name, rows)
    return rows[name]


NOT_ANNOTATIONS = ("predicted:", "weights:", "training samples")  # how needs begin that no dataset can meet


def annotations_needed(metric: Metric) -> frozenset[str]:
    """Return the annotations that a dataset must have for this metric."""
    return frozenset(need for need in metric.needs if not need.startswith(NOT_ANNOTATIONS))


def named_metrics(text: str) -> frozenset[str]:
    """Return the metrics that --metrics names; none for "standard" and "all". Raises InputError for an unknown name."""
    if text in ("all", "standard"):
        return frozenset()
    names = [name.strip() for name in text.split(",")]
    if "" in names:
        raise InputError(f"--metrics '{text}': between two commas, or beside one, a name is missing")
    if {"all", "standard"} & {*names}:
        raise InputError(f"--metrics {text}: `standard` and `all` stand alone")
    return frozenset(find_metric(name).name for name in names)


def choose_metrics(text: str, annotations: Iterable[str], seen: int) -> list[Metric]:
    """Return the metrics that `text` names ("standard", "all", or names separated by commas), in the table's order.

    "standard" and "all" leave out the metrics that need an annotation that is not among the dataset's `annotations`, or
    more than `seen` seen frames. A named metric brings along the one that its row has `beside` it. Raises InputError
    for a named metric that does not exist or is left out.
    """
    named = named_metrics(text)
    known = frozenset(annotations)
    offered = [metric for metric in METRICS.values() if annotations_needed(metric) <= known and metric.min_seen <= seen]
    if text == "all":
        return offered
    if text == "standard":
        return [metric for metric in offered if metric.standard]
    for name in named - {metric.name for metric in offered}:
        needed = METRICS[name].min_seen
        if needed > seen:
            raise InputError(f"--metrics {name}: it needs {needed} seen frames, the protocol shows {seen}")
        lacking = ", ".join(sorted(annotations_needed(METRICS[name]) - known))
        raise InputError(f"--metrics {name}: it needs {lacking} of the dataset, which has no such annotation")
    chosen = named | {METRICS[name].beside for name in named}
    return [metric for metric in offered if metric.name in chosen]
