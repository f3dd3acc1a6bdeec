"""``featcache score``: is this image fake."""

from __future__ import annotations

import shlex
import sys
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
        typer.Option(
            "--head", metavar="FILE", help="What 'probe --save' wrote, or 'toy'; may be repeated."
        ),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view", metavar="A[,B...]", help="Mean over these views. [default: the head's]"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="P",
            help="Call an image fake above this probability. [default: the head's]",
        ),
    ] = None,
    target_fpr: Annotated[
        float | None,
        typer.Option(
            "--target-fpr",
            metavar="RATE",
            help="Choose the threshold by this false-positive rate on the head's held-out reals.",
        ),
    ] = None,
    crops: Annotated[
        str,
        typer.Option(
            "--crops",
            metavar="center|tencrop|grid",
            help="Parts of each image that are seen; the mean of their logits counts.",
        ),
    ] = "center",
    weights: opt.Weights = None,
    target: Annotated[
        Path | None, typer.Option("--out", metavar="F.csv", help="Write the table as CSV too.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="F.html", help="Write a case report: one page, printable."
        ),
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
    """Predict of each image whether it is real or fake, with the head's error rates; inconclusive
    where the head does not know such images or errs too often at such scores.
    """
    from featcache.cli._output import REJECTS
    from featcache.detect import Detector
    from featcache.detect.prediction import write_predictions
    from featcache.errors import SettingsError
    from featcache.settings import load_settings, split_all

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache, device=device, workers=workers)
    if not head:
        raise SettingsError(
            "No head was named, and none is good enough to be a default. Make one with 'featcache"
            " probe --save HEAD', import a published one with 'featcache head import', or try the"
            " command with --head toy."
        )
    if not images and not onnx:
        raise SettingsError("No image was named: featcache score IMAGE... --head HEAD")
    detector = Detector(
        *head,
        cache=settings.cache if settings.cache.is_dir() else None,
        weights=weights or [],
        views=split_all(view),
        threshold=threshold,
        target_fpr=target_fpr,
        crops=crops,
        device=settings.device,
        workers=settings.workers,
    )
    if onnx:
        _export(detector, onnx)
    predictions = detector.score(images or [])
    if target:
        out.print_message(f"Table: {write_predictions(predictions, target)}")
    if report:
        from featcache.reports.case import write_case

        command = shlex.join(["featcache", *sys.argv[1:]])
        page = write_case(
            predictions,
            report,
            heads=detector.heads,
            error_rates=detector.error_rates(),
            crops=detector.crops,
            skipped=detector.skipped,
            command=command,
        )
        out.print_message(f"Report: {page}")
    _show(detector, predictions, json)
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


def _show(detector: Detector, predictions: list[Prediction], json: bool) -> None:
    from collections import Counter

    if json:
        from dataclasses import asdict

        rates = detector.error_rates()
        heads = {
            Path(name).name: {
                "threshold_logit": detector.thresholds[name],
                "error_rates": asdict(known) if known else None,
                "toy": detector.heads[name].meta.get("toy"),
            }
            for name, known in rates.items()
        }
        out.print_json(
            {
                "images": [prediction.to_dict() for prediction in predictions],
                "heads": heads,
                "crops": detector.crops,
                "skipped": [asdict(one) for one in detector.skipped],
            }
        )
        return
    if detector.skipped:
        reasons = Counter(one.reason for one in detector.skipped)
        counted = ", ".join(f"{n:,} x {reason}" for reason, n in reasons.most_common())
        out.print_message(f"Passed over: {counted} (all in --json)")
    if not predictions:
        return
    several = len({prediction.head for prediction in predictions}) > 1
    crops = ["crops"] if detector.crops != "center" else []
    columns = ["prediction", "probability", *crops, "known", "seen"]
    rows = [_row(prediction, several, bool(crops)) for prediction in predictions]
    out.print_table(
        [*columns, *(["head"] if several else []), "image"], rows, right=set(columns[1:])
    )
    out.print_lines("", *_footnotes(detector, predictions))


def _row(prediction: Prediction, several: bool, crops: bool) -> list[str]:
    """Return the cells; the image stands last, where a long path or a reason may wrap."""
    from featcache.reports.formatting import format_fraction, format_percent

    head = [prediction.head] if several else []
    if prediction.problem:
        dashes = ["-"] * (5 if crops else 4)
        return [*dashes, *head, f"{prediction.path}: {prediction.problem}"]
    calibrated = prediction.probability == prediction.probability
    probability = prediction.probability if calibrated else prediction.score
    low, high = prediction.probability_low, prediction.probability_high
    numbers = [
        format_fraction(probability),
        *([f"{format_fraction(low)}-{format_fraction(high)}"] if crops else []),
        prediction.known,
        format_percent(prediction.coverage),
    ]
    return [prediction.prediction, *numbers, *head, prediction.path]


def _footnotes(detector: Detector, predictions: list[Prediction]) -> list[str]:
    from featcache.reports.formatting import describe_errors

    scored = [prediction for prediction in predictions if not prediction.problem]
    if not scored:
        return []
    toys = [head.meta["toy"] for head in detector.heads.values() if head.meta.get("toy")]
    lines = [f"TOY HEAD: {toy}." for toy in toys]
    for name, rates in detector.error_rates().items():
        of_head = next(p for p in scored if p.head == Path(name).name)
        calibrated = of_head.probability_threshold == of_head.probability_threshold
        threshold = of_head.probability_threshold if calibrated else of_head.threshold
        start = f"{Path(name).name}: " if len(detector.heads) > 1 else ""
        kind = "" if calibrated else " (not calibrated: the sigmoid of the logit)"
        lines.append(
            f"{start}Fake: probability above {threshold:.4g}{kind}. {describe_errors(rates)}"
        )
    if detector.crops != "center":
        lines.append(
            "Probability: of the mean logit over all crops, then the smallest and largest crop. The"
            " error rates are those of one centre crop."
        )
    lines += sorted({f"Inconclusive: {p.reason}." for p in scored if p.reason})
    lines.append(
        "Known: share of held-out training images that lie at least as far out; NO: under 1 %. "
        "Seen: share of the image's pixels in the crops."
    )
    return lines
