"""References: predictions of M3SO by a particle filter that knows the rules by which clips are simulated.

They do not bound every metric: their samples are samples of the posterior, while the least expected squared error is
that of the posterior mean. So their `mean_frame` bounds PSNR, and under `mean` their PSNR may be below black's.

A particle is a digit with a position and a velocity, and with the position of the block or all positions where the
block may still be. The audio of a frame gives the digit's distance from the lower-left corner (its gain) and what the
digit touches (its key). Particles are weighted by both and, after a contact, get new directions that agree with the
next frame's gain. Samples are drawn from the particles' paths.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor
from mmnist_av.audio_features import Spectrogram
from mmnist_av.m3so.sound import keys_in_order, tones
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

WORLD = Spec(obstacle=True)
# What the filter does not use: how long clips are, and, before the block's first frame, whether there is a block. The
# protocols of M3SO-NB end before that frame.
NOT_USED = ("frames", "obstacle")
RULES = {name: value for name, value in WORLD.as_dict().items() if name not in NOT_USED}
FEATURES = Spectrogram(n_fft=160, hop=40, bins=41)  # of the protocols of M3SO
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class BayesConfig:
    """The resolution of the particle filter."""

    particles: int = 1000
    directions: int = 300  # tried for each particle that changes direction
    spread: float = 0.03  # px, standard deviation of the distance that the audio gives
    roughening: float = 0.01  # px, standard deviation added to a particle's position when it is resampled
    turning: float = 0.003  # radians, the same for its direction
    impossible: float = -30.0  # log likelihood of an observation that contradicts a particle


@dataclass(frozen=True)
class AudioReading:
    """What the audio of a clip tells of every frame."""

    key: NDArray[np.str_]  # (T,) "0" to "9", "*" or "#"
    distance: Floats  # (T,) px from the lower-left corner to the ink box's centre; at most 10 where the gain is full
    full: Flags  # (T,) whether the gain is full: then the distance is only known to be 10 px at most


@dataclass
class Particles:
    """N particles: digits, their paths, and where the block may be for each."""

    position: Floats  # (N, 2) px, lower-left corner of the ink box, y up
    velocity: Floats  # (N, 2) px a frame
    speed: Floats  # (N,)
    contact: NDArray[np.int64]  # (N, 2) direction inwards, per axis, of a contact in the last step; 0 without contact
    fresh: bool  # whether the particles have no velocity yet
    path: Floats  # (N, T, 2)
    block_positions: Flags  # (N, side, side) by y, x: where the block may be; all False before the block appears
    block: Floats  # (N, 2) px, lower-left corner of the block; NaN while it is not known

    def take(self, which: NDArray[np.int64]) -> "Particles":
        """Return the particles with the indices `which`, which may repeat."""
        arrays = {name: value[which] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Particles(**arrays, fresh=self.fresh)


def on_an_axis(flags: Flags) -> Flags:
    """Return whether one of the two axes has its flag: (..., 2) to (...); `any` takes thirty times as long."""
    either: Flags = flags[..., 0] | flags[..., 1]
    return either


def read_audio(audio: Tensor) -> AudioReading:
    """Return key and distance of each frame, by the tone whose spectrum fits best.

    audio: M3SO's audio features, (T, bins, columns).
    """
    spectra = torch.expm1(audio.double()).flatten(1).cpu().numpy()
    templates = tone_spectra()  # (keys, phases, features)
    own = templates[:, np.arange(len(spectra)) % WORLD.fps]  # (keys, T, features)
    gain = (own * spectra).sum(-1) / (own**2).sum(-1)
    misfit = ((spectra - gain[..., None] * own) ** 2).sum(-1)
    best = misfit.argmin(0)
    best_gain = gain[best, np.arange(len(spectra))]
    full = best_gain > 1 - 2e-4
    return AudioReading(np.array(list(keys_in_order(WORLD)))[best], WORLD.full_gain / np.minimum(best_gain, 1), full)


def tone_spectra() -> Floats:
    """Return the magnitudes of every key's tone at full gain for each frame of a second: (keys, phases, features)."""
    loud = torch.from_numpy(tones(WORLD).reshape(-1, WORLD.fps, WORLD.samples_per_frame))
    return torch.expm1(FEATURES(loud.to(torch.int16)).double()).flatten(2).numpy()


