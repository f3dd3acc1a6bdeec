"""What an audit of the data says, as a part of a report."""

from __future__ import annotations

from featcache.audit import AuditResult
from featcache.reports.formatting import Estimate, escape_controls
from featcache.reports.tables.base import Cell, Column, Part, Section, Table, TableRow


def audit_part(result: AuditResult, *, anchor: str = "audit") -> Part:
    """Return whether the data can be solved without looking at the pictures.

    Parameters
    ----------
    result : AuditResult
        Result of the audit.
    anchor : str
        Identifier of the part in the page.

    Returns
    -------
    Part
        Whether the data can be solved without looking at the pictures.
    """
    trust = "Nothing was found" if result.trusted else "Something was found"
    view = (
        "" if result.view == "clean" else f" seen through the view {escape_controls(result.view)}"
    )
    remedy = (
        f" The view {escape_controls(result.remedy)} removes the shortcuts."
        if result.remedy
        else ""
    )
    return Part(
        anchor=anchor,
        heading="Audit of the data",
        finding=(
            f"{trust} that makes results on these {result.n_images:,} images{view}"
            f" doubtful.{remedy}"
        ),
        tables=(_table(result),),
        notes=tuple(map(escape_controls, result.sentences)),
        facts=(
            ("Equal files in training and test", f"{result.duplicates.n_leaks:,}"),
            ("Nearly equal ones", f"{result.duplicates.n_near_leaks:,}"),
            ("Photographs in both", f"{result.duplicates.n_shared_sources:,}"),
            ("Files that cannot be used", f"{len(result.corrupt):,}"),
        ),
    )


def _table(result: AuditResult) -> Table:
    columns = (
        Column(key="name", label="Generator"),
        Column(key="n_real", label="n real", kind="count"),
        Column(key="n_fake", label="n fake", kind="count"),
        Column(key="auroc", label="AUROC of the files' facts", kind="percent"),
        Column(key="verdict", label="Verdict"),
        Column(key="feature", label="What gives it away"),
        Column(key="real", label="Reals"),
        Column(key="fake", label="Fakes"),
    )
    rows = []
    for name, audit in result.generators.items():
        low, high = audit.auroc_ci or (float("nan"), float("nan"))
        cells: dict[str, Cell] = {
            "name": escape_controls(name),
            "n_real": audit.n_real,
            "n_fake": audit.n_fake,
            "auroc": None if audit.auroc is None else Estimate(audit.auroc, low, high),
            "verdict": audit.verdict,
            "feature": escape_controls(audit.feature),
            "real": escape_controls(audit.real),
            "fake": escape_controls(audit.fake),
        }
        rows.append(TableRow(cells=cells))
    return Table(
        name="audit",
        caption=(
            "Can reals and fakes be told apart by format, size and JPEG quality alone? AUROC in"
            " percent of a decision tree on these facts, 50 is no."
        ),
        columns=columns,
        sections=(Section(rows=tuple(rows)),),
    )
