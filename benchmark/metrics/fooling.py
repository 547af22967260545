"""How often a discriminator, trained on a model's own samples, takes them for real."""

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
    samples = resources.training_samples
    if samples is None:
        raise Unavailable("no generated training samples: floors and external predictions have none")
    if samples.shape.seen < HISTORY:
        raise Unavailable(f"its windows begin {HISTORY} frames before the predicted one, {samples.shape.seen} are seen")
    judge = trained(samples, resources).eval()

    @torch.inference_mode()
    def fooled(clip: TargetClip, prediction: Prediction) -> Tensor:
        count, before = prediction.frames.shape[1], slice(clip.seen - HISTORY, clip.seen)
        frames = torch.cat([clip.frames[:, before].expand(count, -1, -1, -1, -1), prediction.frames[0]], 1)
        with float32(frames.device):
            audio = judge.encode_audio(clip.audio[:, before.start :]).expand(count, -1, -1)
            logits = judge_windows(judge, judge.encode_frames(frames), audio)
        return (logits.argmax(1) == REAL).double().view(1, count, -1)

    return fooled


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
