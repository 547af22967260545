"""Audio-only: the sound to frames by a sequence-to-sequence model, no frame seen (Sound2Sight's comparison).

M. Chatterjee and A. Cherian, "Sound2Sight", ECCV 2020, section 4, "Baselines", after I. Sutskever, O. Vinyals and
Q. Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS 2014. The paper says no more than that an LSTM
generates the frames from the audio alone: sizes are Sound2Sight's, the rest is ours.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from baselines.layers.frames import FrameDecoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.recurrent import Recurrent, State
from baselines.layers.sound import AudioEncoder
from baselines.predictor import Batch, ClipShape, Context, Loss, Noise, Player, Prediction, Predictor, Progress
from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class AudioOnlyConfig:
    """Sound2Sight's values, which the paper gives for its own model only."""

    embedding: int = 128  # size of an audio or frame embedding
    hidden: int = 256  # LSTM state
    layers: int = 2  # of either LSTM, as Sound2Sight's predictor
    learning_rate: float = 2e-3  # Adam

    def __post_init__(self) -> None:
        for name in ("embedding", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1")
        if not 0 <= self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be finite and not negative, {self.learning_rate} is")


class AudioOnly(Predictor):
    """Audio-only (Chatterjee and Cherian, ECCV 2020): one LSTM hears the clip, another draws it from what that kept."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "A"
    stochastic = False
    paper = "Chatterjee and Cherian, ECCV 2020"
    Config: ClassVar[type[AudioOnlyConfig]] = AudioOnlyConfig

    def __init__(self, shape: ClipShape, config: AudioOnlyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or self.Config()
        self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
        self.encoder = Recurrent(config.embedding, config.hidden, config.layers)
        self.decoder = Recurrent(config.embedding, config.hidden, config.layers)
        self.leave_decoder = nn.Linear(config.hidden, config.embedding)
        self.frame_decoder = FrameDecoder(shape.frame, config.embedding, skips=False)
        self.apply(initialise)
        self.apply(balance)
        self.to(memory_format=torch.channels_last)

    def players(self) -> dict[str, Player]:
        """One: everything learns together."""
        return {"generator": Player(list(self.parameters()), self.config.learning_rate)}

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """The squared error of all frames, as none is seen: a mean over pixels, a sum over frames."""
        error = ((self.draw(batch.audio) - batch.frames) ** 2).mean((2, 3, 4)).sum(1).mean()
        return {"generator": Loss(error, {"mse": error})}

    def draw(self, audio: Tensor) -> Tensor:
        """The sound of whole clips (B, T, bins, columns) to their frames (B, T, C, H, W).

        The second LSTM starts from the first's last state; its input is its own last output, at first 0.
        """
        clips, total = audio.shape[:2]
        embeddings = self.audio_encoder(audio.flatten(0, 1)).unflatten(0, (clips, total))
        state: State = self.encoder(embeddings)[1]
        output, outputs = embeddings.new_zeros(clips, 1, self.config.embedding), []
        for _ in range(total):
            hidden, state = self.decoder(output, state)
            output = torch.tanh(self.leave_decoder(hidden))
            outputs.append(output)
        return self.frame_decoder(torch.cat(outputs, 1).flatten(0, 1)).unflatten(0, (clips, total))

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """The drawn frames that were not seen, as every future; of what was seen, nothing but the number counts."""
        frames = self.draw(context.audio)[:, context.seen :]
        return Prediction(frames[:, None].expand(-1, samples, -1, -1, -1, -1))
