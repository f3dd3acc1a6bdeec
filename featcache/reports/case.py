"""A case report: for each photograph the outcome with its error rates, the file's facts and the
head's provenance, as one printable page without scripts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import struct
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from featcache._version import __version__
from featcache.datasets.containers import read_bytes
from featcache.detect.crops import Framing, frame
from featcache.detect.prediction import Prediction, Skipped
from featcache.errors import ImageError
from featcache.files import write_atomic
from featcache.images import apply_orientation, decode, read_metadata
from featcache.probes import SavedHead
from featcache.probes.calibration import ErrorRates
from featcache.progress import track
from featcache.reports.formatting import (
    describe_errors,
    escape_controls,
    format_percent,
    require_viz,
)

SIDE = 560
"""Longer side of a thumbnail, in pixels: 300 of them make a page of about 15 MB."""

MOST_BOXES = 36
MOST_TEXT = 200
"""Characters of an EXIF field; more could push a photograph beyond its two pages."""

EXIF_FIELDS = ("Make", "Model", "LensModel", "DateTimeOriginal", "DateTime", "Software", "Artist")

_EXIF_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError, EOFError, MemoryError, struct.error),
)
"""What Pillow's readers raise on damaged EXIF data."""

LIMITS = """\
The outcome is the output of a statistical classifier. It is not proof: neither that a photograph \
is genuine nor that it was made by a machine.
Error rates are measured on held-out images of the head's own training data. Images of other \
cameras, services or generators can be called wrongly much more often. This report does not say \
how the head does on generators that it was not trained on.
The probability assumes as many fakes as in the training data. Where fakes are rare, most images \
that are called fake can be real, also at a small false-positive rate.
With many photographs some real ones are expected to be called fake: the number of photographs \
times the false-positive rate.
Inconclusive means that the image lies outside the training distribution, or that more than 5 % of \
the held-out images of the other class have such a score.
The classifier sees only the outlined parts. It does not find local edits, and saving a photograph \
again, resizing it or sending it through a service can change the outcome.
EXIF data are copied from the file. Anybody can change or remove them."""

_KINDS = {name: name for name in ("real", "fake", "inconclusive")} | {"none": "not scored"}


@dataclass(frozen=True)
class _Outcome:
    """What one head says about one photograph, in words."""

    head: str
    kind: str
    word: str
    headline: str
    probability: str
    sentences: list[str]


@dataclass(frozen=True, kw_only=True)
class _Photo:
    """One photograph on the page."""

    number: int
    path: str
    outcomes: list[_Outcome]
    facts: list[tuple[str, str]]
    caption: str = ""
    uri: str = ""
    width: int = 0
    height: int = 0
    stroke: float = 1
    boxes: Sequence[tuple[float, float, float, float]] = ()


def write_case(
    predictions: Sequence[Prediction],
    path: Path,
    *,
    heads: Mapping[str, SavedHead],
    error_rates: Mapping[str, ErrorRates | None],
    crops: str = "center",
    skipped: Sequence[Skipped] = (),
    command: str = "",
) -> Path:
    """Write a case report.

    Parameters
    ----------
    predictions : sequence of Prediction
        What a :class:`~featcache.Detector` returned, image by image and head by head.
    path : Path
        The file to write, whole or not at all.
    heads : mapping of str to SavedHead
        The detector's.
    error_rates : mapping of str to ErrorRates or None
        What its method of this name returned, for the same heads.
    crops : {"center", "tencrop", "grid"}
    skipped : sequence of Skipped
        Files that it passed over.
    command : str
        The command line that repeats the run.

    Returns
    -------
    Path
        The file, absolute.

    Raises
    ------
    MissingExtraError
        If a package of the extra ``viz`` is not installed.
    StoreError
        If the file cannot be written.
    """
    require_viz()
    from jinja2 import Environment, StrictUndefined

    n_heads = len(heads)
    groups = [predictions[i : i + n_heads] for i in range(0, len(predictions), n_heads)]
    numbered = track(enumerate(groups, 1), "case report", len(groups))
    photos = [_photo(heads, error_rates, crops, number, group) for number, group in numbered]
    counts = Counter(_KINDS[outcome.kind] for photo in photos for outcome in photo.outcomes[:1])
    counted = ", ".join(f"{n:,} {word}" for word, n in sorted(counts.items()))
    summary = f"{len(photos):,} image files: {counted or 'none'}; {len(skipped):,} other"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("featcache.reports").joinpath("case.html.jinja").read_text("utf-8")
    page = environment.from_string(template).render(
        title="Case report: real or generated",
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=__version__,
        summary=f"{summary} files passed over.",
        limits=LIMITS.splitlines(),
        toy=any(head.meta.get("toy") for head in heads.values()),
        heads=[
            {
                "name": escape_controls(Path(name).name),
                "facts": _head_facts(head, error_rates[name], crops, command),
            }
            for name, head in heads.items()
        ],
        several=n_heads > 1,
        photos=photos,
        skipped=[
            {"path": escape_controls(one.path), "reason": escape_controls(one.reason)}
            for one in skipped
        ],
    )
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
    return path.resolve()


