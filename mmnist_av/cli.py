"""mmnist-av: make, describe and check datasets.

Commands import what they need when they run, so that --help does not wait for numpy.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmnist_av import __version__
from mmnist_av.m3so.spec import SPLIT_IDS, Spec
from mmnist_av.system.errors import OneLineErrors

if TYPE_CHECKING:
    from mmnist_av.dataset import Dataset


# The options that choose a world, by field of Spec
WORLD = {
    "obstacle": "M3SO: a block appears at frame 42. Without: M3SO-NB.",
    "digits_per_clip": "Digits that move together, 1 to 4.",
    "canvas": "Pixels a side.",
    "frames": "Frames a clip.",
    "fps": "Frames a second.",
    "slowest": "The lowest speed, pixels a frame.",
    "speeds": "How many speeds there are: slowest, slowest + 1, ...",
    "block": "The block's pixels a side.",
    "block_frame": "Index of the first frame that may show the block; 41 is frame 42.",
    "bounce": "Directions after a contact: random (the papers) or specular (Sound2Sight's released code).",
    "amplitude": "The sound against the distance: inverse (the papers) or linear (Sound2Sight's released code).",
}


def world_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every field of Spec that is chosen."""
    for field in reversed([field for field in fields(Spec) if field.init]):
        name, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        option = click.option(name, is_flag=kind is bool, type=kind, default=field.default, help=WORLD[field.name])
        command = option(command)
    return command


def parse_shard(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Turn 2/4 into (2, 4)."""
    if text is None:
        return None
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise click.BadParameter(f"'{text}' is not like 2/4: the second of four")
    return int(number), int(of)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """The data of the audio-conditioned video prediction benchmark."""


@main.command("generate")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; new or empty.")
@click.option("--train", type=int, default=8000, help="Clips of the train split.")
@click.option("--val", type=int, default=1000, help="Clips of the val split.")
@click.option("--test", type=int, default=1000, help="Clips of the test split.")
@click.option("--seed", type=int, default=0, help="One seed, one dataset.")
@click.option("--digits", default="embedded", metavar="SOURCE", help="embedded (comes along) or mnist.")
@click.option(
    "--mnist-root",
    type=click.Path(path_type=Path),
    envvar="MMNIST_AV_MNIST_ROOT",
    show_envvar=True,
    help="A folder with the MNIST files, gzipped or not.",
)
@click.option("--download", is_flag=True, help="Fetch MNIST to --mnist-root, or to the user's cache folder.")
@click.option("--engine", default="local", help="local (threads) or ray (the cluster at RAY_ADDRESS).")
@click.option("--workers", type=int, help="Shards rendered at once.  [default: by the cores]")
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Write part I of N only, for mmnist-av merge.")
@world_options
def generate_command(
    out: Path,
    train: int,
    val: int,
    test: int,
    seed: int,
    digits: str,
    mnist_root: Path | None,
    download: bool,
    engine: str,
    workers: int | None,
    shard: tuple[int, int] | None,
    **world: Any,
) -> None:
    """Write M3SO or M3SO-NB: the same bytes for the same options, everywhere.

    Stopped at any moment, the same command goes on where it was; what is finished is left alone.
    """
    from mmnist_av.m3so.generate import generate

    sizes = {"train": train, "val": val, "test": test}
    dataset = generate(out, Spec(**world), sizes, seed, digits, mnist_root, download, engine, workers, shard)
    click.echo(f"{out}: {_summary(dataset)}")


@main.command("merge")
@click.argument("shards", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; new or empty.")
def merge_command(shards: tuple[Path, ...], out: Path) -> None:
    """Put the folders SHARDS, which generate --shard wrote, together: the bytes of one generate."""
    from mmnist_av.m3so.merge import merge

    click.echo(f"{out}: {_summary(merge(out, shards))}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def info(folder: Path) -> None:
    """Say what the dataset in FOLDER is."""
    from mmnist_av.dataset import open_dataset

    dataset = open_dataset(folder)
    spec, manifest = dataset.spec, dataset.manifest
    source = manifest["digits"]
    click.echo(_summary(dataset))
    click.echo(f"world        {spec.variant or 'as in the papers'}")
    click.echo(f"seed         {dataset.seed}")
    click.echo(f"digits       {spec.digits_per_clip} a clip, {source['source']} (pool SHA-256 {source['sha256']})")
    click.echo(f"frames       {spec.frames} a clip at {spec.fps} a second, {spec.canvas}x{spec.canvas} px, 8 bit")
    click.echo(f"sound        {spec.samples_per_frame} samples a frame at {spec.sample_rate} a second, 16 bit")
    click.echo(f"size         {sum(facts['bytes'] for facts in manifest['files'].values()) / 1e9:.3f} GB")
    click.echo(f"fingerprint  {dataset.fingerprint}")
    click.echo(f"generator    {manifest['generator']}")


@main.command("preview")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--clip", "clips", type=int, multiple=True, help="Number of a clip; may be given again.  [default: 0]")
@click.option("--split", default="test", help="The clips' split.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("preview"), help="Folder for pictures and movies.")
def preview_command(folder: Path, clips: tuple[int, ...], split: str, out: Path) -> None:
    """Show clips of the dataset in FOLDER: movies with sound, GIFs, figures that explain them, a sheet of many."""
    from mmnist_av.dataset import open_dataset
    from mmnist_av.preview.pictures import preview

    for path in preview(open_dataset(folder), split, clips or (0,), out):
        click.echo(path)


@main.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "form", required=True, help="clips (a movie and a wav file each), clips-png, webdataset or hf.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; new.")
def export_command(folder: Path, form: str, out: Path) -> None:
    """Write the dataset in FOLDER in a form that others read: separate files, tars, or a Hugging Face folder.

    Nothing is lost: mmnist-av import brings the same dataset back.
    """
    from mmnist_av.dataset import open_dataset
    from mmnist_av.exchange.convert import export

    export(open_dataset(folder), form, out)
    click.echo(out)


@main.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; new or empty.")
def import_command(folder: Path, out: Path) -> None:
    """Make the dataset again that mmnist-av export wrote to FOLDER: the same bytes, or an error."""
    from mmnist_av.exchange.convert import import_

    click.echo(f"{out}: {_summary(import_(folder, out))}")


@main.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_command(folder: Path) -> None:
    """Read every byte of the dataset in FOLDER and compare it with what was written."""
    from mmnist_av.dataset import refuse_damaged

    refuse_damaged(folder)
    click.echo(f"{folder}: every file is as it was written")


def _summary(dataset: "Dataset") -> str:
    clips = ", ".join(f"{len(dataset.split(split))} {split}" for split in SPLIT_IDS)
    shard = "shard {} of {} of ".format(*dataset.manifest["shard"]) if "shard" in dataset.manifest else ""
    return f"{shard}{dataset.manifest['dataset']}, {clips}, fingerprint {dataset.fingerprint[:16]}"


if __name__ == "__main__":
    main()
