"""Published weights of the networks that metrics need: where they are published, and how they are checked."""

import http.client
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.metrics.resources import Unavailable
from benchmark.options import Download
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256

TIMEOUT = 30.0  # seconds without an answer after which a download is given up


@dataclass(frozen=True)
class Weights:
    """A published file of weights."""

    metric: str  # that needs it
    content: str  # what it is, in words
    file: str  # its name, in a folder and in the cache
    url: str
    sha256: str


PUBLISHED = {
    "alexnet": Weights(
        metric="lpips",
        content="torchvision's AlexNet, ImageNet",
        file="alexnet-owt-7be5be79.pth",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "inception": Weights(
        metric="fid",
        content="torch-fidelity's port of the Inception-v3 of 2015-12-05 that defines FID",
        file="weights-inception-2015-12-05-6726825d.pth",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    # Not pytorch-i3d's rgb_imagenet.pt: FVD is defined by TF Hub's i3d-kinetics-400, which has other weights.
    "i3d": Weights(
        metric="fvd",
        content="VideoGPT's port of TF Hub's i3d-kinetics-400 that defines FVD",
        file="i3d_pretrained_400.pt",
        url="https://huggingface.co/spaces/liruiw/hma/resolve/215dd59cb6e1ebfac7a3ef41a25c31a45edc8938"
        "/common/fvd/videogpt/i3d_pretrained_400.pt",
        sha256="55095f049e706479d48e221adcdb145b2b9dc930ba28b081ed72367ffaa32343",
    ),
}


def read(name: str, source: Path | Download | None) -> dict[str, Tensor]:
    """Return the state dict of the weights `name` of PUBLISHED, on the CPU.

    source: as `locate`; None: Unavailable is raised. Raises InputError as `locate` and `load`.
    """
    if source is None:
        raise Unavailable("no published weights: name their folder with --weights DIR, or use --weights download")
    return load(locate(name, source))


def locate(name: str, source: Path | Download) -> Path:
    """Return the path of the weights `name` of PUBLISHED, after a check of the file's SHA-256.

    source: a folder that contains the file, or Download: torch.hub's cache, into which a missing file is downloaded.
    Raises Unavailable for a file that is not in the folder or cannot be downloaded, InputError for a file that is not
    the published one.
    """
    weights = PUBLISHED[name]
    if isinstance(source, Download):
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        if not (folder / weights.file).exists():
            _download(weights, folder)
    else:
        folder = source
        if not (folder / weights.file).is_file():
            raise _missing(weights, f"it is not in {folder}: download {weights.url} there")
    return checked(folder / weights.file, weights.sha256)


def checked(path: Path, expected: str) -> Path:
    """Return `path`; raise InputError where the file's SHA-256 is not `expected`."""
    found = sha256(path)
    if found != expected:
        raise InputError(
            f"{path} is not the published file (SHA-256 {expected} expected, found {found}): "
            "delete it and download it again"
        )
    return path


def load(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of torch.save, on the CPU; raise InputError for any other content.

    Nothing but tensors is unpickled.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} is not a file of weights ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is not a file of weights: it contains something other than named tensors")
    return dict(state)


def _download(weights: Weights, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _socket_timeout():
            torch.hub.download_url_to_file(weights.url, str(folder / weights.file), weights.sha256)
    # RuntimeError: another file was sent, for example a page with a login form. torch.hub deletes it.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        remedy = "download it on another machine and name its folder with --weights DIR"
        raise _missing(weights, f"{weights.url} could not be downloaded ({error}): {remedy}") from error


def _missing(weights: Weights, reason: str) -> Unavailable:
    return Unavailable(f"{weights.metric} needs {weights.file} ({weights.content}), and {reason}")


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Give up connections in this block after TIMEOUT seconds: torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