def _photo(
    heads: Mapping[str, SavedHead],
    error_rates: Mapping[str, ErrorRates | None],
    crops: str,
    number: int,
    predictions: Sequence[Prediction],
) -> _Photo:
    first = predictions[0]
    outcomes = [
        _outcome(prediction, of_head, head)
        for prediction, of_head, head in zip(
            predictions, error_rates.values(), heads.values(), strict=True
        )
    ]
    path = escape_controls(first.path or "image in memory")
    try:
        data = read_bytes(first.path) if first.path else b""
    except OSError as error:
        facts = [("Cannot be read", escape_controls(error.strerror or str(error)))]
        return _Photo(number=number, path=path, outcomes=outcomes, facts=facts)
    facts = _file_facts(data)
    try:
        image = decode(data)
        keys = [key for head in heads.values() for key in head.feature_keys]
        if any(key["preprocessing"].get("decoding", {}).get("exif") == "rotate" for key in keys):
            image = apply_orientation(image)
    except ImageError:
        return _Photo(number=number, path=path, outcomes=outcomes, facts=facts)
    width, height = image.size
    framings = [frame(key, width, height, crops) for key in keys]
    known = [framing for framing in framings if framing and not first.problem]
    framing = min(known, key=lambda one: one.coverage) if known else Framing((), math.nan)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    boxes = [
        (left, top, right - left, bottom - top)
        for left, top, right, bottom in framing.boxes[:MOST_BOXES]
    ]
    caption = f"Outlined: the parts that the backbone saw, {format_percent(framing.coverage)}"
    return _Photo(
        number=number,
        path=path,
        outcomes=outcomes,
        facts=facts,
        caption=f"{caption} of the pixels." if boxes else "Which parts were seen is not known.",
        uri=f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}",
        width=width,
        height=height,
        stroke=max(width, height) / 300,
        boxes=boxes,
    )


def _outcome(prediction: Prediction, rates: ErrorRates | None, head: SavedHead) -> _Outcome:
    name = escape_controls(prediction.head)
    if prediction.problem:
        reason = escape_controls(prediction.problem)
        return _Outcome(name, "none", f"not scored: {reason}", f"Not scored: {reason}", "-", [])
    calibrated = not math.isnan(prediction.probability)
    probability = prediction.probability if calibrated else prediction.score
    threshold = prediction.probability_threshold if calibrated else prediction.threshold
    headline = {
        "real": "Prediction: real (a photograph)",
        "fake": "Prediction: fake (made by a generator)",
        "inconclusive": "Inconclusive",
    }[prediction.prediction]
    kind = "calibrated on held-out images" if calibrated else "not calibrated"
    sentences = [
        (
            f"Probability of fake: {format_probability(probability)} ({kind}); above"
            f" {threshold:.4g} an image is called fake."
        )
    ]
    if prediction.reason:
        sentences.append(f"Inconclusive because it is {escape_controls(prediction.reason)}.")
    if not math.isnan(prediction.p_real) and rates is not None:
        # p = (k + 1) / (n + 1): the count k is what a reader can check.
        n_above = round(prediction.p_real * (rates.n_real + 1) - 1)
        n_below = round(prediction.p_fake * (rates.n_fake + 1) - 1)
        sentences.append(
            f"{n_above:,} of {rates.n_real:,} held-out real images score at least as high;"
            f" {n_below:,} of {rates.n_fake:,} held-out fakes score at most as high."
        )
    sentences.append(describe_errors(rates))
    if math.isnan(prediction.typicality):
        sentences.append("Whether the head knows such images is not known.")
    else:
        sentences.append(
            f"Distance from the training images: {prediction.distance:.3g};"
            f" {format_percent(prediction.typicality)} of held-out training images lie at least as"
            " far out."
        )
    if prediction.n_crops > 1:
        sentences.append(
            f"Mean over {prediction.n_crops} crops, whose probabilities range from"
            f" {format_probability(prediction.probability_low)} to"
            f" {format_probability(prediction.probability_high)}. The error rates are those of one"
            " centre crop."
        )
    word = prediction.prediction
    return _Outcome(name, word, word, headline, format_probability(probability), sentences)


