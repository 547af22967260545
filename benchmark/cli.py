"""avbench: train and score models under the benchmark's protocols."""

import io
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from baselines.names import FLOORS, REFERENCES, SAMPLED_FLOORS, check_name, reference_note
from benchmark.options import Download, Stream, check_weights
from mmnist_av import __version__
from mmnist_av.system.errors import InputError, OneLineErrors, one_line
from mmnist_av.system.paths import UserPath

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.job import Job


class NoteFormatter(logging.Formatter):
    """Breaks a note between words where it is wider than the terminal; elsewhere it stays one line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return click.wrap_text(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else text


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avbench")
def main() -> None:
    """Train and score models of audio-conditioned video prediction: every protocol, from one sampling pass."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")  # names of folders that are no UTF-8 are printed as they are
    notes = logging.StreamHandler()
    notes.setFormatter(NoteFormatter("Note: %(message)s"))
    logging.basicConfig(handlers=[notes], level=logging.WARNING, force=True)


def parse_settings(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Return --set name=value, given any number of times, each name once, as a dictionary."""
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(f"--set {text}: must be name=value")
        if name in settings:
            raise InputError(f"--set {text}: {name} is given twice, {settings[name]} and {value}")
        settings[name] = value
    return settings


def parse_data(context: click.Context, option: click.Parameter, text: str | None) -> Path | Stream | None:
    """Return --data as a folder, or Stream() for the word `stream` (a folder of that name is ./stream)."""
    return Stream() if text == "stream" else None if text is None else FOLDER.convert(text, option, context)


def parse_weights(context: click.Context, option: click.Parameter, text: str | None) -> Path | Download | None:
    """Return --weights as a folder, or Download() for the word `download` (a folder of that name is ./download)."""
    source = Download() if text == "download" else None if text is None else FOLDER.convert(text, option, context)
    check_weights(source)
    return source


def parse_names(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Return a,b,c as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


# Names are checked while options are parsed, because what computes with them takes seconds to import.


def parse_model(context: click.Context, option: click.Parameter, name: str) -> str:
    """Return a model's name; InputError with the nearest ones where none is called so."""
    check_name(name)
    return name


def parse_models(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Return models' names, separated by commas, as a list; InputError as parse_model."""
    names = [parse_model(context, option, name) for name in parse_names(context, option, text)]
    if not names:
        raise InputError("--models: a name is expected, `avbench models` lists them")
    return names


def parse_protocol(context: click.Context, option: click.Parameter, name: str) -> str:
    """Return a protocol's name; InputError with the nearest ones where none is called so."""
    from benchmark.catalogue import find_protocol

    return find_protocol(name).name


def parse_protocols(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    """Return protocols' names, separated by commas, as a list; InputError as parse_protocol."""
    return [parse_protocol(context, option, name) for name in parse_names(context, option, text)]


def parse_preset(context: click.Context, option: click.Parameter, name: str) -> str:
    """Return a preset's name; InputError with the nearest ones where none is called so."""
    from benchmark.catalogue import find_preset

    return find_preset(name).name


def parse_metrics(context: click.Context, option: click.Parameter, text: str) -> str:
    """Return --metrics as it is; InputError with the nearest names for an unknown one."""
    from benchmark.catalogue import named_metrics

    named_metrics(text)
    return text


def parse_several_metrics(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """Return a,b,c, given any number of times, as a list; InputError with the nearest names for an unknown one."""
    from benchmark.catalogue import find_metric

    names = [find_metric(name).name for text in texts for name in parse_names(context, option, text)]
    if texts and not names:
        raise InputError("--metric: a name is expected, `avbench metrics` lists them")
    return names


def parse_seeds(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    """Return 0,1,2 as a list."""
    try:
        return [int(seed) for seed in parse_names(context, option, text)]
    except ValueError:
        raise InputError(f"--seeds {text}: must be whole numbers separated by commas") from None


def parse_datasets(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Path]:
    """Return --data protocol=folder, given any number of times, as a dictionary."""
    pairs = [text.partition("=") for text in texts]
    for protocol, equals, folder in pairs:
        if not (protocol and equals and folder):
            raise InputError(f"--data {protocol}{equals}{folder}: must be PROTOCOL=FOLDER")
    names = [protocol for protocol, *_ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--data {twice}=... is given twice: name one dataset for a protocol")
    return {protocol: Path(folder) for protocol, _, folder in pairs}


FOLDER = UserPath()
protocol_option = click.option(
    "--protocol",
    default="m3so-nb",
    show_default=True,
    callback=parse_protocol,
    help="Name of a protocol; `avbench protocols` lists them.",
)
preset_option = click.option(
    "--preset", default="demo", show_default=True, callback=parse_preset, help="Size of a run: demo, small or paper."
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device to compute on; auto takes CUDA where torch sees it.",
)
metrics_option = click.option(
    "--metrics",
    default="standard",
    show_default=True,
    callback=parse_metrics,
    help="`standard`, `all`, or names separated by commas; `avbench metrics` lists them.",
)
weights_option = click.option(
    "--weights",
    metavar="FOLDER|download",
    callback=parse_weights,
    help="Folder of the published weights that lpips, fid and fvd need, or `download`.  [default: leave these out]",
)
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    callback=parse_settings,
    metavar="NAME=VALUE",
    help="Change a setting of the model; any number of times.",
)
report_option = click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Draw figures and movies at the end; later, `avbench report RUN` does.",
)
mnist_option = click.option(
    "--mnist-root",
    type=FOLDER,
    envvar="MMNIST_AV_MNIST_ROOT",
    show_envvar=True,
    help="Folder of the MNIST files, for presets whose dataset is generated from them.",
)


@main.command()
@click.option("--model", required=True, callback=parse_model, help="Name of a model; `avbench models` lists them.")
@protocol_option
@preset_option
@click.option(
    "--data",
    metavar="FOLDER|stream",
    callback=parse_data,
    help="The dataset's folder, or `stream`: train on endless clips.  [default: generated once under data/]",
)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: under runs/]")
@click.option("--samples", type=click.IntRange(min=1), help="K, samples per test clip.  [default: the preset's]")
@click.option("--steps", type=click.IntRange(min=0), help="Training steps.  [default: the preset's]")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the weights, the batches and the samples.",
)
@device_option
@settings_option
@mnist_option
@click.option(
    "--eval-every",
    type=click.IntRange(min=0),
    help="Steps between two validations on val clips; 0: none.  [default: the preset's]",
)
@click.option("--tensorboard", is_flag=True, help="Also log losses and validations for TensorBoard.")
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes per machine that train together, one per GPU.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Machines that train together; start the command on each by torchrun or srun.",
)
@report_option
@click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Weights to score: the best validation's (by how far its PSNR is above the floors'), or the last ones.",
)
@click.option("--trained", type=FOLDER, help="Reuse the trained model of this finished run instead of training.")
@metrics_option
@weights_option
def run(**options: object) -> None:
    """Train a model, draw its samples, score them beside the floors, and write the results.

    An interrupted run continues when the same command is given again, with the same code. --trained reuses the model of
    a finished run of the same model, settings, preset, dataset and seed, for a protocol that trains as that run's did.
    """
    from benchmark.catalogue import find_protocol
    from benchmark.finished import rows_of_finished
    from benchmark.job import Job
    from benchmark.report.summary import summary

    job = Job(**options)  # type: ignore[arg-type]
    rows = rows_of_finished(job)
    if rows is None:
        rows = done(job)
    else:
        click.echo(f"{job.folder} is finished: nothing is left to do")
    click.echo(summary(rows, find_protocol(job.protocol), job.folder))


