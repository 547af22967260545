"""mmnist-av: generate, describe, convert and verify datasets.

Commands import what they need when they run, so that --help does not wait for numpy.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmnist_av import __version__
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError, OneLineErrors, printable
from mmnist_av.system.paths import UserPath

if TYPE_CHECKING:
    from mmnist_av.dataset import Dataset


# Help texts of the options that choose a world, by field of Spec
WORLD = {
    "obstacle": "M3SO: a block appears at frame 42. Without this option: M3SO-NB.",
    "digits_per_clip": "Digits that move together, 1 to 4.",
    "canvas": "Width and height of a frame, px.",
    "frames": "Frames per clip.",
    "fps": "Frames per second.",
    "slowest": "The lowest speed of a digit, px per frame.",
    "speeds": "Number of speeds: slowest, slowest + 1, ... px per frame.",
    "block": "Width and height of the block, px.",
    "block_frame": "Index of the first frame that may show the block, from 0.",
    "bounce": "Direction after a contact: random (the papers) or specular (Sound2Sight's released code).",
    "amplitude": "Gain of the sound by distance: inverse (the papers) or linear (Sound2Sight's released code).",
}


def world_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option to `command` for every field of Spec that can be chosen."""
    for field in reversed([field for field in fields(Spec) if field.init]):
        name, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        option = click.option(name, is_flag=kind is bool, type=kind, default=field.default, help=WORLD[field.name])
        command = option(command)
    return command


