"""How often a discriminator that was trained for it takes generated windows for real."""

from typing import Any

import torch
from torch import Tensor

from baselines.sound2sight import FAKE, REAL, Discriminator, Sound2SightConfig, label_loss, windows
from benchmark.metrics.resources import Measure, Practice, Setting, Unavailable
from benchmark.networks.inference import float32
from mmnist_av.system.progress import track

STEPS, BATCH = 300, 16  # of the judge's training (this benchmark's)
HISTORY = Sound2SightConfig.history


def train_judge(setting: Setting) -> Measure:
    """What measures how often a judge is fooled that has learnt to tell this model's futures from true frames.

    The judge is Sound2Sight's multimodal discriminator, which sees and hears windows of R + k = 3 frames, trained with
    that paper's Adam on training clips. The measure, (TrueClip, prediction (1, K, T, C, H, W)) -> (1, K, T) float64,
    is 1 where it takes the window that ends in a frame for real, else 0; the first windows reach into the seen frames.
    Raises Unavailable for a model that cannot be asked about training clips, and where fewer than R frames are seen.
    Source: Sound2Sight's supplement, Table 8.
    """
    practice = setting.practice
    if practice is None:
        raise Unavailable("no futures of training clips, as of floors and of outside predictions")
    if practice.seen < HISTORY:
        raise Unavailable(f"its windows reach {HISTORY} frames back, and {practice.seen} are seen")
    judge = trained(practice, setting).eval()

    @torch.inference_mode()
    def fooled(clip: Any, prediction: Tensor) -> Tensor:
        samples, given = prediction.shape[1], slice(clip.seen - HISTORY, clip.seen)
        frames = torch.cat([clip.frames[:, given].expand(samples, -1, -1, -1, -1), prediction[0]], 1)
        with float32(frames.device):
            audio = judge.encode_audio(clip.audio[:, given.start :]).expand(samples, -1, -1)
            logits = judge_windows(judge, judge.encode_frames(frames), audio)
        return (logits.argmax(1) == REAL).double().view(1, samples, -1)

    return fooled


def trained(practice: Practice, setting: Setting) -> Discriminator:
    """A judge that has learnt from the training split; the same for the same seed."""
    config = Sound2SightConfig()
    chosen = torch.Generator().manual_seed(setting.seed)
    with torch.random.fork_rng(), float32(setting.device):
        torch.manual_seed(setting.seed)
        judge = Discriminator(config, practice.shape).to(setting.device)
        optimizer = torch.optim.Adam(judge.parameters(), lr=config.disc_learning_rate)
        for _ in track(range(STEPS), "train the judge of fooling_rate", STEPS):
            clips = torch.randint(practice.clips, (BATCH,), generator=chosen).tolist()
            loss = telling_apart(judge, practice.seen, *practice.draw(clips))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return judge


def telling_apart(judge: Discriminator, seen: int, frames: Tensor, audio: Tensor, futures: Tensor) -> Tensor:
    """The judge's loss on true clips (B, T, C, H, W), their sound, and futures (B, T - seen, C, H, W) of them."""
    first = seen - HISTORY
    generated = torch.cat([frames[:, first:seen], futures], 1)
    both = torch.cat([frames[:, first:], generated])  # one batch, so that batch norm cannot tell them apart
    heard = judge.encode_audio(audio[:, first:])
    real, fake = judge_windows(judge, judge.encode_frames(both), torch.cat([heard, heard])).chunk(2)
    return label_loss(real, REAL) + label_loss(fake, FAKE)


def judge_windows(judge: Discriminator, frames: Tensor, audio: Tensor) -> Tensor:
    """Logits (B * windows, 2) of all windows of embeddings (B, n, d)."""
    return judge.judge_windows(windows(frames, HISTORY + 1), windows(audio, HISTORY + 1))
