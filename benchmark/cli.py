"""avbench: train and score models under the protocols."""

import logging
import sys
from pathlib import Path

import click

from mmnist_av import __version__
from mmnist_av.system.errors import InputError, OneLineErrors


@click.group(cls=OneLineErrors)
@click.version_option(__version__, prog_name="avbench")
def main() -> None:
    """Train and score models of audio-conditioned video prediction: every protocol, from one sampling pass."""
    logging.basicConfig(format="Note: %(message)s", level=logging.WARNING, force=True)


def parse_settings(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """--set name=value, given any number of times, as a dictionary."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"--set {text}: must be name=value")
        settings[name] = value
    return settings


METRICS = "`standard`, `all`, or names with commas between; `avbench metrics` lists them."
WEIGHTS = "Folder of published weights for lpips, fid and fvd, or `download`: from their public homes."
scored_by = click.option("--metrics", default="standard", show_default=True, help=METRICS)
weighed_by = click.option("--weights", type=click.Path(path_type=Path), help=WEIGHTS)

MNIST = "MMNIST_AV_MNIST_ROOT"
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
    envvar=MNIST,
    show_envvar=True,
    help="Folder of the MNIST files, where the preset's dataset is made of them.",
)
@click.option(
    "--eval-every", type=int, help="Steps between validations on val clips; 0: none.  [default: the preset's]"
)
@click.option("--tensorboard", is_flag=True, help="Log losses and validations for TensorBoard, too.")
@click.option("--devices", type=int, default=1, show_default=True, help="Processes a machine that train together.")
@click.option("--nodes", type=int, default=1, show_default=True, help="Machines; start by torchrun or srun.")
@click.option("--trained", type=click.Path(path_type=Path), help="A finished run, whose model is scored as it is.")
@scored_by
@weighed_by
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
    trained: Path | None,
    metrics: str,
    weights: Path | None,
) -> None:
    """Train a model, draw its futures, score them beside the floors, and write the rows.

    A run that was broken off goes on where it was when the same command is given again, with the same code. --trained
    takes the model of a finished run of the same model, settings, preset, dataset and seed, for a protocol that trains
    as that run's did.
    """
    from benchmark.run import Job
    from benchmark.run import run as run_job
    from benchmark.scoring.rows import print_table
    from benchmark.training.loop import Diverged

    job = Job(
        model=model,
        protocol=protocol,
        preset=preset,
        data=data,
        out=out,
        samples=samples,
        steps=steps,
        seed=seed,
        device=device,
        settings=settings,
        mnist_root=mnist_root,
        metrics=metrics,
        weights=weights,
        eval_every=eval_every,
        tensorboard=tensorboard,
        devices=devices,
        nodes=nodes,
        trained=trained,
    )
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
@scored_by
@weighed_by
def score_command(
    predictions: Path, protocol: str, data: Path, out: Path, device: str, metrics: str, weights: Path | None
) -> None:
    """Score futures that another program drew, as our own are.

    The folder holds predictions.npy, (test clips, K, predicted, C, H, W), uint8 or floats within 0 and 1, and
    predictions.json: {"model": "a-name-of-yours", "fingerprint": "the dataset's"}. A model that predicts flow may add
    flow.npy, (test clips, K, predicted, 2, H, W), for aepe.
    """
    from benchmark.external import score_predictions
    from benchmark.scoring.rows import print_table

    rows, folder = score_predictions(predictions, protocol, data, out, device, metrics, weights)
    print_table(rows)
    click.echo(f"\nrows: {folder / 'results.csv'}   scores: {folder / 'scores.npz'}")


@main.command("compare")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
def compare_command(one: Path, other: Path) -> None:
    """Say by how much the model of run ONE is better than that of run OTHER, clip by clip, with paired intervals."""
    from rich.table import Table

    from benchmark.compare import compare
    from benchmark.scoring.rows import wide_console

    table = Table("metric", "sampling", "frame", "one", "other", "one - other", "95% interval", "better", box=None)
    for _, row in compare(one, other).iterrows():
        interval = f"{row['low']:+.4g} .. {row['high']:+.4g}"
        figures = f"{row['one']:.4g}", f"{row['other']:.4g}", f"{row['difference']:+.4g}", interval
        table.add_row(*map(str, row[["metric", "sampling", "frame"]]), *figures, str(row["better"]))
    wide_console().print(table)


def parse_names(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """a,b,c as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_seeds(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    """0,1,2 as a list."""
    try:
        return [int(seed) for seed in parse_names(context, option, text)]
    except ValueError:
        raise InputError(f"--seeds {text}: must be whole numbers with commas between") from None


def parse_places(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Path]:
    """--data protocol=folder, given any number of times, as a dictionary."""
    places = [text.partition("=") for text in texts]
    for protocol, equals, folder in places:
        if not (protocol and equals and folder):
            raise InputError(f"--data {protocol}{equals}{folder}: must be PROTOCOL=FOLDER")
    return {protocol: Path(folder) for protocol, _, folder in places}


PLACES = "A protocol's dataset; any number of times.  [default: made once under data/]"


@main.command("sweep")
@click.option("--models", required=True, callback=parse_names, help="Names with commas between.")
@click.option("--protocols", default="m3so-nb", show_default=True, callback=parse_names, help="The same.")
@click.option("--seeds", default="0", show_default=True, callback=parse_seeds, help="The same.")
@click.option("--preset", default="demo", show_default=True, help="Size of the runs: demo, small or paper.")
@click.option("--data", multiple=True, callback=parse_places, metavar="PROTOCOL=FOLDER", help=PLACES)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Of all runs.")
@click.option("--engine", default="local", show_default=True, help="local, or ray: the cluster at RAY_ADDRESS.")
@click.option("--workers", type=int, default=1, show_default=True, help="Runs at a time.")
@click.option("--gpus", type=float, default=0.0, show_default=True, help="Of a Ray cluster, that each run is given.")
@click.option("--mnist-root", type=click.Path(path_type=Path), envvar=MNIST, show_envvar=True, help="As in `run`.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sweep_command(
    models: list[str],
    protocols: list[str],
    seeds: list[int],
    preset: str,
    data: dict[str, Path],
    out: Path,
    engine: str,
    workers: int,
    gpus: float,
    mnist_root: Path | None,
    options: tuple[str, ...],
) -> None:
    """Run every model under every protocol with every seed, and sum up.

    Runs that are done are skipped, those that were broken off go on, and one that fails does not stop the others.
    OPTIONS behind `--` are those of `avbench run`, for every run.
    """
    from benchmark.sweep import Sweep, print_sum, rows_of, sweep, write_sum

    outcomes = sweep(Sweep(models, protocols, seeds, preset, data, out, engine, workers, gpus, options, mnist_root))
    failed = [each for each in outcomes if each.state == "failed"]
    if len(failed) < len(outcomes):
        print_sum(write_sum(rows_of(outcomes), out))
    for each in outcomes:
        click.echo(f"{each.state:8}{each.folder}{f'   {each.told}' if each.told else ''}")
    sys.exit(1 if failed else 0)


@main.command("verify")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def verify_command(runs: tuple[Path, ...]) -> None:
    """Check every file of finished runs against their seals; exit code 2 and the files' names if any has changed."""
    from benchmark.runs.seal import SEAL, check_seal

    for folder in runs:
        if not (folder / SEAL).exists():
            raise InputError(f"{folder} is not a finished run: it has no {SEAL}")
        check_seal(folder)
        click.echo(f"{folder}: whole")


@main.command()
def metrics() -> None:
    """List the metrics."""
    from rich.table import Table

    from benchmark.metrics import METRICS
    from benchmark.scoring.rows import wide_console

    table = Table("metric", "unit", "better", "computed", "what it is", box=None)
    for metric in METRICS.values():
        asked = "always" if metric.standard else "if asked for"
        table.add_row(metric.name, metric.unit, metric.better, asked, metric.source)
    wide_console().print(table)


@main.command()
def models() -> None:
    """List the models."""
    from rich.table import Table

    from baselines import registry
    from benchmark.scoring.rows import wide_console

    table = Table("model", "looks at", "futures", "paper", box=None)
    for name, model in registry.models().items():
        futures = "differ" if model.predictor.stochastic else "agree"
        unpublished = "floor" if name in registry.FLOORS else "ceiling" if name in registry.MODELS else ""
        table.add_row(name, model.modality, futures, model.predictor.paper or unpublished)
    wide_console().print(table)


@main.command()
def protocols() -> None:
    """List the protocols."""
    from rich.table import Table

    from benchmark.protocols import PROTOCOLS
    from benchmark.scoring.rows import wide_console

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
    from benchmark.report import renew_report, write_report

    if out is None and len(runs) > 1:
        raise InputError("a report of several runs needs --out")
    click.echo(f"report: {write_report(runs, out) if out else renew_report(runs[0])}")


if __name__ == "__main__":
    main()
