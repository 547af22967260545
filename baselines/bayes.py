"""Ceilings: what a perfect reader of the seen frames, with or without the sound, can know of M3SO's future.

A particle filter over the world's own dynamics. Particles are digits with positions and velocities; each carries the
block, or the places where the block may still be. The sound says how far the digit is from the lower-left corner (the
gain) and when it touches what (the key), so particles are weighed by it and, after a contact, turn into directions that
the next frame's gain allows. Futures are drawn from the particles' paths.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor
from mmnist_av.audio_features import Spectrogram
from mmnist_av.m3so.sound import keys_in_order, tones
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

WORLD = Spec(obstacle=True)
FEATURES = Spectrogram(n_fft=160, hop=40, bins=41)  # of the protocols of M3SO
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class BayesConfig:
    """How finely the filter looks."""

    particles: int = 1000
    directions: int = 300  # tried for each particle that turns
    spread: float = 0.03  # px, standard deviation of the distance that is heard
    roughening: float = 0.01  # px, of a particle's position when it is drawn again
    turning: float = 0.003  # radians, of its direction
    impossible: float = -30.0  # log likelihood of what a particle says cannot be


@dataclass(frozen=True)
class Heard:
    """What the sound of a clip says, frame by frame."""

    key: NDArray[np.str_]  # (T,) "0" to "9", "*" or "#"
    distance: Floats  # (T,) px from the lower-left corner to the ink box's centre; at most 10 where the gain is full
    full: Flags  # (T,) whether the gain is full: then the distance is only known to be 10 px at most


@dataclass
class Particles:
    """N digits, their paths, and what each believes of the block."""

    position: Floats  # (N, 2) px, lower-left corner of the ink box, y up
    velocity: Floats  # (N, 2) px a frame
    speed: Floats  # (N,)
    contact: NDArray[np.int64]  # (N, 2) inwards, of the last step; 0 where nothing was touched
    fresh: bool  # whether no velocity was drawn yet
    path: Floats  # (N, T, 2)
    places: Flags  # (N, side, side) by y, x: where the block may be; all False: it is not there yet
    block: Floats  # (N, 2) px, lower-left corner of the block; nan while it is not known

    def take(self, which: NDArray[np.int64]) -> "Particles":
        """Some of them, any number of times."""
        arrays = {name: value[which] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Particles(**arrays, fresh=self.fresh)


def read_sound(audio: Tensor) -> Heard:
    """Key and distance of each frame, by the tone whose spectrum fits best: (T, bins, columns) of M3SO's features."""
    spectra = torch.expm1(audio.double()).flatten(1).cpu().numpy()
    templates = tone_spectra()  # (keys, phases, features)
    own = templates[:, np.arange(len(spectra)) % WORLD.fps]  # (keys, T, features)
    gain = (own * spectra).sum(-1) / (own**2).sum(-1)
    misfit = ((spectra - gain[..., None] * own) ** 2).sum(-1)
    best = misfit.argmin(0)
    heard = gain[best, np.arange(len(spectra))]
    full = heard > 1 - 2e-4
    return Heard(np.array(list(keys_in_order(WORLD)))[best], WORLD.full_gain / np.minimum(heard, 1), full)


def tone_spectra() -> Floats:
    """The magnitudes of every key's tone at full gain, for each of the frames of a second: (keys, phases, features)."""
    loud = torch.from_numpy(tones(WORLD).reshape(-1, WORLD.fps, WORLD.samples_per_frame))
    return torch.expm1(FEATURES(loud.to(torch.int16)).double()).flatten(2).numpy()


@dataclass(frozen=True)
class Seen:
    """What the seen frames show."""

    corner: NDArray[np.int64]  # (F, 2) px, the ink box's lower-left corner, rounded down; y up
    ink: NDArray[np.float32]  # (h, w) the digit, in [0, 1]

    @property
    def size(self) -> Floats:
        """Width and height of the ink box, px."""
        return np.array(self.ink.shape[::-1], np.float64)


