"""``featcache score``: is this image fake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.files import printable

if TYPE_CHECKING:
    from featcache.detect import Detector, Verdict


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
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps. [default: auto]")
    ] = None,
    workers: opt.Workers = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Say of each image whether a trained head takes it for fake, and whether it knows such images."""
    from featcache.cli._errors import REJECTS
    from featcache.detect import Detector
    from featcache.detect.verdict import write_verdicts
    from featcache.errors import SettingsError
    from featcache.settings import load_settings, split_all

    out.start(verbose, quiet)
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
    verdicts = detector.score(images or [])
    if target:
        out.say(f"Table: {write_verdicts(verdicts, target)}")
    _show(verdicts, json)
    return REJECTS if any(verdict.problem for verdict in verdicts) else 0


def _export(detector: Detector, path: Path) -> None:
    from featcache.detect import export_onnx
    from featcache.errors import SettingsError

    if len(detector.heads) > 1:
        raise SettingsError("--onnx writes one head: name one --head.")
    (head,) = detector.heads.values()
    made = export_onnx(head, path, weights=detector.weights)
    out.say(
        f"ONNX: {path.resolve()}, input pixels (N, 3, {made['size']}, {made['size']}) in [0, 1]; "
        f"largest difference of logits {made['difference']:.1g}"
    )


def _show(verdicts: list[Verdict], json: bool) -> None:
    if json:
        out.print_json({"images": [verdict.to_dict() for verdict in verdicts]})
        return
    if not verdicts:
        return
    several = len({verdict.head for verdict in verdicts}) > 1
    columns = ["image", *(["head"] if several else []), "verdict", "score", "probability"]
    columns += ["threshold", "like training data"]
    rows = [[v.path, *([v.head] if several else []), *_cells(v)] for v in verdicts if not v.problem]
    if rows:
        out.print_table(columns, rows, right={"score", "probability", "threshold"})
    for verdict in verdicts:
        if verdict.problem:
            sys.stderr.write(printable(f"{verdict.path}: {verdict.problem}") + "\n")


def _cells(verdict: Verdict) -> list[str]:
    from featcache.reports.words import fraction

    numbers = [fraction(verdict.score), fraction(verdict.probability), f"{verdict.threshold:g}"]
    return [verdict.verdict, *numbers, verdict.familiarity]
