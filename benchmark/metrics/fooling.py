"""How often a discriminator, trained on a model's own samples, takes them for real; and true frames."""

from functools import lru_cache

import torch
from torch import Tensor

from baselines.predictor import Prediction
from baselines.sound2sight import FAKE, REAL, Discriminator, Sound2SightConfig, label_loss, windows
from benchmark.metrics.resources import Measure, Resources, TrainingSamples, Unavailable
from benchmark.networks.inference import float32
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.progress import track

STEPS, BATCH = 300, 16  # of the judge's training; this benchmark's choice
HISTORY = Sound2SightConfig.history


def train_judge(resources: Resources) -> Measure:
    """Train a judge to tell this model's samples from true frames, and return the measure of how often it is fooled.

    The judge is Sound2Sight's multimodal discriminator: its input is windows of R + k = 3 frames with their audio, and
    it is trained with that paper's Adam on training clips. The measure, (clip, prediction) -> (1, K, P) float64, is 1
    for a frame where the judge takes the window that ends in it for real, else 0; the first windows begin in the seen
    frames. Raises Unavailable for a model that cannot generate training samples, and for fewer than R seen frames.
    Source: Sound2Sight's supplement, Table 8.
    """
    judge = judge_of(resources)

    def fooled(clip: TargetClip, prediction: Prediction) -> Tensor:
        return taken_for_real(judge, clip, prediction.frames[0])[None]

    return fooled


def judge_true_frames(resources: Resources) -> Measure:
    """Return the measure of how often the judge of `train_judge` takes true windows of the scored clips for real.

    Its values (1, K, P) are the same for all samples. The judge has not seen these clips. Raises Unavailable as
    `train_judge`.
    """
    judge = judge_of(resources)

    def right(clip: TargetClip, prediction: Prediction) -> Tensor:
        return taken_for_real(judge, clip, clip.unseen[0]).expand(prediction.frames.shape[1], -1)[None]

    return right


@torch.inference_mode()
def taken_for_real(judge: Discriminator, clip: TargetClip, frames: Tensor) -> Tensor:
    """Return 1 where the judge takes the window for real that ends in a frame of (K, P, C, H, W), else 0: (K, P)."""
    before = slice(clip.seen - HISTORY, clip.seen)
    whole = torch.cat([clip.frames[:, before].expand(len(frames), -1, -1, -1, -1), frames], 1)
    with float32(whole.device):
        audio = judge.encode_audio(clip.audio[:, before.start :]).expand(len(frames), -1, -1)
        logits = judge_windows(judge, judge.encode_frames(whole), audio)
    return (logits.argmax(1) == REAL).double().view(len(frames), -1)


@lru_cache(maxsize=1)
def judge_of(resources: Resources) -> Discriminator:
    """Return the trained judge of a model's samples, which both metrics share; Unavailable where there can be none."""
    samples = resources.training_samples
    if samples is None:
        raise Unavailable("no generated training samples: floors and external predictions have none")
    if samples.shape.seen < HISTORY:
        raise Unavailable(f"its windows begin {HISTORY} frames before the predicted one, {samples.shape.seen} are seen")
    return trained(samples, resources).eval()


def trained(samples: TrainingSamples, resources: Resources) -> Discriminator:
    """Return a judge trained on generated training samples and their clips; always the same for one seed."""
    config = Sound2SightConfig()
    rng = torch.Generator().manual_seed(resources.seed)
    with torch.random.fork_rng(), float32(resources.device):
        torch.manual_seed(resources.seed)
        judge = Discriminator(config, samples.shape).to(resources.device)
        optimizer = torch.optim.Adam(judge.parameters(), lr=config.disc_learning_rate)
        for _ in track(range(STEPS), "train the judge of fooling_rate", STEPS):
            clips = torch.randint(samples.clips, (BATCH,), generator=rng).tolist()
            loss = judge_loss(judge, samples.shape.seen, *samples.draw(clips))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return judge


def judge_loss(judge: Discriminator, seen: int, frames: Tensor, audio: Tensor, samples: Tensor) -> Tensor:
    """Return the judge's loss on true clips (B, T, C, H, W), their audio, and one sample of each (B, T - seen, ...)."""
    first = seen - HISTORY
    generated = torch.cat([frames[:, first:seen], samples], 1)
    both = torch.cat([frames[:, first:], generated])  # one batch, so that batch norm cannot tell them apart
    embedded = judge.encode_audio(audio[:, first:])
    real, fake = judge_windows(judge, judge.encode_frames(both), torch.cat([embedded, embedded])).chunk(2)
    return label_loss(real, REAL) + label_loss(fake, FAKE)


def judge_windows(judge: Discriminator, frames: Tensor, audio: Tensor) -> Tensor:
    """Return the logits (B * windows, 2) of all windows of embeddings (B, n, d)."""
    return judge.judge_windows(windows(frames, HISTORY + 1), windows(audio, HISTORY + 1))
