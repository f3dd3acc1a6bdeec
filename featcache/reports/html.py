"""The report as one page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from featcache.files import write_atomic
from featcache.reports.extras import require_viz
from featcache.reports.pictures import Thumbnail, thumbnail
from featcache.reports.samples import Mistake, Mistakes
from featcache.reports.summarize import Summary, summarize
from featcache.reports.words import join, visible
from featcache.results import EvalResult, Scores

_FOLDER = "featcache.reports"


@dataclass(frozen=True)
class _Card:
    """A mistake with its picture."""

    mistake: Mistake
    picture: Thumbnail
    file: str
    path: str


def write_report(
    result: EvalResult, scores: Scores, path: Path, *, title: str, command: str = ""
) -> Path:
    """Write what a probe run found as one self-contained HTML file.

    Parameters
    ----------
    result : EvalResult
    scores : Scores
        The scores that ``result`` was computed from; the pictures of the worst mistakes are read from
        their paths, and one that cannot be read is shown as its reason.
    path : Path
        The file to write, whole or not at all.
    title : str
    command : str
        The command line that repeats the run.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    MissingExtraError
        If Jinja2 or matplotlib is not installed.
    StoreError
        If the file cannot be written.
    """
    require_viz()
    page = _render(result, summarize(result, scores), title, command)
    # Whatever still is not Unicode (a title, a key) is shown by its escape rather than lost.
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
    return path


def _render(result: EvalResult, summary: Summary, title: str, command: str) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text("report.html.jinja")).render(
        title=visible(title),
        summary=summary,
        cards=[(mistakes.name, _cards(mistakes)) for mistakes in summary.mistakes],
        facts=_facts(result),
        keys=[json.dumps(key, indent=2, ensure_ascii=False, default=str) for key in result.keys],
        command=command,
        **_markup(summary),
    )


def _markup(summary: Summary) -> Mapping[str, Any]:
    """Return the parts that are markup already: the style sheet and the figures."""
    from markupsafe import Markup

    from featcache.reports.figures import ap_chart, score_histograms

    chart = ap_chart((*summary.rows, *summary.controls))
    panels = score_histograms(summary.histograms, summary.threshold)
    return {
        "css": Markup(_text("report.css")),
        "chart": Markup(chart),
        "panels": list(zip(summary.histograms, map(Markup, panels), strict=True)),
    }


def _text(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text("utf-8")


def _cards(mistakes: Mistakes) -> list[_Card]:
    return [
        _Card(
            sample,
            thumbnail(sample.path),
            visible(Path(sample.path).name),
            visible(sample.path),
        )
        for sample in mistakes.samples
    ]


def _facts(result: EvalResult) -> list[tuple[str, str]]:
    train = result.train
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    facts = [
        ("Features", f"{' + '.join(result.features)} ({result.n_features:,} numbers per image)"),
        ("Trained on", join(train.generators)),
        ("Datasets", join(train.datasets)),
        ("Training images", f"{train.n_real:,} real and {train.n_fake:,} fake"),
        ("Training sources", f"{train.n_sources:,} independent photographs"),
        ("C", f"{result.C:g}"),
        ("Threshold", f"{result.threshold:g}"),
        ("Versions", versions),
    ]
    return [(name, visible(value)) for name, value in facts if value]
