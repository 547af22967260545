"""Prediction of frames one after the other from a latent z: what Sound2Sight, PUQ and SVG-LP share."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.normalisation import GeneratedStatistics
from baselines.layers.recurrent import Recurrent
from baselines.predictor import Batch, Context, Noise, Predictor

SETTLING = 8  # batches of training clips from which generated statistics are learned


def squared_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each frame, a mean over pixels: two of (B, n, C, H, W) -> (B, n)."""
    return ((predicted - target) ** 2).mean((2, 3, 4))


def sum_over_frames(values: Tensor) -> Tensor:
    """Return the sum over frames of values (B, n), a mean over clips."""
    return values.sum(1).mean()


def learn_generated_statistics(model: Predictor, batches: Sequence[Batch]) -> None:
    """Let the model's generated statistics be those of its predictions of training clips; see Predictor.settle.

    The model predicts as at test, but where it has generated statistics, batch norms have those of the batch. No weight
    and no other statistics change. Nothing is learned from a single clip, whose embedding has no variance of its own.
    """
    learned = [module for module in model.modules() if isinstance(module, GeneratedStatistics)]
    if not learned:
        return
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for statistics in learned:
        statistics.learn_anew()
    try:
        with torch.no_grad():
            for number, batch in enumerate(batches):
                if len(batch.frames) > 1:
                    noise = Noise(number, range(len(batch.frames)), 1, batch.frames.device)
                    model.predict(Context(batch.frames[:, : batch.seen], batch.audio), 1, noise)
    finally:
        for statistics in learned:
            statistics.learning = False
        for module, training in modes.items():
            module.training = training


def normalising(network: nn.Module, statistics: GeneratedStatistics | None, step: int) -> AbstractContextManager[None]:
    """Return the block in which the network's batch norms use a step's statistics, where there are any yet."""
    return nullcontext() if statistics is None or not statistics.known else statistics.used_by(network, step)


class FrameByFrame(nn.Module):
    """A network that predicts each frame from the frame before it and a latent z. Subclasses build its layers."""

    frame_encoder: FrameEncoder
    frame_decoder: FrameDecoder
    predictor: Recurrent  # of the embedding of a frame and the z of the next one
    leave_predictor: nn.Linear  # from the predictor's hidden state to the embedding that is decoded
    # for predicted frames, of the frame encoder's and the frame decoder's batch norms; None: as for true frames
    generated_statistics: GeneratedStatistics | None
    decoder_statistics: GeneratedStatistics | None

    def encode_frames(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return embeddings (B, n, embedding) of frames (B, n, C, H, W), and skips (B, n, ...) of every scale."""
        embeddings, skips = self.frame_encoder(frames.flatten(0, 1))
        return embeddings.unflatten(0, frames.shape[:2]), [skip.unflatten(0, frames.shape[:2]) for skip in skips]

    def encode_generated(self, frames: Tensor, step: int) -> Tensor:
        """Return embeddings (N, embedding) of the predicted frames of a step, from 0: (N, C, H, W)."""
        with normalising(self.frame_encoder, self.generated_statistics, step):
            return self.frame_encoder(frames)[0]

    def decode_generated(self, hidden: Tensor, convolved_skips: list[Tensor], step: int) -> Tensor:
        """Return the predicted frames of a step, from 0, (N, 1, C, H, W), for hidden states (N, 1, hidden)."""
        with normalising(self.frame_decoder, self.decoder_statistics, step):
            return self.decode(hidden, convolved_skips)

    def decode(self, hidden: Tensor, convolved_skips: list[Tensor]) -> Tensor:
        """Return frames (N, n, C, H, W) for the predictor's hidden states (N, n, hidden)."""
        outputs = torch.tanh(self.leave_predictor(hidden))
        return self.frame_decoder(outputs.flatten(0, 1), convolved_skips).unflatten(0, outputs.shape[:2])

    def decode_after_each(self, embeddings: Tensor, z: Tensor, first: int, convolved_skips: list[Tensor]) -> Tensor:
        """Return the predictions of frames `first` .. n, each from the true frame before it: (B, n - first + 1, ...).

        embeddings: of frames 0 .. n-1, (B, n, embedding); z: of frames 1 .. n, (B, n, latent).
        """
        hidden, _ = self.predictor(torch.cat([embeddings, z], -1))
        return self.decode(hidden[:, first - 1 :], convolved_skips)

    def roll_out(
        self,
        embeddings: Tensor,
        z: Tensor,
        next_z: Callable[[Tensor, int], Tensor],
        convolved_skips: list[Tensor],
        last: int,
    ) -> Tensor:
        """Return the predictions of frames F .. `last`, each from the prediction before it: (N, last - F + 1, ...).

        embeddings: of the F seen frames, (N, F, embedding); z: of frames 1 .. F, (N, F, latent).
        next_z: returns z of frame t + 1, (N, 1, latent), given the embedding (N, 1, embedding) of frame t, and t.
        """
        hidden, state = self.predictor(torch.cat([embeddings, z], -1))
        predicted = [self.decode_generated(hidden[:, -1:], convolved_skips, 0)]
        for step, t in enumerate(range(embeddings.shape[1], last)):
            embedding = self.encode_generated(predicted[-1][:, -1], step)[:, None]
            hidden, state = self.predictor(torch.cat([embedding, next_z(embedding, t)], -1), state)
            predicted.append(self.decode_generated(hidden, convolved_skips, step + 1))
        return torch.cat(predicted, 1)