@dataclass(frozen=True)
class SeenDigit:
    """The digit in the seen frames."""

    corner: NDArray[np.int64]  # (F, 2) px, the ink box's lower-left corner, rounded down; y up
    ink: NDArray[np.float32]  # (h, w) the digit, in [0, 1]

    @property
    def size(self) -> Floats:
        """The width and height of the ink box, px."""
        return np.array(self.ink.shape[::-1], np.float64)


def read_frames(seen: Tensor) -> SeenDigit:
    """Return the digit and its positions in seen frames (F, H, W). Raises InputError for frames without ink."""
    frames = seen.float().cpu().numpy()
    corners, ink = [], frames[-1]
    for frame in frames:
        rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
        if not len(rows):
            raise InputError("the particle filter needs a digit in every seen frame")
        corners.append((columns[0], frame.shape[0] - 1 - rows[-1]))
        ink = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return SeenDigit(np.array(corners, np.int64), ink)


class Filter:
    """The particle filter of one clip."""

    def __init__(self, config: BayesConfig, seen: SeenDigit, audio: AudioReading | None, total: int) -> None:
        self.config, self.seen, self.audio, self.total = config, seen, audio, total
        self.limit = WORLD.canvas - seen.size
        self.random = np.random.default_rng(0)
        self.log_weight = np.zeros(config.particles)

    def run(self) -> tuple[Particles, Floats]:
        """Return the particles with their paths of all frames, and their weights."""
        particles = self.start()
        for t in range(1, self.total):
            particles = self.step(particles, t)
        return particles, self.weights()

    def weights(self) -> Floats:
        """Return the particles' weights, which add up to 1."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return weight / weight.sum()

    def start(self) -> Particles:
        """Return particles in frame 0: anywhere within the digit's pixel, at the distance that the audio gives."""
        count, tried = self.config.particles, 40 * self.config.particles
        position = np.clip(self.seen.corner[0] + self.random.random((tried, 2)), 0, self.limit)
        log_likelihood = self.distance_likelihood(position, 0)
        weight = np.exp(log_likelihood - log_likelihood.max())
        position = position[self.random.choice(tried, count, p=weight / weight.sum())]
        side = WORLD.canvas - WORLD.block + 1
        return Particles(
            position,
            velocity=np.zeros((count, 2)),
            speed=np.zeros(count),
            contact=np.zeros((count, 2), np.int64),
            fresh=True,
            path=np.repeat(position[:, None], self.total, 1),
            block_positions=np.zeros((count, side, side), bool),
            block=np.full((count, 2), np.nan),
        )

    # ------------------------------------------------------------------------------------------ likelihoods

    def distance_likelihood(self, position: Floats, t: int) -> Floats:
        """Return the log likelihood of positions (..., 2), given the audio's distance at frame t; 0 without audio."""
        if self.audio is None:
            return np.zeros(position.shape[:-1])
        centre = position + self.seen.size / 2
        off = np.hypot(centre[..., 0], centre[..., 1]) - self.audio.distance[t]
        if self.audio.full[t]:
            off = np.maximum(off, 0)
        return np.maximum(-0.5 * (off / self.config.spread) ** 2, self.config.impossible)

    def frame_likelihood(self, position: Floats, t: int) -> Floats:
        """Return the log likelihood of positions (..., 2), given the digit's pixel in frame t; 0 for unseen frames."""
        if t >= len(self.seen.corner):
            return np.zeros(position.shape[:-1])
        off = np.maximum(self.seen.corner[t] - position, position - self.seen.corner[t] - 1)
        off = np.maximum(off[..., 0], off[..., 1])
        return np.maximum(-0.5 * (np.maximum(off, 0) / 0.01) ** 2, self.config.impossible)

    def key_likelihood(self, touched: Flags, t: int) -> Floats:
        """Return the log likelihood of `touched` (a wall or not), given the key of frame t; 0 for the block's key."""
        if self.audio is None or self.audio.key[t] == WORLD.block_key:
            return np.zeros(touched.shape)
        return np.where(touched == (self.audio.key[t] == WORLD.wall_key), 0.0, self.config.impossible)

    # ------------------------------------------------------------------------------------------ a step

    def step(self, particles: Particles, t: int) -> Particles:
        """Return the particles at frame t, weighted, and resampled where few of them have weight."""
        self.turn(particles, t)
        moved, contact = self.walls(particles.position + particles.velocity)
        touched = on_an_axis(contact != 0)
        self.meet_block(particles, moved, contact, t)
        self.log_weight += (
            self.distance_likelihood(moved, t) + self.frame_likelihood(moved, t) + self.key_likelihood(touched, t)
        )
        particles.position, particles.contact = moved, contact
        particles.path[:, t] = moved
        self.block_appears(particles, t)
        return self.resample(particles)

    def walls(self, moved: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Return positions (..., 2) moved back inside the walls, and the direction inwards of each axis' contact."""
        contact = (moved < 0).astype(np.int64) - (moved > self.limit)
        return np.clip(moved, 0, self.limit), contact

    def turn(self, particles: Particles, t: int) -> None:
        """Draw a velocity that agrees with frame t for every particle with a contact or without velocity, in place."""
        turning = np.full(len(particles.speed), True) if particles.fresh else on_an_axis(particles.contact != 0)
        which = np.flatnonzero(turning)
        if not len(which):
            return
        tried = self.config.directions
        angle, speed = self.directions(particles, which, tried)
        velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        log_likelihood = self.velocity_likelihood(particles.position[which, None], velocity, t)
        best = log_likelihood.max(-1, keepdims=True)
        weight = np.exp(log_likelihood - best)
        total = weight.sum(-1, keepdims=True)
        chosen = (np.cumsum(weight, -1) < self.random.random((len(which), 1)) * total).sum(-1)
        chosen = np.minimum(chosen, angle.shape[1] - 1)
        rows = np.arange(len(which))
        particles.velocity[which], particles.speed[which] = velocity[rows, chosen], speed[rows, chosen]
        # a particle's weight is its directions' mean likelihood; `step` multiplies by the chosen one's again
        self.log_weight[which] += (np.log(total / angle.shape[1]) + best)[:, 0] - log_likelihood[rows, chosen]
        particles.fresh = False

    def velocity_likelihood(self, position: Floats, velocity: Floats, t: int) -> Floats:
        """Return the log likelihood of `velocity` (n, tried, 2) px, given frame t, for particles at `position`."""
        is_seen = t < len(self.seen.corner)
        has_distance = self.audio is not None and self.audio.key[t] != WORLD.block_key
        if not (is_seen or has_distance):
            return np.zeros(velocity.shape[:-1])
        moved, contact = self.walls(position + velocity)
        log_likelihood = self.frame_likelihood(moved, t)
        if has_distance:
            touched = on_an_axis(contact != 0)
            log_likelihood = log_likelihood + self.distance_likelihood(moved, t) + self.key_likelihood(touched, t)
        return log_likelihood

    def directions(self, particles: Particles, which: NDArray[np.int64], tried: int) -> tuple[Floats, Floats]:
        """Return directions (n, tried), radians, and speeds from their prior, one in each of `tried` parts."""
        share = (np.arange(tried) + self.random.random((len(which), tried))) / tried
        if particles.fresh:
            tried_speeds = WORLD.slowest + np.arange(WORLD.speeds, dtype=np.float64)
            angle = np.repeat(2 * np.pi * share, WORLD.speeds, 1)
            return angle, np.broadcast_to(np.tile(tried_speeds, tried), angle.shape)
        contact = particles.contact[which]
        corner = (contact != 0).all(-1, keepdims=True)
        half = np.where(corner, WORLD.corner_spread, WORLD.wall_spread) * (2 * np.pi / WORLD.turn)
        centre = np.arctan2(contact[:, 1], contact[:, 0])[:, None]
        return centre + (2 * share - 1) * half, np.repeat(particles.speed[which, None], tried, 1)

    def resample(self, particles: Particles) -> Particles:
        """Return the particles, resampled by weight with a little noise if their effective number is below half."""
        weight = self.weights()
        count = len(weight)
        if 1 / (weight**2).sum() > count / 2:
            return particles
        chosen = np.searchsorted(np.cumsum(weight), (np.arange(count) + self.random.random()) / count)
        particles = particles.take(np.minimum(chosen, count - 1))
        free = particles.contact == 0  # an axis with a contact keeps its position exactly
        rough = self.config.roughening * self.random.standard_normal((count, 2)) * free
        particles.position = np.clip(particles.position + rough, 0, self.limit)
        turned = self.config.turning * self.random.standard_normal(count)
        cos, sin = np.cos(turned), np.sin(turned)
        x, y = particles.velocity.T
        particles.velocity = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
        self.log_weight = np.zeros(count)
        return particles

    # ------------------------------------------------------------------------------------------ the block

    def meet_block(self, particles: Particles, moved: Floats, contact: NDArray[np.int64], t: int) -> None:
        """Move particles that hit the block back to its face, and weight all by whether they hit it, in place.

        Before its first hit, a particle keeps all positions of the block that agree with its path; at its first hit
        one of them is drawn, given the distance at frame t.
        """
        has_audio = self.audio is not None
        is_hit = self.audio is not None and self.audio.key[t] == WORLD.block_key
        known = ~np.isnan(particles.block[:, 0])
        self.run_into(particles, np.flatnonzero(known), moved, contact, is_hit if has_audio else None)
        unknown = np.flatnonzero(~known & particles.block_positions.any((1, 2)))
        if not len(unknown):
            if is_hit:
                self.log_weight += np.where(known, 0.0, self.config.impossible)
            return
        over = self.overlapping(moved[unknown])
        before = particles.block_positions[unknown]
        if not is_hit:
            particles.block_positions[unknown] = left = before & ~over
            share = left.sum((1, 2)) / before.sum((1, 2))
            self.log_weight[unknown] += np.maximum(np.log(np.maximum(share, 1e-300)), self.config.impossible)
            return
        self.find_block(particles, unknown, before & over, before.sum((1, 2)), moved, t)
        found = unknown[~np.isnan(particles.block[unknown, 0])]
        self.run_into(particles, found, moved, contact, True)
        lost = unknown[np.isnan(particles.block[unknown, 0])]
        self.log_weight[lost] += self.config.impossible

    def overlapping(self, position: Floats) -> Flags:
        """Return which positions of the block, (n, side, side) by y, x, overlap ink boxes at (n, 2)."""
        near = np.arange(WORLD.canvas - WORLD.block + 1)
        low, high = position[:, None], (position + self.seen.size)[:, None]
        over: Flags = (high > near[None, :, None]) & (low < near[None, :, None] + WORLD.block)
        return over[:, :, 1][:, :, None] & over[:, :, 0][:, None, :]

    def run_into(
        self,
        particles: Particles,
        which: NDArray[np.int64],
        moved: Floats,
        contact: NDArray[np.int64],
        expected: bool | None,
    ) -> None:
        """Move particles that overlap their block back to the face that they hit, in place.

        expected: whether the audio tells of a hit, which weights the particles; None without audio.
        """
        if not len(which):
            return
        near, size = particles.block[which], self.seen.size
        far, before, now = near + WORLD.block, particles.position[which], moved[which]
        ran_in = np.all((now + size > near) & (now < far), axis=1)
        to_near = ran_in[:, None] & (before + size <= near + 1e-9)
        to_far = ran_in[:, None] & (before >= far - 1e-9)
        moved[which] = np.where(to_near, near - size, np.where(to_far, far, now))
        contact[which] = np.where(to_near, -1, np.where(to_far, 1, contact[which]))
        if expected is not None:
            self.log_weight[which] += np.where(ran_in == expected, 0.0, self.config.impossible)

    def find_block(
        self,
        particles: Particles,
        which: NDArray[np.int64],
        possible: Flags,
        before: NDArray[np.int64],
        moved: Floats,
        t: int,
    ) -> None:
        """Draw the block's position for particles that hit it at frame t, among the `possible` ones (n, side, side)."""
        side = possible.shape[1]
        near = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(np.float64)  # x, y
        size = self.seen.size
        came, now = particles.position[which, None], moved[which, None]
        flush = np.where(
            came + size <= near, near - size, np.where(came >= near + WORLD.block, near + WORLD.block, now)
        )
        log_likelihood = self.distance_likelihood(flush, t)
        log_likelihood = np.where(possible.reshape(len(which), -1), log_likelihood, -np.inf)
        best = np.maximum(log_likelihood.max(-1, keepdims=True), 2 * self.config.impossible)
        weight = np.exp(log_likelihood - best)
        total = weight.sum(-1)
        can = total > 0
        chosen = (np.cumsum(weight, -1) < self.random.random((len(which), 1)) * total[:, None]).sum(-1)
        chosen = np.minimum(chosen, side * side - 1)
        particles.block[which[can]] = near[chosen[can]]
        rows = np.flatnonzero(can)
        evidence = np.log(total[rows] / before[rows]) + best[rows, 0]
        self.log_weight[which[rows]] += evidence - log_likelihood[rows, chosen[rows]]

    def block_appears(self, particles: Particles, t: int) -> None:
        """From the block's first frame on, give particles without block all positions that their digit leaves free."""
        if t < WORLD.block_frame:
            return
        without = np.flatnonzero(np.isnan(particles.block[:, 0]) & ~particles.block_positions.any((1, 2)))
        if len(without):
            particles.block_positions[without] = ~self.overlapping(particles.position[without])
        if self.audio is None:
            self.settle_block(particles)

    def settle_block(self, particles: Particles) -> None:
        """Draw the block's position for every particle that does not know it, among its possible ones, in place."""
        unknown = np.flatnonzero(np.isnan(particles.block[:, 0]) & particles.block_positions.any((1, 2)))
        if len(unknown):
            block_positions = particles.block_positions[unknown].reshape(len(unknown), -1)
            share = self.random.random((len(unknown), 1)) * block_positions.sum(-1, keepdims=True)
            number = (np.cumsum(block_positions, -1) <= share).sum(-1)
            side = particles.block_positions.shape[1]
            particles.block[unknown] = np.stack([number % side, number // side], -1)


class BayesAV(Predictor):
    """The reference with audio: a particle filter that knows M3SO's rules, given seen frames and audio."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "AV"
    stochastic = True
    paper = ""
    needs = frozenset({"seen"})
    world = RULES
    Config = BayesConfig

    def __init__(self, shape: ClipShape, config: BayesConfig | None = None) -> None:
        super().__init__()
        self.config = config or BayesConfig()
        if shape.frame != (1, WORLD.canvas, WORLD.canvas) or shape.audio != FEATURES.shape(WORLD.samples_per_frame):
            raise InputError(
                "the particle filter knows the world of M3SO only, with its frames and its audio features: "
                "choose another --model for other datasets"
            )

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return frames of paths drawn from the particles; see Predictor.predict. Clips must have one digit."""
        total = context.audio.shape[1]
        quantiles = torch.special.ndtr(noise.normal(1).double())[..., 0].cpu().numpy()
        predicted = [
            self.predict_clip(frames, self.read_audio(audio), total, of_clip)
            for frames, audio, of_clip in zip(context.frames[:, :, 0], context.audio, quantiles, strict=True)
        ]
        return Prediction(torch.from_numpy(np.stack(predicted))[:, :, :, None].to(context.frames.device))

    def read_audio(self, audio: Tensor) -> AudioReading | None:
        """Return what the filter is given of the audio features (T, bins, columns) of a clip; None: nothing."""
        return read_audio(audio)

    def predict_clip(
        self, frames: Tensor, audio: AudioReading | None, total: int, quantiles: Floats
    ) -> NDArray[np.float32]:
        """Return K samples (K, T - F, H, W): the particles at `quantiles` (K,), in [0, 1], of the total weight."""
        seen = read_frames(frames)
        particle_filter = Filter(self.config, seen, audio, total)
        particles, weight = particle_filter.run()
        particle_filter.settle_block(particles)
        chosen = np.minimum(np.searchsorted(np.cumsum(weight), quantiles), len(weight) - 1)
        return render(particles.take(chosen), seen, range(len(frames), total))


class BayesV(BayesAV):
    """The reference without audio: the same filter, given the seen frames alone."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"

    @override
    def read_audio(self, audio: Tensor) -> AudioReading | None:
        return None


def render(particles: Particles, seen: SeenDigit, frames: range) -> NDArray[np.float32]:
    """Return the pictures (N, frames, H, W), in [0, 1], of the particles' paths at `frames`."""
    canvas = WORLD.canvas
    height, width = seen.ink.shape
    pictures = np.zeros((len(particles.path), len(frames), canvas, canvas), np.float32)
    for n, path in enumerate(particles.path):
        for number, t in enumerate(frames):
            if t >= WORLD.block_frame and not np.isnan(particles.block[n, 0]):
                x, y = particles.block[n].astype(int)
                pictures[n, number, canvas - y - WORLD.block : canvas - y, x : x + WORLD.block] = 1
            x, y = np.floor(path[t]).astype(int)
            region = pictures[n, number, canvas - y - height : canvas - y, x : x + width]
            np.maximum(region, seen.ink, out=region)
    return pictures
