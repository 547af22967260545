"""A trial of a model on a few clips, so that mistakes in its code are found before it is trained, not after."""

import inspect
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from typing_extensions import override

from baselines.predictor import Context, Noise, Prediction, Predictor, Progress
from benchmark.catalogue import Protocol
from benchmark.compute import Compute
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.samples import draw_from
from benchmark.scoring.scores import joined
from benchmark.training import checkpoint
from benchmark.training.batches import RawBatch
from benchmark.training.checks import check_gradients, check_losses, check_players, check_stages
from benchmark.training.loop import make_batch, turns_of
from benchmark.training.updates import adam, differentiate, frozen, set_rates
from mmnist_av.system.errors import InputError, first_few, in_words

log = logging.getLogger(__name__)

TRIAL = "a trial"  # what its checkpoint says of which run it is
CLIPS, SAMPLES = 2, 2  # two clips, because batch norms may need more than one
TOLERANCE = 1e-3  # between two draws of the same samples on a GPU, whose sums have no fixed order


@dataclass(frozen=True)
class Trial:
    """What a model did in its trial."""

    losses: Mapping[str, float]  # of every player, by name; of a player with several turns, the last
    prediction: Prediction  # of the first test clip


def try_out(
    model: Predictor, again: Predictor, clips: RawBatch, test: TargetClips, protocol: Protocol, compute: Compute
) -> Trial:
    """Try the model's losses, gradients and samples, then an update of its weights, and a checkpoint of them.

    again: another model of the same settings, into which the checkpoint is loaded. clips: at least one training clip.
    Do not train either model. Raises InputError, in one line, for what the model does wrong.
    """
    contexts = [test.context(test(index), flow="flow" in model.needs) for index in range(min(CLIPS, test.count))]
    with torch.random.fork_rng():
        losses = try_training(model, clips, protocol, compute)
        prediction = try_prediction(model, contexts, compute)
        try_checkpoint(model, again, contexts[0], compute)
    note_untrained(model)
    if torch.get_default_dtype() != torch.float32:
        raise InputError(f"{name_of(model)} sets torch's default dtype, which is that of the metrics, too: leave it")
    return Trial(losses, prediction)


def try_training(model: Predictor, clips: RawBatch, protocol: Protocol, compute: Compute) -> dict[str, float]:
    """Return every player's loss, after its gradient was computed in each turn of each stage."""
    batch = make_batch(model, {name: values[:CLIPS] for name, values in clips.items()}, protocol, compute.device)
    values: dict[str, float] = {}
    model.train()
    with in_one_line(model, "players and stages"):
        check_players(model)
        check_stages(model)
        players, stages = model.players(), model.stages()
        optimizers = {name: adam(player) for name, player in players.items()}
    for stage in stages:
        with frozen(model, stage.frozen):
            for turn in turns_of(stage):
                progress = Progress(0, 0, stage.name, players=turn.players)
                with in_one_line(model, "losses"), compute.autocast():
                    losses = check_losses(model, model.losses(batch, progress), turn)
                with in_one_line(model, "the gradient of its losses"):
                    check_gradients(model, losses, differentiate(losses, players, optimizers))
                with in_one_line(model, "its learning rate"):
                    for name in losses:
                        set_rates(optimizers[name], players[name], progress)
                values |= {name: loss.total.item() for name, loss in losses.items()}
    return values


def note_untrained(model: Predictor) -> None:
    """Log a note where a parameter that is not frozen belongs to no player."""
    trained = {id(parameter) for player in model.players().values() for parameter in player.parameters}
    untrained = [name for name, each in model.named_parameters() if each.requires_grad and id(each) not in trained]
    if untrained:
        what = first_few(untrained)
        log.warning("%s: no player has %s: what no player has is never trained", name_of(model), what)


def try_checkpoint(model: Predictor, again: Predictor, context: Context, compute: Compute) -> None:
    """Write a checkpoint of a model after an update by its gradients, load it into `again`, and compare their samples.

    Raises InputError, in one line, where it cannot be loaded, or gives other samples: hours later the training would be
    lost.
    """
    optimizers, others = ({name: adam(player) for name, player in each.players().items()} for each in (model, again))
    with in_one_line(model, "an update of its weights"):
        for optimizer in optimizers.values():
            optimizer.step()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        try:
            checkpoint.save(path, checkpoint.Saved(TRIAL, 1), model, optimizers)
            checkpoint.load(path, TRIAL, again, others)
        except Exception as error:
            raise InputError(
                f"{name_of(model)}: its state_dict must have the same tensors before and after a step, all of the "
                f"model's and no two in the same memory, or no checkpoint can be loaded: {in_words(error)}"
            ) from error
    again.eval()
    name = first_difference(draw(model, context, compute), draw(again, context, compute))
    if name:
        raise InputError(
            f"{name_of(model)}.predict gives other {name} once a checkpoint is loaded: what training changes must be a "
            "parameter or a persistent buffer (register_buffer), and nothing may be kept from call to call"
        )