def done(job: "Job") -> "pd.DataFrame":
    """Do a job, and return the rows of its results; a training that diverges is one line and exit code 1."""
    from benchmark.run import run as run_job
    from benchmark.training.loop import Diverged

    try:
        return run_job(job)[0]
    except Diverged as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or how_to_go_on(job.folder)) from stop


def how_to_go_on(folder: Path) -> str:
    """Return what to do after Ctrl-C, with what was done so far in a run's folder."""
    if not folder.exists():
        return "nothing was written yet"
    return f"the same command continues from what {folder} holds"


@main.command("check")
@click.argument("model", callback=parse_model)
@protocol_option
@click.option("--data", type=FOLDER, help="Dataset whose first clips are taken.  [default: two clips are generated]")
@device_option
@settings_option
@weights_option
def check_command(**options: Any) -> None:
    """Try the code of MODEL: settings, shapes, losses, gradients, samples. The first mistake is named in a line.

    `avbench run` does the same before it trains.
    """
    from benchmark.check import check_model

    for line in check_model(**options):
        click.echo(line)


@main.command("score")
@click.option("--predictions", type=FOLDER, required=True, help="Folder with predictions.npy and predictions.json.")
@protocol_option
@click.option("--data", type=FOLDER, required=True, help="Folder of the dataset whose test clips were predicted.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the results.")
@device_option
@metrics_option
@weights_option
@report_option
def score_command(
    predictions: Path,
    protocol: str,
    data: Path,
    out: Path,
    device: str,
    metrics: str,
    weights: Path | Download | None,
    report: bool,
) -> None:
    """Score external predictions: samples that another program drew.

    The folder holds predictions.npy, (test clips, K, predicted, C, H, W), uint8 or floats within 0 and 1, and
    predictions.json: {"model": "a-name-of-yours", "fingerprint": "the dataset's"} and, where it is known, the "seed" of
    its training. A model that predicts flow may add flow.npy, (test clips, K, predicted, 2, H, W) px, for aepe.
    """
    from benchmark.catalogue import find_protocol
    from benchmark.external import score_predictions
    from benchmark.report.summary import summary

    try:
        rows, folder = score_predictions(predictions, protocol, data, out, device, metrics, weights, report)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(how_to_go_on(out)) from stop
    click.echo(summary(rows, find_protocol(protocol), folder))


