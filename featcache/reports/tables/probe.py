"""The tables of a probe run beside the main ones: views, C, confusion, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featcache.reports.formatting import Estimate, escape_controls, format_number
from featcache.reports.score_plots import Confusion, ReliabilityBin
from featcache.reports.tables.base import Cell, Column, Section, Table, TableRow
from featcache.reports.tables.generators import NAME, generator_table, group_table, more_table
from featcache.results import EvalResult, GeneratorResult, Interval, ViewResult


def selection_notes(result: EvalResult) -> list[str]:
    """Return what a reader must know of how C was chosen.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    list of str
        Sentences: that validation could not tell values of C apart, that C lies on the grid's edge.
    """
    chosen = result.selection
    if chosen is None or len(chosen.path) < 2:
        return []
    notes = []
    if chosen.n_tied > 1:
        best = max(point.score for point in chosen.path)
        notes.append(
            f"Validation cannot tell {chosen.n_tied} of {len(chosen.path)} values of C apart"
            f" ({chosen.metric.upper()} {100 * best:.1f}): the one with the lowest log loss was"
            " chosen."
        )
    if chosen.at_edge and chosen.n_tied:
        notes.append(
            f"C = {format_number(chosen.C)} lies on the edge of the grid: a better value may lie"
            " beyond it (--C X,Y,... names others)."
        )
    return notes


def probe_tables(
    result: EvalResult, confusions: Sequence[Confusion], bins: Sequence[ReliabilityBin]
) -> tuple[Table, ...]:
    """Return every table that the result has data for, in the order of the report.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.
    confusions : Sequence[Confusion]
        Confusion counts of each test set.
    bins : Sequence[ReliabilityBin]
        Bins of the reliability diagram.

    Returns
    -------
    tuple[Table, ...]
        Every table that the result has data for, in the order of the report.
    """
    tables = (
        generator_table(result),
        more_table(result),
        group_table(result),
        prior_table(result),
        view_table(result),
        path_table(result),
        confusion_table(confusions, result.threshold),
        reliability_table(bins),
    )
    return tuple(table for table in tables if table is not None)


def path_table(result: EvalResult) -> Table | None:
    """Return the validation score at each C; None where C was given.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table | None
        The validation score at each C.
    """
    if result.selection is None:
        return None
    chosen = result.selection
    columns = (
        Column(key="name", label="C", kind="number"),
        Column(key="score", label=f"Validation {chosen.metric}", kind="percent"),
        Column(key="standard_error", label="Standard error", kind="percent"),
        Column(key="gap", label="Duality gap", kind="number", help="relative, at most"),
    )
    rows = tuple(
        TableRow(
            cells={
                "name": point.C,
                "score": point.score,
                "standard_error": point.standard_error,
                "gap": point.certificate.gap if point.certificate else None,
            },
            role="chosen" if point.C == chosen.C else "",
        )
        for point in chosen.path
    )
    return Table(
        name="C",
        caption=(
            f"How C was chosen: validation {chosen.metric} over {chosen.n_folds}"
            f" {'fold' if chosen.n_folds == 1 else 'folds'} by {chosen.split_by}; no test sample is"
            f" in them. Chosen: C = {chosen.C:g}."
        ),
        columns=columns,
        sections=(Section(rows=rows),),
    )


def confusion_table(confusions: Sequence[Confusion], threshold: float) -> Table:
    """Return what is called what at the threshold, per test set.

    Parameters
    ----------
    confusions : Sequence[Confusion]
        Confusion counts of each test set.
    threshold : float
        Threshold of the probability, between 0 and 1.

    Returns
    -------
    Table
        What is called what at the threshold, per test set.
    """
    keys = {
        "real_called_real": "Real, called real",
        "real_called_fake": "Real, called fake",
        "fake_called_real": "Fake, called real",
        "fake_called_fake": "Fake, called fake",
    }
    rows = tuple(
        TableRow(cells={"name": c.name} | {key: getattr(c, key) for key in keys})
        for c in confusions
    )
    columns = (NAME, *(Column(key=k, label=v, kind="count") for k, v in keys.items()))
    return Table(
        name="confusion",
        caption=f"Samples called what, at threshold {threshold:g}.",
        columns=columns,
        sections=(Section(rows=rows),),
    )


def reliability_table(bins: Sequence[ReliabilityBin]) -> Table:
    """Return how often predicted probabilities come true.

    Parameters
    ----------
    bins : Sequence[ReliabilityBin]
        Bins of the reliability diagram.

    Returns
    -------
    Table
        How often predicted probabilities come true.
    """
    columns = (
        Column(key="bin", label="Predicted between"),
        Column(key="n", label="n", kind="count"),
        Column(key="predicted", label="Mean predicted", kind="percent"),
        Column(key="observed", label="Fakes among them", kind="percent"),
    )
    rows = tuple(
        TableRow(
            cells={
                "bin": f"{b.start:.1f} and {b.stop:.1f}",
                "n": b.n,
                "predicted": b.predicted,
                "observed": Estimate(b.observed, b.low, b.high),
            }
        )
        for b in bins
    )
    return Table(
        name="reliability",
        caption=(
            "Reliability of the predicted probability of fake, over all generators, in percent."
        ),
        columns=columns,
        sections=(Section(rows=rows),),
    )


def prior_table(result: EvalResult) -> Table | None:
    """Return AP as it would be at stated shares of fakes, beside AP; None where none was stated.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table | None
        AP as it would be at stated shares of fakes, beside AP.
    """
    if not result.at_priors:
        return None
    columns = (
        NAME,
        Column(key="ap", label="AP", kind="percent", help="at the test set's own share of fakes"),
        *(
            Column(key=p, label=f"at {100 * float(p):g} %", kind="percent")
            for p in result.at_priors
        ),
    )
    rows = tuple(
        _prior_row(result, name, escape_controls(name), own.ap, own.ap_ci)
        for name, own in result.generators.items()
    )
    mean = _prior_row(result, "mean", f"Mean of {len(rows)}", result.mAP, result.mAP_ci, "mean")
    return Table(
        name="priors",
        caption="AP if fakes were rarer or more frequent than in the test set, in percent.",
        columns=columns,
        sections=(Section(rows=rows), Section(rows=(mean,))),
    )


def _prior_row(
    result: EvalResult, key: str, name: str, ap: float, ap_ci: Interval, role: str = ""
) -> TableRow:
    cells: dict[str, Cell] = {"name": name, "ap": Estimate.of(ap, ap_ci)}
    for prior, values in result.at_priors.items():
        cells[prior] = Estimate.of(values[key].value, values[key].ci)
    return TableRow(cells=cells, role=role)


def view_table(result: EvalResult) -> Table | None:
    """Return the means under each further view, with AP per generator; None without views.

    Parameters
    ----------
    result : EvalResult
        Result of a probe.

    Returns
    -------
    Table | None
        The means under each further view, with AP per generator.
    """
    if not result.views:
        return None
    names = list(result.generators)
    columns = (
        Column(key="name", label="View"),
        Column(key="mAP", label="mAP", kind="percent"),
        Column(key="mean_acc", label="Mean acc", kind="percent"),
        *(
            Column(key=f"ap:{n}", label=escape_controls(n), kind="percent", shaded=True)
            for n in names
        ),
    )
    rows = [_view_row("clean", *_means(result), result.generators)]
    rows += [_view_row(v.view, *_means(v), v.generators) for v in result.views.values()]
    return Table(
        name="views",
        caption="The same head on the same test samples seen through each view: AP in percent.",
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
    )


def _means(result: EvalResult | ViewResult) -> tuple[Estimate, Estimate]:
    return (
        Estimate.of(result.mAP, result.mAP_ci),
        Estimate.of(result.mean_acc, result.mean_acc_ci),
    )


def _view_row(
    name: str, ap: Estimate, acc: Estimate, generators: Mapping[str, GeneratorResult]
) -> TableRow:
    cells: dict[str, Cell] = {"name": escape_controls(name), "mAP": ap, "mean_acc": acc}
    cells |= {f"ap:{key}": Estimate(metrics.ap) for key, metrics in generators.items()}
    return TableRow(cells=cells)