def try_prediction(model: Predictor, contexts: Sequence[Context], compute: Compute) -> Prediction:
    """Return samples of the first of one or two clips.

    Raises InputError where drawing them again after another clip's gives others, where `predict` changes the context,
    and where a stochastic model draws nothing from the noise. A prediction that should differ from another one and does
    not is noted only: the effect of a clip or of noise on new weights may be lost in rounding.
    """
    model.eval()
    context = contexts[0]
    given = context.frames.clone(), context.audio.clone()
    first = draw(model, context, compute)
    other_clip = draw(model, contexts[-1], compute, clip=len(contexts) - 1)
    name = first_difference(first, draw(model, context, compute))
    if not (torch.equal(given[0], context.frames) and torch.equal(given[1], context.audio)):
        raise InputError(f"{name_of(model)}.predict changes the context that it is given: work on a copy")
    if name:
        raise InputError(
            f"{name_of(model)}.predict gives other {name} when it is called again for the same clip: all its "
            "randomness must come from noise.normal(...), and it must keep nothing from call to call"
        )
    if model.stochastic:
        note_if_equal(model, first.frames[:, 0], first.frames[:, 1], "for all samples of a clip")
        other = draw(model, context, compute, seed=1)
        note_if_equal(model, first.frames, other.frames, "for another seed of the noise")
    if len(contexts) > 1 and are_unlike(*contexts):
        note_if_equal(model, first.frames, other_clip.frames, "for another clip: does it keep the first one's?")
    return first


class WatchedNoise(Noise):
    """Noise that knows whether any of it was drawn."""

    drawn = False

    @override
    def normal(self, *shape: int) -> Tensor:
        self.drawn = True
        return super().normal(*shape)


def draw(model: Predictor, context: Context, compute: Compute, clip: int = 0, seed: int = 0) -> Prediction:
    """Return samples of a clip; InputError where the model is stochastic and draws nothing from the noise."""
    samples = SAMPLES if model.stochastic else 1
    noise = WatchedNoise(seed, [clip], samples, compute.device)
    model.reset()
    with in_one_line(model, "predict"):
        prediction = joined(draw_from(noise, model, context, samples, compute))
    if noise.drawn and not model.stochastic:
        raise InputError(f"{name_of(model)}.predict draws from the noise: its samples differ, so stochastic = True")
    if model.stochastic and not noise.drawn:
        raise InputError(
            f"{name_of(model)} is stochastic, and its predict draws nothing from noise.normal(...): all its randomness "
            "must come from there; a model whose samples of a clip are all equal declares stochastic = False"
        )
    return prediction


def are_unlike(one: Context, other: Context) -> bool:
    """Return whether two clips differ in their seen frames, if there are any, and in their audio."""
    pairs = ((one.frames, other.frames), (one.audio, other.audio))
    return all(not torch.equal(*pair) for pair in pairs if pair[0].numel())


def note_if_equal(model: Predictor, one: Tensor, other: Tensor, when: str) -> None:
    """Log a note where two predictions are equal in every bit; `when` says for what."""
    if torch.equal(one, other):
        log.warning("%s.predict gives exactly the same frames %s", name_of(model), when)


def first_difference(one: Prediction, other: Prediction) -> str:
    """Return what differs between two draws of the same samples: "frames", "flow" or "variance"; "" for nothing."""
    names = "frames", "flow", "variance"
    return next((name for name in names if differ(getattr(one, name), getattr(other, name))), "")


def differ(one: Tensor | None, other: Tensor | None) -> bool:
    """Return whether two draws are different, by more than rounding where they were computed on a GPU."""
    if one is None or other is None:
        return one is not other
    return bool((one - other).abs().max() > (TOLERANCE if one.is_cuda else 0))


@contextmanager
def in_one_line(model: Predictor, what: str) -> Iterator[None]:
    """Turn any error of the model's own code, SystemExit included, into an InputError: what failed, how, and where."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        calls = traceback.extract_tb(error.__traceback__)
        source = inspect.getsourcefile(type(model))
        own = [call for call in calls if call.filename == source] or calls
        where = f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
        raise InputError(f"{name_of(model)}: {what} failed with {in_words(error)} ({where})") from error


def name_of(model: Predictor) -> str:
    """Return how messages call the model."""
    return type(model).__name__