@main.command("show")
@click.argument("folder", metavar="RUN", type=FOLDER)
def show_command(folder: Path) -> None:
    """Print all tables of a finished RUN: every metric, sampling rule and reported frame."""
    from benchmark.report.tables import show

    show(folder)


@main.command("compare")
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    callback=parse_several_metrics,
    help="Compare by these metrics only: names separated by commas; any number of times.",
)
@click.option("--csv", type=FOLDER, help="New file for the figures with all their digits.")
def compare_command(runs: tuple[Path, ...], metrics: list[str], csv: Path | None) -> None:
    """Print by how much one of two RUNS is better than the other, clip by clip, and whether it is more than chance.

    More than two RUNS must be of two groups, which differ within them in their seeds alone: means over seeds are
    compared. All figures are tested together, and --metric makes them fewer. A side is called better only where every
    model that is trained has two seeds or more.
    """
    from benchmark.compare import VERDICTS, compare, write_comparison
    from benchmark.report.tables import print_comparison, print_note

    comparison = compare(*runs, metrics=metrics)
    if csv is not None:
        write_comparison(comparison, csv)
    click.echo(f"one:   {comparison.one.in_words}")
    click.echo(f"other: {comparison.other.in_words}")
    click.echo(f"clips: {comparison.clips} test clips of all runs; paired 95% intervals, each for its row alone")
    click.echo(f"p:     paired sign flips of clips, corrected for {comparison.family} tests (Holm)")
    if comparison.seeds_in_words:
        click.echo(f"seeds: {comparison.seeds_in_words}")
    click.echo()
    print_comparison(comparison.rows)
    for name, meaning in VERDICTS.items():
        if comparison.rows["verdict"].str.endswith(name).any():
            click.echo(f"{name}: {meaning}")
    for line in comparison.left_out:
        click.echo(f"left out: {line}")
    print_note(reference_note(side.runs[0].config["model"] for side in (comparison.one, comparison.other)))


