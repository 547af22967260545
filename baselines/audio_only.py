"""Audio-only: frames from audio alone by a sequence-to-sequence model, a baseline of Sound2Sight.

M. Chatterjee and A. Cherian, "Sound2Sight", ECCV 2020, section 4, "Baselines", after I. Sutskever, O. Vinyals and
Q. Le, "Sequence to Sequence Learning with Neural Networks", NeurIPS 2014. The paper only says that an LSTM generates
the frames from the audio: the sizes here are Sound2Sight's, the rest is ours.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from baselines.layers.audio import AudioEncoder
from baselines.layers.frame_by_frame import squared_errors, sum_over_frames
from baselines.layers.frames import FrameDecoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.recurrent import Recurrent, State
from baselines.predictor import Batch, ClipShape, Context, Loss, Noise, Player, Prediction, Predictor, Progress
from baselines.settings import Count, NonNegative
from mmnist_av.system.settings import checked


@checked
class AudioOnlyConfig:
    """Sound2Sight's values, which the paper gives for its own model only."""

    embedding: Count = 128  # size of an audio or frame embedding
    hidden: Count = 256  # LSTM state
    layers: Count = 2  # of either LSTM, as in Sound2Sight's predictor
    learning_rate: NonNegative = 2e-3  # Adam


class AudioOnly(Predictor):
    """Audio-only (Chatterjee and Cherian, ECCV 2020): one LSTM encodes a clip's audio, another generates its frames."""

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

    @override
    def players(self) -> dict[str, Player]:
        return {"generator": Player(list(self.parameters()), self.config.learning_rate)}

    @override
    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Return the squared error of all frames, because none is an input: a mean over pixels, a sum over frames."""
        error = sum_over_frames(squared_errors(self.generate(batch.audio), batch.frames))
        return {"generator": Loss(error, {"mse": error})}

    def generate(self, audio: Tensor) -> Tensor:
        """Return the frames (B, T, C, H, W) of whole clips, given their audio features (B, T, bins, columns).

        The decoder LSTM starts from the encoder LSTM's last state; its input is its own last output, first 0.
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

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return the generated frames that follow the context, the same for all samples; see Predictor.predict.

        Of the seen frames only their number matters.
        """
        frames = self.generate(context.audio)[:, context.seen :]
        return Prediction(frames[:, None].expand(-1, samples, -1, -1, -1, -1))
