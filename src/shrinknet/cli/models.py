"""`shrinknet plan`, `slim`, `cost`, `export` and `compress`: commands for model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.arrays import read_pairs, read_sample
from shrinknet.cli.output import json_option, load_keras, show, working
from shrinknet.cli.values import FORMATS, METHODS, SIZES

Shapes = tuple[tuple[int, ...], ...]

model_argument = click.argument("model", type=click.Path(exists=True, path_type=Path))
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Run Python code in the model file, and import classes that it names. Only for files that you trust.",
)
shape_option = click.option(
    "--input-shape",
    "shapes",
    type=SIZES,
    multiple=True,
    help="Shape of one sample, such as 128,128,1, if the model leaves sizes undefined; once for each input.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads for the latency measurement."
)
round_option = click.option(
    "--round-to",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Round the remaining widths up to multiples of this number, such as 8.",
)
array_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def _shape(shapes: Shapes) -> Any:
    return (shapes[0] if len(shapes) == 1 else list(shapes)) if shapes else None


@click.command()
@model_argument
@shape_option
@round_option
@trust_option
@json_option
def plan(model: Path, shapes: Shapes, round_to: int, trust: bool, as_json: bool) -> None:
    """Show which filters of MODEL belong together, what cannot be cut and why, and what a switched MODEL would lose.

    MODEL is a .keras or .h5 file. In a plain model nothing is switched off yet: the table shows what can be cut.
    """
    with working():
        load_keras()
        from shrinknet.cutting import slimmer
        from shrinknet.files.models import has_switches, open_model
        from shrinknet.network.switches import Switches
        from shrinknet.network.switching import switched

        opened = open_model(model, trust=trust)
        net = opened if has_switches(opened) else switched(opened)
        planned = slimmer.plan(net, _shape(shapes), round_to)
        groups = Switches(net).groups
    together = [str(group) for group in groups if len(group.filters) > 1]
    record = {
        "filters": [str(group.name) for group in groups],
        "groups": together,
        "removed": [str(group.name) for group in planned.removed],
        "unswitchable": planned.unswitchable,
        "before": planned.before and planned.before.to_dict(),
        "after": planned.after and planned.after.to_dict(),
    }
    lines = [f"{len(groups)} filters can be cut, {len(together)} of them only together with others."]
    lines += [f"Together: {names}" for names in together[:20]]
    lines += [f"... and {len(together) - 20} more groups (--json lists them)"] if len(together) > 20 else []
    show(record, "\n".join([str(planned), *lines]), as_json=as_json)


@click.command()
@model_argument
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@shape_option
@round_option
@click.option("--sample", type=array_file, help="Inputs for the comparison, .npy or .npz.  [default: random numbers]")
@click.option("--at", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="MODEL is a run folder: the most "
              "accurate state of that run with at most this share of the multiply-adds.")  # fmt: skip
@trust_option
@json_option
def slim(
    model: Path, out: Path, shapes: Shapes, round_to: int, sample: Path | None, at: float | None, trust: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Remove the disabled filters from the switched network in MODEL, and write the small network to OUT.

    MODEL may also be a run folder: then --at says which of the states that the run went through is written.

    OUT is a .keras file. It is written only if the small network computes the same function, and it loads without
    shrinknet.
    """
    if model.is_dir() != (at is not None):
        raise click.UsageError(
            "Expected --at, such as --at 0.4, together with a run folder." if model.is_dir()
            else f"Expected a run folder for --at; {model} is a file."
        )  # fmt: skip
    with working():
        load_keras()
        from shrinknet.cutting import slimmer
        from shrinknet.files.models import check_target, open_model, write_model
        from shrinknet.records import cost_change
        from shrinknet.runs.points import net_at

        check_target(out, model)
        net = open_model(model, trust=trust, compiled=True) if at is None else net_at(model, at, trust=trust)
        planned = slimmer.plan(net, _shape(shapes), round_to)
        small = slimmer.slim(net, read_sample(sample), round_to=round_to)
        before, after = planned.before, _known_cost(small, shapes)
        complete = write_model(small, out)
    record = {
        "model": str(out),
        "compiled": complete,
        "removed": [str(group.name) for group in planned.removed],
        "before": before and before.to_dict(),
        "after": after and after.to_dict(),
    }
    text = cost_change(before, after) if before and after else f"{len(planned.removed)} filters are gone."
    show(record, f"{text}\n\nmodel  {out}", as_json=as_json)


