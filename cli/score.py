"""``featcache score``: is this image fake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

if TYPE_CHECKING:
    from featcache.detect import Detector, Prediction


def score(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Images and folders of images.")
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="FILE", help="What 'probe --save' wrote; may be repeated."),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view", metavar="A[,B...]", help="Mean over these views. [default: the head's]"
        ),
    ] = None,
    weights: opt.Weights = None,
    target: Annotated[
        Path | None, typer.Option("--out", metavar="F.csv", help="Write the table as CSV too.")
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="F.onnx", help="Write backbone and head as ONNX."),
    ] = None,
    cache: opt.Cache = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="auto|cpu|cuda|cuda:1|mps", help="[default: auto]"),
    ] = None,
    workers: opt.Workers = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Say of each image whether a trained head takes it for fake, and whether it knows such
    images.
    """
    from featcache.cli._output import REJECTS
    from featcache.detect import Detector
    from featcache.detect.prediction import write_predictions
    from featcache.errors import SettingsError
    from featcache.settings import load_settings, split_all

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache, device=device, workers=workers)
    if not head:
        raise SettingsError("No head was named. Make one with 'featcache probe --save HEAD'.")
    if not images and not onnx:
        raise SettingsError("No image was named: featcache score IMAGE... --head HEAD")
    detector = Detector(
        *head,
        cache=settings.cache if settings.cache.is_dir() else None,
        weights=weights or [],
        views=split_all(view),
        device=settings.device,
        workers=settings.workers,
    )
    if onnx:
        _export(detector, onnx)
    predictions = detector.score(images or [])
    if target:
        out.print_message(f"Table: {write_predictions(predictions, target)}")
    _show(predictions, json)
    return REJECTS if any(prediction.problem for prediction in predictions) else 0


def _export(detector: Detector, path: Path) -> None:
    from featcache.detect import export_onnx
    from featcache.errors import SettingsError

    if len(detector.heads) > 1:
        raise SettingsError("--onnx writes one head: name one --head.")
    (head,) = detector.heads.values()
    made = export_onnx(head, path, weights=detector.weights)
    out.print_message(
        f"ONNX: {path.resolve()}, input pixels (N, 3, {made['size']}, {made['size']}) in [0, 1]; "
        f"largest difference of logits {made['difference']:.1g}"
    )


def _show(predictions: list[Prediction], json: bool) -> None:
    if json:
        out.print_json({"images": [prediction.to_dict() for prediction in predictions]})
        return
    if not predictions:
        return
    several = len({prediction.head for prediction in predictions}) > 1
    columns = ["verdict", "score", "probability", "known", *(["head"] if several else []), "image"]
    rows = [_row(prediction, several) for prediction in predictions]
    out.print_table(columns, rows, right={"score", "probability", "known"})
    out.print_lines("", *_footnotes(predictions))


def _row(prediction: Prediction, several: bool) -> list[str]:
    """Return the cells; the image stands last, where a long path or a reason may wrap."""
    from featcache.reports.formatting import format_fraction

    head = [prediction.head] if several else []
    if prediction.problem:
        return ["-", "-", "-", "-", *head, f"{prediction.path}: {prediction.problem}"]
    numbers = [
        format_fraction(prediction.score),
        format_fraction(prediction.probability),
        prediction.known,
    ]
    return [prediction.verdict, *numbers, *head, prediction.path]


def _footnotes(predictions: list[Prediction]) -> list[str]:
    scored = [prediction for prediction in predictions if not prediction.problem]
    if not scored:
        return []
    thresholds = {prediction.head: prediction.threshold for prediction in scored}
    if len(set(thresholds.values())) == 1:
        called = f"Fake: score above {scored[0].threshold:g}."
    else:
        called = ", ".join(f"{value:g} with {head}" for head, value in thresholds.items())
        called = f"Fake: score above {called}."
    known = (
        "Known: share of held-out training images that lie at least as far out; NO: under 1 %, "
        "do not rely on the prediction."
    )
    return [f"{called} {known}"]
