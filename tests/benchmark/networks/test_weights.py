"""Published weights: read from a folder, downloaded, and refused where they are not the published ones."""

import hashlib
import pickle
import socket
from dataclasses import replace

import pytest
import torch

from benchmark.metrics.resources import Unavailable
from benchmark.networks import weights
from benchmark.networks.weights import PUBLISHED, locate, read
from benchmark.options import Download
from mmnist_av.system.errors import InputError

STATE = {"layer.weight": torch.arange(6.0).view(2, 3), "layer.bias": torch.ones(2)}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Return the path of a small file that stands for the published one, where it is published."""
    home = tmp_path / "home" / "tiny.pth"
    home.parent.mkdir()
    torch.save(STATE, home)
    publish(monkeypatch, home)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return home


def publish(monkeypatch, path, **facts):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tiny = replace(PUBLISHED["i3d"], file=path.name, url=path.as_uri(), sha256=digest)
    monkeypatch.setitem(PUBLISHED, "i3d", replace(tiny, **facts))


def cache(tmp_path):
    return tmp_path / "cache" / "hub" / "checkpoints"


@pytest.mark.parametrize("entry", PUBLISHED.values(), ids=PUBLISHED)
def test_every_entry_has_a_whole_hash_that_agrees_with_its_name(entry):
    assert len(entry.sha256) == 64
    int(entry.sha256, 16)
    assert entry.url.startswith("https://")
    assert entry.url.endswith(f"/{entry.file}")
    beginning = entry.file.removesuffix(".pth").rsplit("-", 1)[-1]
    assert not entry.file.endswith(".pth") or entry.sha256.startswith(beginning)


def test_the_hash_of_alexnet_is_torchvisions():
    from torchvision.models import AlexNet_Weights

    assert PUBLISHED["alexnet"].url == AlexNet_Weights.IMAGENET1K_V1.url


def test_the_home_of_inception_is_torch_fidelitys():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert PUBLISHED["inception"].url == URL_INCEPTION_V3


def test_weights_are_read_from_a_folder(published):
    assert locate("i3d", published.parent) == published
    result = read("i3d", published.parent)
    assert result.keys() == STATE.keys()
    assert all(torch.equal(result[name], STATE[name]) for name in STATE)


def test_a_download_goes_to_the_cache_once(published, tmp_path):
    path = locate("i3d", Download())
    assert path == cache(tmp_path) / "tiny.pth"
    assert path.read_bytes() == published.read_bytes()
    published.unlink()
    assert locate("i3d", Download()) == path


def test_without_a_source_weights_are_unavailable():
    with pytest.raises(Unavailable, match="name their folder with --weights DIR, or use --weights download"):
        read("i3d", None)


def test_weights_that_are_not_in_the_folder_are_unavailable_with_one_line(published, tmp_path):
    with pytest.raises(Unavailable) as caught:
        locate("i3d", tmp_path / "elsewhere")
    message = str(caught.value)
    assert message.startswith("fvd needs tiny.pth (")
    assert f"not in {tmp_path / 'elsewhere'}: download {published.as_uri()} there" in message
    assert "\n" not in message


@pytest.mark.parametrize("fault", ["unreachable", "silent", "another file", "no room for the cache"])
def test_weights_that_cannot_be_downloaded_are_unavailable_and_no_file_is_left(published, tmp_path, monkeypatch, fault):
    if fault == "unreachable":
        published.unlink()
    elif fault == "another file":
        published.write_bytes(b"<html>please log in</html>")
    elif fault == "no room for the cache":
        (tmp_path / "cache").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes calls and never answers
        if fault == "silent":
            monkeypatch.setattr(weights, "TIMEOUT", 0.2)
            publish(monkeypatch, published, url=f"http://127.0.0.1:{server.getsockname()[1]}/tiny.pth")
        with pytest.raises(
            Unavailable, match=r"fvd needs tiny.pth \(.*tiny.pth could not be downloaded .*--weights DIR"
        ):
            locate("i3d", Download())
    assert fault == "no room for the cache" or not list(cache(tmp_path).iterdir())
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("fault", ["truncated", "changed", "empty"])
@pytest.mark.parametrize("source", ["folder", "download"])
def test_a_file_with_another_hash_is_refused_by_name_with_both_hashes(published, tmp_path, source, fault):
    expected = PUBLISHED["i3d"].sha256
    path = published if source == "folder" else locate("i3d", Download())
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-9], "changed": content[:-1] + b"?", "empty": b""}[fault])
    result = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        InputError, match=f"{path} is not the published file .*{expected} expected, found {result}"
    ) as caught:
        read("i3d", published.parent if source == "folder" else Download())
    assert not isinstance(caught.value, Unavailable)


class Code:
    ran = False

    def __reduce__(self):
        return (setattr, (Code, "ran", True))


@pytest.mark.parametrize("write", [lambda path: torch.save({"a": Code()}, path), None], ids=["torch", "pickle"])
def test_pickled_code_is_refused_even_under_the_right_hash_and_never_runs(published, monkeypatch, write):
    if write:
        write(published)
    else:
        published.write_bytes(pickle.dumps({"a": Code()}, protocol=2))
    publish(monkeypatch, published)
    with pytest.raises(InputError, match=r"tiny\.pth is not a file of weights"):
        read("i3d", published.parent)
    assert not Code.ran
    torch.load(published, weights_only=False) if write else pickle.loads(published.read_bytes())
    assert Code.ran  # so it would have
    Code.ran = False


@pytest.mark.parametrize(
    "content", [[STATE["layer.bias"]], {"epoch": 3}, STATE["layer.bias"]], ids=["list", "int", "bare"]
)
def test_other_content_than_named_tensors_is_refused(published, monkeypatch, content):
    torch.save(content, published)
    publish(monkeypatch, published)
    with pytest.raises(
        InputError, match=r"tiny\.pth is not a file of weights: it contains something other than named tensors"
    ):
        read("i3d", published.parent)