@click.command()
@model_argument
@click.argument("after", type=click.Path(exists=True, path_type=Path), required=False)
@shape_option
@click.option("--latency", is_flag=True, help="Also measure one sample in LiteRT.")
@threads_option
@trust_option
@json_option
def cost(
    model: Path, after: Path | None, shapes: Shapes, latency: bool, threads: int, trust: bool, as_json: bool
) -> None:
    """Count parameters, multiply-adds, bytes and activation memory of MODEL, layer by layer; or compare with AFTER.

    Disabled filters of a switched model are not counted. The floating-point operations of convolutions and matrix
    products are twice the multiply-adds.
    """
    with working():
        load_keras()
        from shrinknet.costs.counting import cost as cost_of
        from shrinknet.exporters import measured_latency
        from shrinknet.files.models import open_model
        from shrinknet.records import cost_change

        opened = [open_model(path, trust=trust) for path in (model, after) if path is not None]
        costs = [cost_of(each, _shape(shapes)) for each in opened]
        times = [measured_latency(each, None, threads, _shape(shapes)) for each in opened] if latency else []
    names = ("before", "after") if after else ("cost",)
    record = {name: each.to_dict() for name, each in zip(names, costs, strict=True)}
    for name, time in zip(names, times, strict=False):
        record[name]["latency_ms"] = time
    text = cost_change(*costs) if after else str(costs[0])
    told = ["unknown" if time is None else f"{time:.4g} ms" for time in times]
    words = f"One sample in LiteRT, {threads} {'thread' if threads == 1 else 'threads'}: {', then '.join(told)}."
    show(record if after else record["cost"], "\n".join([text, words] if latency else [text]), as_json=as_json)


@click.command()
@model_argument
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--formats",
    type=FORMATS,
    default="keras,litert",
    show_default=True,
    help="keras, savedmodel, litert, litert-float16, litert-dynamic, litert-int8, onnx; separated by commas.",
)
@click.option(
    "--sample",
    type=array_file,
    help="Inputs for the comparison, .npy or .npz; for litert-int8 a hundred or more real ones.  [default: random]",
)
@shape_option
@threads_option
@trust_option
@json_option
def export(
    model: Path, folder: Path, formats: tuple[str, ...], sample: Path | None, shapes: Shapes, threads: int,
    trust: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write MODEL to FOLDER in formats for production; each file is loaded back, run and compared.

    A file that computes something else is removed, and an existing file is then kept.
    """
    from shrinknet.errors import ExportError

    with working():
        load_keras()
        from shrinknet.exporters import Exports
        from shrinknet.exporters import export as write
        from shrinknet.files.models import open_model

        opened = open_model(model, trust=trust)
        failure = None
        try:
            files = write(opened, folder, formats, read_sample(sample), threads=threads, input_shape=_shape(shapes))
        except ExportError as error:
            failure, files = error, error.written or Exports()
    if files:
        show({**files.to_dict(), "refused": [str(failure)] if failure else []}, str(files), as_json=as_json)
    if failure is not None:
        raise failure


@click.command()
@model_argument
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--data", type=array_file, required=True, help="Training data: a .npz file with the arrays x and y (x0, x1 ...)."
)
@click.option("--test-data", type=array_file, help="Data to score on, in the same form.  [default: --data]")
@click.option(
    "--methods",
    type=METHODS,
    default="quantization-aware,clustering,pruning,pruning-2-4",
    show_default=True,
    help="Methods, separated by commas.",
)
@click.option("--score", help="A compiled metric, or loss.  [default: the first compiled metric]")
@click.option("--loss", help="Training loss, by its Keras name.  [default: the compiled loss]")
@click.option("--epochs", type=click.IntRange(min=1), default=5, show_default=True, help="Passes through the data.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Samples per batch.")
@click.option("--learning-rate", type=float, help="Of the training.  [default: the optimizer's]")
@click.option(
    "--clusters", type=click.IntRange(min=2), default=16, show_default=True, help="Different values in each kernel."
)
@click.option("--sparsity", type=float, default=0.5, show_default=True, help="Share of values that pruning sets to 0.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the training.")
@threads_option
@trust_option
@json_option
def compress(
    model: Path, folder: Path, data: Path, test_data: Path | None, trust: bool, as_json: bool, **options: Any
) -> None:
    """Train MODEL further with tensorflow-model-optimization, and write the results to FOLDER as LiteRT files.

    Quantization-aware training, weight clustering, and pruning of single weights; needs the extra tfmot. If a method
    refuses the network, a sentence says why.
    """
    with working():
        load_keras()
        from shrinknet.compression import compress as work
        from shrinknet.files.models import open_model

        opened = open_model(model, trust=trust, compiled=True)
        files = work(opened, folder, read_pairs(data), test_data=read_pairs(test_data), **options)
    show(files.to_dict(), str(files), as_json=as_json)


def _known_cost(model: Any, shapes: Shapes) -> Any:
    """The cost of a model; None if it leaves sizes undefined that were not given."""
    from shrinknet.costs.counting import cost as cost_of
    from shrinknet.errors import ModelError

    try:
        return cost_of(model, _shape(shapes))
    except ModelError:
        return None
