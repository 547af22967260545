"""Published weights of the metrics that need them: where they come from, and whether they are the right ones."""

import http.client
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.metrics.resources import DOWNLOAD, Unavailable
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256

TIMEOUT = 30.0  # seconds that a server may stay silent


@dataclass(frozen=True)
class Weights:
    """A published file of weights."""

    metric: str  # what needs it
    content: str
    file: str  # its name, in a folder and in the cache
    url: str
    sha256: str


PUBLISHED = {
    "alexnet": Weights(
        "lpips",
        "torchvision's AlexNet, ImageNet",
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "inception": Weights(
        "fid",
        "torch-fidelity's port of the Inception-v3 of 2015-12-05 that defines FID",
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    # Not pytorch-i3d's rgb_imagenet.pt: FVD is defined by TF Hub's i3d-kinetics-400, whose weights are others.
    "i3d": Weights(
        "fvd",
        "VideoGPT's port of TF Hub's i3d-kinetics-400 that defines FVD",
        "i3d_pretrained_400.pt",
        "https://huggingface.co/spaces/liruiw/hma/resolve/215dd59cb6e1ebfac7a3ef41a25c31a45edc8938"
        "/common/fvd/videogpt/i3d_pretrained_400.pt",
        "55095f049e706479d48e221adcdb145b2b9dc930ba28b081ed72367ffaa32343",
    ),
}


def read(name: str, source: Path) -> dict[str, Tensor]:
    """The state dict of the weights `name` of PUBLISHED, on the CPU. Raises InputError as `locate` and `load`."""
    return load(locate(name, source))


def locate(name: str, source: Path) -> Path:
    """The file of the weights `name` of PUBLISHED, its SHA-256 checked.

    source: a folder that holds it, or DOWNLOAD: torch.hub's cache, into which it is fetched if it is not there.
    Raises Unavailable if it is not in the folder or cannot be fetched, InputError if it is not the published file.
    """
    weights = PUBLISHED[name]
    if source == DOWNLOAD:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        if not (folder / weights.file).exists():
            _download(weights, folder)
    else:
        folder = source
        if not (folder / weights.file).is_file():
            raise _absent(weights, f"it is not in {folder}: download {weights.url} there")
    return checked(folder / weights.file, weights.sha256)


def checked(path: Path, wanted: str) -> Path:
    """`path`, if that is its SHA-256; InputError if it is not."""
    found = sha256(path)
    if found != wanted:
        raise InputError(
            f"{path} is not the published file (SHA-256 {found}, not {wanted}): delete it and get it again"
        )
    return path


def load(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, on the CPU; nothing else is unpickled. InputError if it holds no such."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is not a file of weights ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds something other than named tensors")
    return dict(state)


def _download(weights: Weights, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _no_long_silence():
            torch.hub.download_url_to_file(weights.url, str(folder / weights.file), weights.sha256)
    # RuntimeError: another file came, a page that asks to log in perhaps. It is not kept.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        elsewhere = "download it elsewhere and name its folder with --weights DIR"
        raise _absent(weights, f"{weights.url} could not be had ({error}): {elsewhere}") from error


def _absent(weights: Weights, why: str) -> Unavailable:
    return Unavailable(f"{weights.metric} needs {weights.file} ({weights.content}), and {why}")


@contextmanager
def _no_long_silence() -> Iterator[None]:
    """Sockets give up after TIMEOUT: torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
