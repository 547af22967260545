"""avbench: train and score models under the protocols."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from mmnist_av import __version__
from mmnist_av.errors import InputError, OneLineErrors


@click.group(cls=OneLineErrors)
@click.version_option(__version__, prog_name="avbench")
def main() -> None:
    """Train and score models of audio-conditioned video prediction: every protocol, from one sampling pass."""


def parse_settings(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """--set name=value, given any number of times, as a dictionary."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"--set {text}: must be name=value")
        settings[name] = value
    return settings


DATA = "Dataset's folder, or `stream`: training on endless clips.  [default: made once under data/]"


@main.command()
@click.option("--model", required=True, help="Name of a model; `avbench models` lists them.")
@click.option("--protocol", default="m3so-nb", show_default=True, help="Name; `avbench protocols` lists them.")
@click.option("--preset", default="demo", show_default=True, help="Size of the run: demo, small or paper.")
@click.option("--data", type=click.Path(path_type=Path), help=DATA)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run.  [default: under runs/]")
@click.option("--samples", type=int, help="K, the futures drawn a test clip.  [default: the preset's]")
@click.option("--steps", type=int, help="Training steps.  [default: the preset's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights, the batches and the futures.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--set", "settings", multiple=True, callback=parse_settings, metavar="NAME=VALUE", help="A setting of the model."
)
@click.option(
    "--mnist-root",
    type=click.Path(path_type=Path),
    envvar="MMNIST_AV_MNIST_ROOT",
    help="Folder of the MNIST files, where the preset's dataset is made of them.",
)
@click.option(
    "--eval-every", type=int, help="Steps between validations on val clips; 0: none.  [default: the preset's]"
)
@click.option("--tensorboard", is_flag=True, help="Log losses and validations for TensorBoard, too.")
@click.option("--devices", type=int, default=1, show_default=True, help="Processes a machine that train together.")
@click.option("--nodes", type=int, default=1, show_default=True, help="Machines; start by torchrun or srun.")
def run(
    model: str,
    protocol: str,
    preset: str,
    data: Path | None,
    out: Path | None,
    samples: int | None,
    steps: int | None,
    seed: int,
    device: str,
    settings: dict[str, str],
    mnist_root: Path | None,
    eval_every: int | None,
    tensorboard: bool,
    devices: int,
    nodes: int,
) -> None:
    """Train a model, draw its futures, score them beside the floors, and write the rows.

    A run that was broken off goes on where it was when the same command is given again.
    """
    from benchmark.results import print_table
    from benchmark.run import Job
    from benchmark.run import run as run_job
    from benchmark.training import Diverged

    job = Job(model, protocol, preset, data, out, samples, steps, seed, device, settings, mnist_root)
    job = replace(job, eval_every=eval_every, tensorboard=tensorboard, devices=devices, nodes=nodes)
    try:
        rows, folder = run_job(job)
    except Diverged as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    print_table(rows)
    click.echo(f"\nrows: {folder / 'results.csv'}   scores: {folder / 'scores.npz'}   all files: {folder}")


@main.command("score")
@click.option("--predictions", type=click.Path(path_type=Path), required=True, help="Folder with predictions.npy.")
@click.option("--protocol", default="m3so-nb", show_default=True, help="Name; `avbench protocols` lists them.")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="The dataset whose test clips they are of."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for scores and rows.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def score_command(predictions: Path, protocol: str, data: Path, out: Path, device: str) -> None:
    """Score futures that another program drew, as our own are.

    The folder holds predictions.npy, (test clips, K, predicted, C, H, W), uint8 or floats within 0 and 1, and
    predictions.json: {"model": "a-name-of-yours", "fingerprint": "the dataset's"}.
    """
    from benchmark.outside import score_predictions
    from benchmark.results import print_table

    rows, folder = score_predictions(predictions, protocol, data, out, device)
    print_table(rows)
    click.echo(f"\nrows: {folder / 'results.csv'}   scores: {folder / 'scores.npz'}")


@main.command("compare")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
def compare_command(one: Path, other: Path) -> None:
    """Say by how much the model of run ONE is better than that of run OTHER, clip by clip, with paired intervals."""
    from rich.table import Table

    from benchmark.compare import compare
    from benchmark.results import wide_console

    table = Table("metric", "sampling", "frame", "one", "other", "one - other", "95% interval", "better", box=None)
    for _, row in compare(one, other).iterrows():
        interval = f"{row['low']:+.4g} .. {row['high']:+.4g}"
        figures = f"{row['one']:.4g}", f"{row['other']:.4g}", f"{row['difference']:+.4g}", interval
        table.add_row(*map(str, row[["metric", "sampling", "frame"]]), *figures, str(row["better"]))
    wide_console().print(table)


@main.command()
def models() -> None:
    """List the models."""
    from rich.table import Table

    from baselines import registry
    from benchmark.results import wide_console

    table = Table("model", "looks at", "futures", "paper", box=None)
    for name, model in registry.models().items():
        futures = "differ" if model.stochastic else "agree"
        table.add_row(name, model.modality, futures, model.paper or ("floor" if name in registry.FLOORS else "ceiling"))
    wide_console().print(table)


@main.command()
def protocols() -> None:
    """List the protocols."""
    from rich.table import Table

    from benchmark.protocols import PROTOCOLS
    from benchmark.results import wide_console

    table = Table("protocol", "dataset", "seen", "train", "test", "reported frames", "metrics", box=None)
    for protocol in PROTOCOLS.values():
        spans = (protocol.seen, protocol.train_predicted, protocol.test_predicted)
        reported = (*protocol.reported, "mean")
        table.add_row(
            protocol.name,
            protocol.dataset,
            *map(str, spans),
            ", ".join(map(str, reported)),
            ", ".join(protocol.metrics),
        )
    wide_console().print(table)


@main.command("report")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the report.  [default: RUN/report, of one run]"
)
def report_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw the figures and movies of finished RUNS of one protocol and dataset, and one HTML page with all of them."""
    from benchmark.report import write_report

    if out is None and len(runs) > 1:
        raise InputError("a report of several runs needs --out")
    click.echo(f"report: {write_report(runs, out or runs[0] / 'report')}")
