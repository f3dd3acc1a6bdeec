"""Reports of saved results: find them, build one report of them, write it in every format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featcache.audit import read_audit
from featcache.errors import DataError, SettingsError
from featcache.evaluate import load_result, load_scores
from featcache.evaluate.results_store import FOLDER, RESULT_FILE, find_result
from featcache.files import write_atomic
from featcache.reports.exhibits import load_exhibit
from featcache.reports.export import FORMATS, write_tables
from featcache.reports.formatting import escape_controls
from featcache.reports.html import figures_of, write_page
from featcache.reports.report import Report, probe_part, result_part
from featcache.reports.tables.audit import audit_part
from featcache.reports.tables.base import Part
from featcache.reports.tables.comparison import compared_part
from featcache.results import EvalResult, Scores


def find_results(cache: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of saved results.

    Parameters
    ----------
    cache : Path
        The store, in whose ``results`` digests are looked up.
    names : sequence of str
        As for :func:`~featcache.evaluate.results_store.find_result`; empty means the newest result.

    Returns
    -------
    list[Path]
        The folders of saved results.

    Raises
    ------
    DataError
        If there is none of a name, or several.
    """
    if names:
        return [find_result(cache, name) for name in names]
    saved = sorted((cache / FOLDER).glob(f"*/{RESULT_FILE}"), key=lambda p: p.stat().st_mtime)
    if not saved:
        raise DataError(
            f"{cache} holds no results. Make one with 'featcache probe' or 'featcache ablate'."
        )
    return [saved[-1].parent]


def load_runs(cache: Path, names: Sequence[str]) -> dict[str, tuple[EvalResult, Scores]]:
    """Return saved probes with their scores, by what to call them.

    Parameters
    ----------
    cache : Path
        The store.
    names : sequence of str
        As for :func:`~featcache.evaluate.results_store.find_result`; at least two.

    Returns
    -------
    dict of str to (EvalResult, Scores)
        In the order of ``names``, by these names.

    Raises
    ------
    DataError
        If there is none of a name, or it is no probe.
    SettingsError
        If there are fewer than two.
    """
    runs = {name: load_run(cache, name) for name in names}
    if len(runs) < 2:
        raise SettingsError("A comparison takes two probes or more: featcache compare A B")
    return runs


def load_run(cache: Path, name: str) -> tuple[EvalResult, Scores]:
    """Return a saved probe with its scores.

    Parameters
    ----------
    cache : Path
        The store.
    name : str
        As for :func:`~featcache.evaluate.results_store.find_result`.

    Returns
    -------
    (EvalResult, Scores)

    Raises
    ------
    DataError
        If there is none of this name, or it is no probe.
    """
    folder = find_result(cache, name, probes=True)
    result = load_result(folder)
    if not isinstance(result, EvalResult):
        raise DataError(f"{name!r} is no probe, and only probes are compared.")
    return result, load_scores(folder)


def build_report(
    folders: Sequence[Path],
    *,
    compare: bool = False,
    exhibits: Sequence[Path] = (),
    audit: Path | None = None,
    title: str = "",
    command: str = "",
) -> Report:
    """Return one report of saved results, a part for each.

    Parameters
    ----------
    folders : sequence of Path
    compare : bool
        Put the two runs side by side before their parts.
    exhibits : sequence of Path
        Folders that ``embed``, ``attend`` or ``spectra`` wrote.
    audit : Path, optional
        What ``datasets audit`` wrote; shown last.
    title : str
    command : str

    Returns
    -------
    Report
        One report of saved results, a part for each.

    Raises
    ------
    DataError
        If a folder holds no result.
    SettingsError
        If a comparison was asked for of other than two probe runs.
    """
    parts: list[Part] = []
    runs: list[tuple[EvalResult, Scores]] = []
    for number, folder in enumerate(folders, 1):
        result = load_result(folder)
        if isinstance(result, EvalResult):
            runs.append((result, load_scores(folder)))
            parts.append(probe_part(*runs[-1], anchor=f"r{number}"))
        else:
            parts.append(result_part(result, anchor=f"r{number}"))
    if compare:
        if len(runs) != 2 or len(parts) != 2:
            raise SettingsError("--compare takes two probe runs: featcache report --compare A B")
        parts.insert(0, compared_part(*runs, names=_names(runs)))
    if audit is not None:
        parts.append(audit_part(read_audit(audit)))
    return Report(
        title=escape_controls(title or parts[0].heading),
        command=command,
        parts=tuple(parts),
        exhibits=tuple(load_exhibit(folder) for folder in exhibits),
    )


def write_all(report: Report, folder: Path, formats: Sequence[str] = ()) -> list[Path]:
    """Write a report in every format that was asked for (all by default); return the files.

    Parameters
    ----------
    report : Report
        Report as plain data.
    folder : Path
        Folder that is read or written.
    formats : Sequence[str]
        Formats to write; empty for all.

    Returns
    -------
    list[Path]

    Raises
    ------
    SettingsError
        If a setting or a flag is not valid.
    """
    chosen = list(formats) or list(FORMATS)
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise SettingsError(
            f"There is no report format {unknown[0]!r}. Known: {', '.join(FORMATS)}."
        )
    files = [write_page(report, folder / "report.html")] if "html" in chosen else []
    files += write_tables(report, folder, [n for n in chosen if n not in ("html", "svg")])
    if "svg" in chosen:
        for name, text in figures_of(report).items():
            files.append(folder / "figures" / f"{name}.svg")
            write_atomic(files[-1], text.encode("utf-8"))
    return files


def _names(runs: Sequence[tuple[EvalResult, Scores]]) -> tuple[str, str]:
    """Return what to call two runs: their features, and what else tells them apart."""
    first, second = (" + ".join(result.features) for result, _ in runs)
    if first != second:
        return first, second
    trained = [", ".join(result.train.generators) for result, _ in runs]
    if trained[0] != trained[1]:
        return f"{first} on {trained[0]}", f"{second} on {trained[1]}"
    heads = [f"{result.head} C = {result.C:g}" for result, _ in runs]
    if heads[0] != heads[1]:
        return f"{first}, {heads[0]}", f"{second}, {heads[1]}"
    return f"{first} ({runs[0][0].digest[:8]})", f"{second} ({runs[1][0].digest[:8]})"