def read_frames(seen: Tensor) -> Seen:
    """The digit and its places in seen frames (F, H, W). Raises InputError for frames without ink."""
    frames = seen.float().cpu().numpy()
    corners, ink = [], frames[-1]
    for frame in frames:
        rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
        if not len(rows):
            raise InputError("the particle filter needs a digit in every seen frame")
        corners.append((columns[0], frame.shape[0] - 1 - rows[-1]))
        ink = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Seen(np.array(corners, np.int64), ink)


class Filter:
    """The particle filter of one clip."""

    def __init__(self, config: BayesConfig, seen: Seen, heard: Heard | None, total: int) -> None:
        self.config, self.seen, self.heard, self.total = config, seen, heard, total
        self.limit = WORLD.canvas - seen.size
        self.random = np.random.default_rng(0)
        self.log_weight = np.zeros(config.particles)

    def run(self) -> tuple[Particles, Floats]:
        """The particles with their whole paths, and their weights."""
        particles = self.start()
        for t in range(1, self.total):
            particles = self.step(particles, t)
        return particles, self.weights()

    def weights(self) -> Floats:
        """The particles' weights, summing to 1."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return weight / weight.sum()

    def start(self) -> Particles:
        """Particles in the first frame: anywhere within the digit's px, as far from the corner as is heard."""
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
            places=np.zeros((count, side, side), bool),
            block=np.full((count, 2), np.nan),
        )

    # ------------------------------------------------------------------------------------------ likelihoods

    def distance_likelihood(self, position: Floats, t: int) -> Floats:
        """Log likelihood of positions (..., 2) by the distance that is heard at frame t; 0 without sound."""
        if self.heard is None:
            return np.zeros(position.shape[:-1])
        centre = position + self.seen.size / 2
        off = np.hypot(centre[..., 0], centre[..., 1]) - self.heard.distance[t]
        if self.heard.full[t]:
            off = np.maximum(off, 0)
        return np.maximum(-0.5 * (off / self.config.spread) ** 2, self.config.impossible)

    def frame_likelihood(self, position: Floats, t: int) -> Floats:
        """Log likelihood of positions (..., 2) by the px that the digit is seen at; 0 for unseen frames."""
        if t >= len(self.seen.corner):
            return np.zeros(position.shape[:-1])
        off = np.maximum(self.seen.corner[t] - position, position - self.seen.corner[t] - 1).max(-1)
        return np.maximum(-0.5 * (np.maximum(off, 0) / 0.01) ** 2, self.config.impossible)

    def key_likelihood(self, touched: Flags, t: int) -> Floats:
        """Log likelihood of touching a wall, or not, at frame t; a block's key says nothing of walls."""
        if self.heard is None or self.heard.key[t] == WORLD.block_key:
            return np.zeros(touched.shape)
        return np.where(touched == (self.heard.key[t] == WORLD.wall_key), 0.0, self.config.impossible)

    # ------------------------------------------------------------------------------------------ a step

    def step(self, particles: Particles, t: int) -> Particles:
        """All particles one frame on, weighed, and drawn again where few of them count."""
        self.turn(particles, t)
        moved, contact = self.walls(particles.position + particles.velocity)
        touched = (contact != 0).any(-1)
        self.meet_block(particles, moved, contact, t)
        self.log_weight += (
            self.distance_likelihood(moved, t) + self.frame_likelihood(moved, t) + self.key_likelihood(touched, t)
        )
        particles.position, particles.contact = moved, contact
        particles.path[:, t] = moved
        self.block_appears(particles, t)
        return self.draw_again(particles)

    def walls(self, moved: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Positions (..., 2) brought back inside, and the contact on each axis, inwards."""
        contact = (moved < 0).astype(np.int64) - (moved > self.limit)
        return np.clip(moved, 0, self.limit), contact

    def turn(self, particles: Particles, t: int) -> None:
        """Give every particle that touched something, or has no velocity yet, one that frame t allows, in place."""
        turning = np.full(len(particles.speed), True) if particles.fresh else (particles.contact != 0).any(-1)
        which = np.flatnonzero(turning)
        if not len(which):
            return
        tried = self.config.directions
        angle, speed = self.directions(particles, which, tried)
        velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        moved, contact = self.walls(particles.position[which, None] + velocity)
        log_likelihood = self.frame_likelihood(moved, t)
        if self.heard is not None and self.heard.key[t] != WORLD.block_key:
            touched = (contact != 0).any(-1)
            log_likelihood = log_likelihood + self.distance_likelihood(moved, t) + self.key_likelihood(touched, t)
        best = log_likelihood.max(-1, keepdims=True)
        weight = np.exp(log_likelihood - best)
        total = weight.sum(-1, keepdims=True)
        drawn = (np.cumsum(weight, -1) < self.random.random((len(which), 1)) * total).sum(-1)
        drawn = np.minimum(drawn, angle.shape[1] - 1)
        rows = np.arange(len(which))
        particles.velocity[which], particles.speed[which] = velocity[rows, drawn], speed[rows, drawn]
        # the weight of a particle is the mean likelihood of its directions; that of the drawn one comes again in `step`
        self.log_weight[which] += (np.log(total / angle.shape[1]) + best)[:, 0] - log_likelihood[rows, drawn]
        particles.fresh = False

    def directions(self, particles: Particles, which: NDArray[np.int64], tried: int) -> tuple[Floats, Floats]:
        """Directions (n, tried), radians, and speeds, from their prior: spread evenly, each within its own share."""
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

    def draw_again(self, particles: Particles) -> Particles:
        """Where fewer than half of the particles count, draw as many anew by their weights, a little roughened."""
        weight = self.weights()
        count = len(weight)
        if 1 / (weight**2).sum() > count / 2:
            return particles
        chosen = np.searchsorted(np.cumsum(weight), (np.arange(count) + self.random.random()) / count)
        particles = particles.take(np.minimum(chosen, count - 1))
        free = particles.contact == 0  # what touches something stays where that is
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
        """Let the particles run into the block where it is, or learn from not running into it; in place.

        Before a particle has hit the block it keeps every place that fits what it has been through; at its first hit
        one of them is drawn, by the distance that is heard.
        """
        hears = self.heard is not None
        hit_heard = self.heard is not None and self.heard.key[t] == WORLD.block_key
        known = ~np.isnan(particles.block[:, 0])
        self.run_into(particles, np.flatnonzero(known), moved, contact, hit_heard if hears else None)
        unknown = np.flatnonzero(~known & particles.places.any((1, 2)))
        if not len(unknown):
            if hit_heard:
                self.log_weight += np.where(known, 0.0, self.config.impossible)
            return
        over = self.overlapping(moved[unknown])
        before = particles.places[unknown]
        if not hit_heard:
            particles.places[unknown] = left = before & ~over
            share = left.sum((1, 2)) / before.sum((1, 2))
            self.log_weight[unknown] += np.maximum(np.log(np.maximum(share, 1e-300)), self.config.impossible)
            return
        self.find_block(particles, unknown, before & over, before.sum((1, 2)), moved, t)
        found = unknown[~np.isnan(particles.block[unknown, 0])]
        self.run_into(particles, found, moved, contact, True)
        lost = unknown[np.isnan(particles.block[unknown, 0])]
        self.log_weight[lost] += self.config.impossible

    def overlapping(self, position: Floats) -> Flags:
        """Which places of the block (n, side, side; by y, x) ink boxes at (n, 2) would overlap."""
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
        """Put particles that overlap their block flush to the face they came to, in place; weigh hits by `expected`."""
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
        """Draw a place for the block of particles that must have hit it, among the `possible` (n, side, side)."""
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
        drawn = (np.cumsum(weight, -1) < self.random.random((len(which), 1)) * total[:, None]).sum(-1)
        drawn = np.minimum(drawn, side * side - 1)
        particles.block[which[can]] = near[drawn[can]]
        rows = np.flatnonzero(can)
        evidence = np.log(total[rows] / before[rows]) + best[rows, 0]
        self.log_weight[which[rows]] += evidence - log_likelihood[rows, drawn[rows]]

    def block_appears(self, particles: Particles, t: int) -> None:
        """From the block's frame on, let each particle without one keep every place that no ink box overlaps."""
        if t < WORLD.block_frame:
            return
        without = np.flatnonzero(np.isnan(particles.block[:, 0]) & ~particles.places.any((1, 2)))
        if len(without):
            particles.places[without] = ~self.overlapping(particles.position[without])
        if self.heard is None:
            self.settle_block(particles)

    def settle_block(self, particles: Particles) -> None:
        """Draw the block of every particle that does not know it, among its places, in place."""
        unknown = np.flatnonzero(np.isnan(particles.block[:, 0]) & particles.places.any((1, 2)))
        if len(unknown):
            places = particles.places[unknown].reshape(len(unknown), -1)
            share = self.random.random((len(unknown), 1)) * places.sum(-1, keepdims=True)
            number = (np.cumsum(places, -1) <= share).sum(-1)
            side = particles.places.shape[1]
            particles.block[unknown] = np.stack([number % side, number // side], -1)


class BayesAV(Predictor):
    """The ceiling with sound: a particle filter that knows M3SO's rules, sees the seen frames and hears everything."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "AV"
    stochastic = True
    paper = ""
    Config = BayesConfig

    def __init__(self, shape: ClipShape, config: BayesConfig | None = None) -> None:
        super().__init__()
        self.config = config or BayesConfig()
        if shape.frame != (1, WORLD.canvas, WORLD.canvas) or shape.audio != FEATURES.shape(WORLD.samples_per_frame):
            raise InputError("the particle filter knows the world of M3SO only, with its frames and its sound")

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Futures drawn from the particles' paths; see Predictor.predict. One digit a clip."""
        seen, audio, total = context.frames, context.audio, context.audio.shape[1]
        share = torch.special.ndtr(noise.normal(1).double())[..., 0].cpu().numpy()
        futures = [
            self.draw(frames, self.listen(sound), total, own)
            for frames, sound, own in zip(seen[:, :, 0], audio, share, strict=True)
        ]
        return Prediction(torch.from_numpy(np.stack(futures))[:, :, :, None].to(seen.device))

    def listen(self, audio: Tensor) -> Heard | None:
        """What is heard of a clip, (T, bins, columns)."""
        return read_sound(audio)

    def draw(self, frames: Tensor, heard: Heard | None, total: int, share: Floats) -> NDArray[np.float32]:
        """The futures (K, T - F, H, W) at the `share` (K,) of all weight, each in [0, 1]."""
        seen = read_frames(frames)
        filtered = Filter(self.config, seen, heard, total)
        particles, weight = filtered.run()
        filtered.settle_block(particles)
        chosen = np.minimum(np.searchsorted(np.cumsum(weight), share), len(weight) - 1)
        return render(particles.take(chosen), seen, range(len(frames), total))


class BayesV(BayesAV):
    """The ceiling without sound: the same filter, which hears nothing."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"

    def listen(self, audio: Tensor) -> Heard | None:
        """Nothing."""
        return None


def render(particles: Particles, seen: Seen, frames: range) -> NDArray[np.float32]:
    """Pictures of the particles' paths: (N, frames, H, W) in [0, 1]."""
    canvas = WORLD.canvas
    height, width = seen.ink.shape
    drawn = np.zeros((len(particles.path), len(frames), canvas, canvas), np.float32)
    for n, path in enumerate(particles.path):
        for number, t in enumerate(frames):
            if t >= WORLD.block_frame and not np.isnan(particles.block[n, 0]):
                x, y = particles.block[n].astype(int)
                drawn[n, number, canvas - y - WORLD.block : canvas - y, x : x + WORLD.block] = 1
            x, y = np.floor(path[t]).astype(int)
            there = drawn[n, number, canvas - y - height : canvas - y, x : x + width]
            np.maximum(there, seen.ink, out=there)
    return drawn