def format_probability(value: float) -> str:
    """Return a probability that never reads as certainty: ``"below 0.001"``, ``"0.934"``.

    Parameters
    ----------
    value : float in [0, 1]

    Returns
    -------
    str
    """
    if value < 0.001:
        return "below 0.001"
    return "above 0.999" if value > 0.999 else f"{value:.3f}"


def _head_facts(
    head: SavedHead, rates: ErrorRates | None, crops: str, command: str
) -> list[tuple[str, str]]:
    """Return where a head comes from, as rows of a table; what is not recorded is said."""
    meta, unknown = head.meta, "not recorded"
    train = meta.get("train")
    train = train if isinstance(train, dict) else {}
    generators = train.get("generators")
    trained = ", ".join(map(str, generators)) if isinstance(generators, list) else unknown
    if "n_real" in train:
        trained += f" ({train['n_real']:,} reals, {train['n_fake']:,} fakes)"
    versions = meta.get("versions")
    version = versions.get("featcache") if isinstance(versions, dict) else None
    rows = [("Kind", f"{meta.get('head', unknown)}, C = {meta.get('C', unknown)}")]
    if meta.get("toy"):
        rows.append(("Toy", str(meta["toy"])))
    if meta.get("source"):
        rows.append(("Imported from", str(meta["source"])))
    for key in head.feature_keys:
        preset = key.get("preprocessing", {}).get("preset", unknown)
        rows.append(("Features", str(key.get("backbone", unknown))))
        rows.append(("Weights of the backbone", str(key.get("weights", unknown))))
        rows.append(
            ("Preset, precision, view", f"{preset}, {key.get('precision')}, {key['view']['name']}")
        )
    rows += [
        ("Training set", trained),
        ("Saved", str(meta.get("saved", unknown))),
        ("featcache that trained it", str(version or unknown)),
        ("Crops of each photograph", crops),
        ("Errors", describe_errors(rates)),
    ]
    if command:
        rows.append(("Command", command))
    return [(name, escape_controls(value)[:1000]) for name, value in rows]


def _file_facts(data: bytes) -> list[tuple[str, str]]:
    """Return what a file says about itself, as text; nothing in it is trusted."""
    metadata = read_metadata(data)
    rows = [("SHA-256", hashlib.sha256(data).hexdigest()), ("Bytes", f"{len(data):,}")]
    if not metadata.format:
        return [*rows, ("Format", "no image that is read here")]
    rows.append(("Format", f"{metadata.format}, {metadata.width} x {metadata.height} pixels"))
    if metadata.jpeg_quality:
        rows.append(("JPEG quality", f"about {metadata.jpeg_quality} (from the tables)"))
    exif = _exif(data, metadata.format)
    rows += [(f"EXIF {name}", value) for name, value in exif]
    return rows if exif else [*rows, ("EXIF", "no camera, time or software in the file")]


def _exif(data: bytes, file_format: str) -> list[tuple[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[file_format]) as image:
                tags = image.getexif()
                both: dict[int, Any] = {**tags, **tags.get_ifd(ExifTags.IFD.Exif)}
    except _EXIF_ERRORS as error:
        return [("data", f"cannot be read: {escape_controls(str(error))[:MOST_TEXT]}")]
    numbers = {tag.name: tag.value for tag in ExifTags.Base}
    rows = [(name, both.get(numbers[name])) for name in (*EXIF_FIELDS, "Orientation")]
    return [
        (name, escape_controls(str(value).strip("\x00 "))[:MOST_TEXT])
        for name, value in rows
        if value not in (None, "")
    ]
