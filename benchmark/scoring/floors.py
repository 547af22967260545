"""The floors that are scored beside a model: what a score is worth without learning."""

from baselines import registry
from baselines.names import FLOORS
from baselines.predictor import Predictor
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.samples import clip_shape


def build_floors(clips: TargetClips) -> dict[str, Predictor]:
    """Return the floors that the clips' protocol allows, by name: without seen frames, those that need none."""
    shape = clip_shape(clips.stored, clips.protocol)
    floors = {name: registry.build(name, shape) for name in FLOORS}
    return {name: floor for name, floor in floors.items() if clips.protocol.seen or "seen" not in floor.needs}