def parse_shard(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Return the value of --shard as numbers: 2/4 as (2, 4)."""
    if text is None:
        return None
    shard = re.fullmatch(r"(\d{1,99})/(\d{1,99})", text)
    if shard is None:
        raise click.BadParameter(f"'{text}' is not like 2/4, the second of four")
    return int(shard[1]), int(shard[2])


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """The data of the audio-conditioned video prediction benchmark."""


@main.command("generate")
@click.option("--out", type=UserPath(), required=True, help="Folder to write; new or empty.")
@click.option("--train", type=int, default=8000, help="Clips of the train split.")
@click.option("--val", type=int, default=1000, help="Clips of the val split.")
@click.option("--test", type=int, default=1000, help="Clips of the test split.")
@click.option("--seed", type=int, default=0, help="Seed of the dataset.")
@click.option("--digits", default="embedded", metavar="SOURCE", help="embedded (part of the package) or mnist.")
@click.option(
    "--mnist-root",
    type=UserPath(),
    envvar="MMNIST_AV_MNIST_ROOT",
    show_envvar=True,
    help="Folder with the MNIST files, gzipped or not.",
)
@click.option("--download", is_flag=True, help="Download MNIST to --mnist-root, or to the user's cache folder.")
@click.option("--engine", default="local", help="local (threads) or ray (the cluster at RAY_ADDRESS).")
@click.option("--workers", type=int, help="Parts of the dataset rendered at once.  [default: by the cores]")
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Write shard I of N only, for mmnist-av merge.")
@click.option("--family", default="m3so", metavar="NAME", help="m3so, or a family of another package.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of another family's world.")
@world_options
@click.pass_context
def generate_command(
    context: click.Context,
    out: Path,
    train: int,
    val: int,
    test: int,
    seed: int,
    digits: str,
    mnist_root: Path | None,
    family: str,
    settings: tuple[str, ...],
    **of_m3so: Any,
) -> None:
    """Generate M3SO or M3SO-NB: the same options give the same bytes on every machine.

    If the command is stopped, start it again: it resumes. A finished dataset is verified and not written again.
    """
    sizes = {"train": train, "val": val, "test": test}
    given = [name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if family == "m3so":
        from mmnist_av.m3so.generate import generate

        if settings:
            raise InputError("--set is for other families: M3SO has options of its own")
        if digits == "embedded" and "mnist_root" in given:  # its environment variable may be meant for other commands
            raise InputError("--mnist-root is for --digits mnist; the embedded digits are part of the package")
        world = Spec(**{name: of_m3so.pop(name) for name in WORLD})
        dataset = generate(out, world, sizes, seed, digits=digits, mnist_root=mnist_root, **of_m3so)
    else:
        foreign = [name for name in given if name in of_m3so]
        if foreign:
            option = f"--{foreign[0].replace('_', '-')}"
            raise InputError(f"{option} is an option of M3SO: a world of the family {family} is chosen by --set")
        dataset = make(family, out, settings, sizes, seed, digits, mnist_root)
    click.echo(f"{out}: {_summary(dataset)}")


def make(
    name: str, out: Path, settings: Sequence[str], sizes: Mapping[str, int], seed: int, source: str, root: Path | None
) -> "Dataset":
    """Return the dataset that the family called `name` generates. settings: its world, each NAME=VALUE.

    A value is read as JSON (3, true, [1, 2]), or else as text. Raises InputError for another form, and for a world that
    the family does not know.
    """
    from mmnist_av import families
    from mmnist_av.system.files import parse_json

    world: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise InputError(f"--set {setting} is not like NAME=VALUE")
        try:
            world[key] = parse_json(text)
        except ValueError:
            world[key] = text
    return families.generate(name, out, world, sizes, seed, source, root)


@main.command("merge")
@click.argument("shards", type=UserPath(), nargs=-1, required=True)
@click.option("--out", type=UserPath(), required=True, help="Folder to write; new or empty.")
def merge_command(shards: tuple[Path, ...], out: Path) -> None:
    """Merge the folders SHARDS, written by generate --shard, into the dataset that one generate writes."""
    from mmnist_av.merge import merge

    click.echo(f"{out}: {_summary(merge(out, shards))}")


@main.command()
@click.argument("folder", type=UserPath())
def info(folder: Path) -> None:
    """Print what the dataset in FOLDER is."""
    from mmnist_av.dataset import open_dataset_or_shard
    from mmnist_av.families import find
    from mmnist_av.manifest import own_entries

    dataset = open_dataset_or_shard(folder)
    clips, manifest = dataset.format, dataset.manifest
    size, colour = f"{clips.width}x{clips.height} px", "grey" if clips.channels == 1 else "colour"
    lines = {
        "family": dataset.family,
        **(find(dataset.family).facts(manifest) or own_entries(manifest)),
        "frames": f"{clips.frames} per clip at {clips.fps} per second, {size}, 8 bit, {colour}",
        "sound": f"{clips.samples_per_frame} samples per frame at {clips.sample_rate} per second, 16 bit",
        "annotations": ", ".join(sorted(find(dataset.family).annotations(dataset))) or "none",
        "size": f"{sum(facts['bytes'] for facts in manifest['files'].values()) / 1e9:.3f} GB",
        "fingerprint": dataset.fingerprint,
        "generator": manifest["generator"],
    }
    click.echo(_summary(dataset))
    for heading, text in lines.items():
        click.echo(printable(f"{heading:<12} {text}"))


@main.command("preview")
@click.argument("folder", type=UserPath())
@click.option(
    "--clip",
    "clips",
    type=int,
    multiple=True,
    help="Number of a clip, from 0; may be given several times.  [default: 0]",
)
@click.option("--split", default="test", help="The clips' split.")
@click.option("--out", type=UserPath(), default=Path("preview"), help="Folder to write to.")
def preview_command(folder: Path, clips: tuple[int, ...], split: str, out: Path) -> None:
    """Write movies with sound, GIFs and figures of clips of the dataset in FOLDER, and a contact sheet."""
    from mmnist_av.dataset import open_dataset_or_shard, refuse_damaged
    from mmnist_av.preview.pictures import preview

    dataset = open_dataset_or_shard(folder)
    refuse_damaged(folder)
    for path in preview(dataset, split, clips or (0,), out):
        click.echo(path)


@main.command("export")
@click.argument("folder", type=UserPath())
@click.option("--to", "form", required=True, help="clips (a movie and a sound file each), clips-png, webdataset or hf.")
@click.option("--out", type=UserPath(), required=True, help="Folder to write; new.")
def export_command(folder: Path, form: str, out: Path) -> None:
    """Export the dataset in FOLDER in a form that other tools read: separate files, tars or a Hugging Face folder.

    Every form is lossless: mmnist-av import writes the same dataset again.
    """
    from mmnist_av.dataset import open_dataset
    from mmnist_av.exchange.convert import export

    export(open_dataset(folder), form, out)
    click.echo(out)


@main.command("import")
@click.argument("folder", type=UserPath())
@click.option("--out", type=UserPath(), required=True, help="Folder to write; new or empty.")
def import_command(folder: Path, out: Path) -> None:
    """Import what mmnist-av export wrote to FOLDER: the dataset with the same bytes, or an error."""
    from mmnist_av.exchange.convert import import_

    click.echo(f"{out}: {_summary(import_(folder, out))}")


@main.command("verify")
@click.argument("folder", type=UserPath())
def verify_command(folder: Path) -> None:
    """Read every byte of the dataset in FOLDER and compare it with the recorded hashes."""
    from mmnist_av.dataset import refuse_damaged

    refuse_damaged(folder)
    click.echo(f"{folder}: every file is as it was written")


def _summary(dataset: "Dataset") -> str:
    """Return the dataset's name, sizes and fingerprint in one line."""
    from mmnist_av.manifest import SPLITS, shard_in_words

    clips = ", ".join(f"{len(dataset.split(split))} {split}" for split in SPLITS)
    name = printable(shard_in_words(dataset.manifest) or dataset.name)
    return f"{name}, {clips}, fingerprint {dataset.fingerprint[:16]}"


if __name__ == "__main__":
    main()