@main.command("sweep")
@click.option("--models", required=True, callback=parse_models, help="Names of models, separated by commas.")
@click.option(
    "--protocols",
    default="m3so-nb",
    show_default=True,
    callback=parse_protocols,
    help="Names of protocols, separated by commas.",
)
@click.option("--seeds", default="0", show_default=True, callback=parse_seeds, help="Seeds, separated by commas.")
@preset_option
@click.option(
    "--data",
    multiple=True,
    callback=parse_datasets,
    metavar="PROTOCOL=FOLDER",
    help="A protocol's dataset; any number of times.  [default: generated once under data/]",
)
@click.option("--out", type=FOLDER, default=Path("runs"), show_default=True, help="Folder of all runs.")
@click.option(
    "--engine",
    default="local",
    show_default=True,
    help="Where runs are done: local (this machine), or ray (the cluster at RAY_ADDRESS).",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Number of runs at a time.")
@click.option(
    "--gpus",
    type=click.FloatRange(min=0, max=1024),
    default=0.0,
    show_default=True,
    help="GPUs per run, on a Ray cluster.",
)
@mnist_option
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sweep_command(**options: object) -> None:
    """Run every model under every protocol with every seed, and summarise the results over seeds.

    Runs that are done are skipped, interrupted ones continue, and one that fails does not stop the others. After Ctrl-C
    or SIGTERM the same command continues. OPTIONS behind `--` are those of `avbench run`, for every run.
    """
    from baselines import registry
    from benchmark.catalogue import known_metrics
    from benchmark.report.tables import print_sweep
    from benchmark.sweep import Sweep, sweep, write_summary

    requested = Sweep(**options)  # type: ignore[arg-type]
    for model in requested.models:  # wrong OPTIONS are refused before any run begins
        given = run.make_context("avbench run", ["--model", model, *requested.options])
        registry.configure(model, given.params["settings"])
    outcomes = sweep(requested)
    finished = [each for each in outcomes if each.is_finished]
    if finished:
        summary = write_summary(outcomes, requested.out)
        print_sweep(summary[summary["metric"].isin(known_metrics(summary["metric"], requested.out))])
    for each in outcomes:
        click.echo(f"{each.state:8}{each.folder}{f'   {each.message}' if each.message else ''}")
    if any(each.state == "stopped" for each in outcomes):
        raise KeyboardInterrupt(f"runs done: {len(finished)} of {len(outcomes)}; the same command continues")
    sys.exit(0 if len(finished) == len(outcomes) else 1)


@main.command("verify")
@click.argument("runs", nargs=-1, required=True, type=UserPath(exists=True))
def verify_command(runs: tuple[Path, ...]) -> None:
    """Check every file of finished RUNS against their seals, and name what is missing or changed.

    Every run is checked; the exit code is 2 where any of them is not as it was written.
    """
    from benchmark.runs.seal import check_complete

    failed = False
    for folder in runs:
        try:
            check_complete(folder)
        except (InputError, OSError) as error:
            click.echo(f"Error: {one_line(str(error))}", err=True)
            failed = True
        else:
            click.echo(f"{folder}: every file is as it was written")
    sys.exit(2 if failed else 0)


@main.command()
def metrics() -> None:
    """List the metrics."""
    from benchmark.catalogue import METRICS
    from benchmark.report.tables import list_table

    lines = []
    for row in METRICS.values():
        needs = f" (needs {', '.join(sorted(row.needs))})" if row.needs else ""
        computed = "standard" if row.standard else "if named"
        lines.append((row.name, row.unit, row.better, computed, f"{row.summary}{needs}"))
    list_table(("metric", "unit", "better", "computed", "what it is"), lines)


@main.command()
def models() -> None:
    """List the models."""
    from baselines import registry
    from benchmark.report.tables import list_table, print_note

    lines = []
    for name, model in registry.models().items():
        kind = "floor" if name in (*FLOORS, *SAMPLED_FLOORS) else "reference" if name in REFERENCES else ""
        samples = "stochastic" if model.predictor.stochastic else "deterministic"
        words = ": ".join(filter(None, (model.predictor.paper or kind, model.about)))
        lines.append((name, model.modality, samples, words))
    list_table(("model", "input", "samples", "what it is"), lines)
    click.echo()
    print_note(reference_note(REFERENCES))


@main.command()
def protocols() -> None:
    """List the protocols."""
    from benchmark.catalogue import MISMATCH, PROTOCOLS
    from benchmark.report.tables import list_table

    lines = [
        (
            protocol.name,
            protocol.dataset,
            str(protocol.seen),
            str(protocol.train_predicted),
            str(protocol.test_predicted),
            ", ".join(map(str, protocol.reported_frames)),
        )
        for protocol in PROTOCOLS.values()
        if not protocol.mismatched
    ]
    list_table(("protocol", "dataset", "seen", "train", "test", "reported frames"), lines)
    click.echo(f"\nNAME{MISMATCH}: at test, every clip has the next clip's sound")


@main.command("report")
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="Folder of the report.  [default: RUN/report, for one run]")
def report_command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw the figures and movies of finished RUNS of one protocol and dataset, and one HTML page with all of them."""
    from benchmark.report.write import renew_report, write_report_elsewhere

    if out is None and len(runs) > 1:
        raise InputError("a report of several runs needs --out")
    click.echo(f"report: {write_report_elsewhere(runs, out) if out else renew_report(runs[0])}")


if __name__ == "__main__":
    main()
