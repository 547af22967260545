"""Small models that use what the simple ones do not: stages, turns, state from clip to clip, and flow.

Each is a complete Predictor for clips of any shape with at least one seen frame.
"""

import torch
from torch import autograd, nn
from typing_extensions import override

from baselines.predictor import ClipShape, Loss, Player, Prediction, Predictor, Stage, Turn

WINDOW = 3  # frames of a window of Recurrent's predictions


def for_samples(frames, samples):
    """Repeat (B, P, C, H, W) for K samples: (B, K, P, C, H, W)."""
    return frames[:, None].expand(-1, samples, *frames.shape[1:])


class TwoStage(Predictor):
    """First an autoencoder of frames is trained, then, on its frozen encoder, the prediction of the next frame."""

    modality, stochastic, paper, needs = "V", False, "", frozenset({"seen"})

    def __init__(self, shape: ClipShape):
        super().__init__()
        channels = shape.frame[0]
        self.encoder = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.decoder = nn.Conv2d(4, channels, 3, padding=1)
        self.head = nn.Conv2d(4, channels, 3, padding=1)

    @override
    def players(self):
        autoencoder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return {"autoencoder": Player(autoencoder, 1e-2), "head": Player(list(self.head.parameters()), 1e-2)}

    @override
    def stages(self):
        return (
            Stage("autoencoder", ("autoencoder",), share=0.5),
            Stage("prediction", ("head",), share=0.5, frozen=("encoder",)),
        )

    @override
    def losses(self, batch, progress):
        last, following = batch.frames[:, batch.seen - 1], batch.frames[:, batch.seen]
        if progress.stage == "autoencoder":
            again = self.decoder(self.encoder(last)).float().sigmoid()
            return {"autoencoder": Loss((again - last).square().mean())}
        return {"head": Loss((self.next_frame(last) - following).square().mean())}

    def next_frame(self, frame):
        return self.head(self.encoder(frame)).float().sigmoid()

    @override
    def predict(self, context, samples, noise):
        frames = [context.frames[:, -1]]
        for _ in range(context.predicted):
            frames.append(self.next_frame(frames[-1]))
        return Prediction(for_samples(torch.stack(frames[1:], 1), samples))


class Critic(Predictor):
    """A generator of the next frame and its critic, trained in turns as a Wasserstein GAN with gradient penalty."""

    modality, stochastic, paper, needs = "V", True, "", frozenset({"seen"})

    def __init__(self, shape: ClipShape):
        super().__init__()
        channels = shape.frame[0]
        self.generator = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.critic = nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 1)
        )

    @override
    def players(self):
        return {
            "generator": Player(list(self.generator.parameters()), 1e-2, betas=(0.5, 0.9)),
            "critic": Player(list(self.critic.parameters()), 1e-2, betas=(0.5, 0.9)),
        }

    @override
    def stages(self):
        turns = (*[Turn(("critic",))] * 5, Turn(("generator",)))
        return (Stage("", ("generator", "critic"), turns=turns),)

    @override
    def losses(self, batch, progress):
        last, real = batch.frames[:, batch.seen - 1], batch.frames[:, batch.seen]
        generated = self.next_frame(last, torch.randn_like(last[:, :1]))
        if progress.players == ("generator",):
            return {"generator": Loss(-self.critic(generated).float().mean())}
        generated = generated.detach()
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (share * real + (1 - share) * generated).requires_grad_()
        (slope,) = autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.float().flatten(1).norm(dim=1) - 1).square().mean()
        distance = (self.critic(generated) - self.critic(real)).float().mean()
        return {"critic": Loss(distance + 10 * penalty, {"penalty": penalty})}

    def next_frame(self, frame, noise):
        return self.generator(torch.cat([frame, noise], 1)).float().sigmoid()

    @override
    def predict(self, context, samples, noise):
        frames = [for_samples(context.frames[:, -1:], samples)[:, :, 0].flatten(0, 1)]
        for _ in range(context.predicted):
            frames.append(self.next_frame(frames[-1], noise.normal(1, *frames[-1].shape[2:]).flatten(0, 1)))
        return Prediction(torch.stack(frames[1:], 1).unflatten(0, (-1, samples)))


class Recurrent(Predictor):
    """Predicts the last seen frame, its colours changed by a state that is kept from clip to clip."""

    modality, stochastic, paper, needs = "V", False, "", frozenset({"seen"})
    carries_state = True

    def __init__(self, shape: ClipShape):
        super().__init__()
        channels = shape.frame[0]
        self.cell = nn.Linear(2 * channels, channels)
        self.change = nn.Linear(channels, channels)
        self.register_buffer("state", torch.zeros(0, channels))  # (clips, channels)

    @override
    def players(self):
        return {"all": Player(list(self.parameters()), 1e-2)}

    @override
    def losses(self, batch, progress):
        frame = self.next_frame(batch.frames[:, : batch.seen])
        return {"all": Loss((frame - batch.frames[:, batch.seen]).square().mean(), {"state": self.state.mean()})}

    def next_frame(self, seen):
        """Update the state by a clip, and return the frame that follows it."""
        before = self.state if len(self.state) == len(seen) else self.state.new_zeros(len(seen), seen.shape[2])
        state = torch.cat([seen.mean((1, 3, 4)), before], 1)
        state = self.cell(state).float().tanh()
        self.state = state.detach()
        return (seen[:, -1] + self.change(state).float()[:, :, None, None]).sigmoid()

    @override
    def predict_windows(self, context, samples, noise):
        frame = for_samples(self.next_frame(context.frames)[:, None], samples)
        for first in range(0, context.predicted, WINDOW):
            count = min(WINDOW, context.predicted - first)
            yield Prediction(frame.expand(-1, -1, count, *frame.shape[3:]))

    @override
    def reset(self):
        self.state = self.state.new_zeros(0, self.state.shape[1])


class FlowUser(Predictor):
    """Predicts that the flow and the brightness of the last seen frame go on, each times a learned factor."""

    modality, stochastic, paper = "V", False, ""
    needs, predicts = frozenset({"seen", "flow"}), frozenset({"flow"})

    def __init__(self, shape: ClipShape):
        super().__init__()
        self.speed, self.light = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.5))

    @override
    def players(self):
        return {"all": Player([self.speed, self.light], 1e-2)}

    @override
    def losses(self, batch, progress):
        last = batch.seen - 1
        flow = (self.speed * batch.flow[:, last] - batch.flow[:, last + 1]).square().mean()
        light = (self.light * batch.frames[:, last] - batch.frames[:, last + 1]).square().mean()
        return {"all": Loss(flow + light, {"flow": flow, "light": light})}

    @override
    def predict(self, context, samples, noise):
        frame = (self.light * context.frames[:, -1:]).clamp(0, 1)
        flow = self.speed * context.flow[:, -1:]
        frames, flows = (each.expand(-1, context.predicted, -1, -1, -1) for each in (frame, flow))
        return Prediction(for_samples(frames, samples), flow=for_samples(flows, samples))


TOYS = {"two-stage": TwoStage, "critic": Critic, "recurrent": Recurrent, "flow-user": FlowUser}
