"""mmnist-av: make, describe and check datasets.

Commands import what they need when they run, so that --help does not wait for numpy.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmnist_av import __version__
from mmnist_av.errors import InputError, OneLineErrors
from mmnist_av.m3so.spec import SPLIT_IDS, Spec

if TYPE_CHECKING:
    from mmnist_av.store import Dataset


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """The data of the audio-conditioned video prediction benchmark."""


@main.command("generate")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write; new or empty.")
@click.option("--obstacle", is_flag=True, help="M3SO: a block appears at frame 42. Without: M3SO-NB.")
@click.option("--train", type=int, default=8000, help="Clips of the train split.")
@click.option("--val", type=int, default=1000, help="Clips of the val split.")
@click.option("--test", type=int, default=1000, help="Clips of the test split.")
@click.option("--seed", type=int, default=0, help="One seed, one dataset.")
@click.option("--digits", default="embedded", metavar="SOURCE", help="embedded (comes along) or mnist.")
@click.option("--digits-per-clip", type=int, default=1, help="Digits that move together.")
@click.option(
    "--mnist-root",
    type=click.Path(path_type=Path),
    envvar="MMNIST_AV_MNIST_ROOT",
    show_envvar=True,
    help="A folder with the MNIST files, gzipped or not.",
)
@click.option("--download", is_flag=True, help="Fetch MNIST to --mnist-root, or to the user's cache folder.")
def generate_command(
    out: Path,
    obstacle: bool,
    train: int,
    val: int,
    test: int,
    seed: int,
    digits: str,
    digits_per_clip: int,
    mnist_root: Path | None,
    download: bool,
) -> None:
    """Write M3SO or M3SO-NB: the same bytes for the same options, everywhere.

    Stopped at any moment, the same command goes on where it was; what is finished is left alone.
    """
    from mmnist_av.m3so.generate import generate

    spec = Spec(obstacle, digits_per_clip)
    sizes = {"train": train, "val": val, "test": test}
    click.echo(f"{out}: {_summary(generate(out, spec, sizes, seed, digits, mnist_root, download))}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def info(folder: Path) -> None:
    """Say what the dataset in FOLDER is."""
    from mmnist_av.store import open_dataset

    dataset = open_dataset(folder)
    spec, manifest = dataset.spec, dataset.manifest
    source = manifest["digits"]
    click.echo(_summary(dataset))
    click.echo(f"seed         {dataset.seed}")
    click.echo(f"digits       {spec.digits_per_clip} a clip, {source['source']} (pool SHA-256 {source['sha256']})")
    click.echo(f"frames       {spec.frames} a clip at {spec.fps} a second, {spec.canvas}x{spec.canvas} px, 8 bit")
    click.echo(f"sound        {spec.samples_per_frame} samples a frame at {spec.sample_rate} a second, 16 bit")
    click.echo(f"size         {sum(facts['bytes'] for facts in manifest['files'].values()) / 1e9:.3f} GB")
    click.echo(f"fingerprint  {dataset.fingerprint}")
    click.echo(f"generator    {manifest['generator']}")


@main.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_command(folder: Path) -> None:
    """Read every byte of the dataset in FOLDER and compare it with what was written."""
    from mmnist_av.store import REMEDY, verify

    wrong = verify(folder)
    if wrong:
        raise InputError(f"{folder} is damaged: {'; '.join(wrong)}; {REMEDY}")
    click.echo(f"{folder}: every file is as it was written")


def _summary(dataset: "Dataset") -> str:
    sizes: dict[str, int] = dataset.manifest["sizes"]
    clips = ", ".join(f"{sizes[split]} {split}" for split in SPLIT_IDS)
    return f"{dataset.manifest['dataset']}, {clips}, fingerprint {dataset.fingerprint[:16]}"


if __name__ == "__main__":
    main()
