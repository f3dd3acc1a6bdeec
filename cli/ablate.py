"""``featcache ablate``: every subset of features, compared in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _probing as probing
from featcache.cli._data import grouped

if TYPE_CHECKING:
    from featcache.results import AblationResult


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Which feature sets are compared, and how."""

    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features", metavar="A,B[,...]", help="Features; all their subsets are fitted."
        ),
    ] = None
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", metavar="A,B", help="Only this one; may be repeated."),
    ] = None
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", metavar="A[,B]", help="What to compare with. [default: the first]"
        ),
    ] = ""
    sort: Annotated[
        str, typer.Option("--sort", metavar="METRIC", help="mAP, auroc, bacc, eer, ...")
    ] = "mAP"


@grouped
def ablate(
    *,
    sets: Sets,
    heads: probing.HeadOptions,
    fusion: probing.Fusion = "concat",
    samples: opt.SampleOptions,
    reading: probing.ReadOptions,
    dry_run: probing.DryRun = False,
    csv: probing.Csv = None,
    output: opt.OutputOptions,
) -> None:
    """Fit every subset of features x C in one solve, and say which differ from the best single one.

    Several heads and test views (--head logistic,knn) and a repeated --train or --train-view
    each add rows: subsets x training sets x views x heads in one table.
    """
    from featcache.cache import FeatureStore
    from featcache.cli._data import load_selection
    from featcache.evaluate import AblateOptions, forecast_ablation, write_ablation_csv
    from featcache.evaluate import ablate as run
    from featcache.settings import split_names

    output.start()
    settings = probing.load(sets.features, heads, samples, reading)
    options = AblateOptions(
        probe=probing.options(settings, heads, reading, fusion=fusion),
        heads=split_names(heads.head),
        train_sets=[split_names(text) for text in heads.train or ()],
        train_views=[split_names(text) for text in heads.train_view or ()],
        subsets=[split_names(text) for text in sets.subset or ()],
        baseline=split_names(sets.baseline),
        sort=sets.sort,
        kept=reading.results,
    )
    manifest, store = load_selection(settings), FeatureStore(settings.cache)
    if dry_run:
        probing.show_forecast(forecast_ablation(manifest, store, options), output.json)
        return
    result = run(manifest, store, options)
    probing.save_if_possible(settings, reading, result)
    if csv:
        out.print_message(f"Table: {write_ablation_csv(result, csv)}")
    if output.json:
        out.print_json(result.to_dict())
    else:
        _print(result)


def _print(result: AblationResult) -> None:
    from featcache.reports.tables.ablation import contribution_table, summary_table
    from featcache.reports.terminal import terminal_table

    for table in (summary_table(result), contribution_table(result)):
        if table is not None:
            out.print_rich(terminal_table(table, whole="--csv F.csv, --json"), "")
    for note in result.notes:
        out.print_message(f"- {note}")
