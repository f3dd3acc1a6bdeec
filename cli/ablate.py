"""``featcache ablate``: every subset of features, compared in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli import _probing as probing

if TYPE_CHECKING:
    from featcache.results import AblationResult


def ablate(
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features", metavar="A,B[,...]", help="Features; all their subsets are fitted."
        ),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", metavar="A,B", help="Only this one; may be repeated."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="A[,B]", help="What to compare with. [default: the first]"
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="METRIC", help="mAP, auroc, bacc, eer, ...")
    ] = "mAP",
    train: probing.Train = None,
    C: probing.C = None,
    head: probing.Head = "logistic",
    scaling: probing.Scaling = "standardise",
    fusion: probing.Fusion = "concat",
    train_view: probing.TrainView = None,
    protocol: opt.Protocol = None,
    classes: opt.Classes = None,
    generators: opt.Generators = None,
    categories: opt.Categories = None,
    groups: opt.Groups = None,
    max_per_class: opt.MaxPerClass = None,
    memory: probing.Memory = None,
    data: opt.Data = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    intersection: probing.Intersection = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="F.csv", help="Write the table.")
    ] = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fit every subset of features x C in one solve, and say which differ from the best single one."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import filter_flags, load_selection
    from featcache.evaluate import AblateOptions, save_result
    from featcache.evaluate import ablate as run
    from featcache.settings import load_settings, split_all, split_names

    out.start(verbose, quiet)
    settings = load_settings(
        cache=cache,
        data=data,
        features=split_all(features),
        train=split_all(train),
        **filter_flags(generators, categories, groups, max_per_class, protocol, classes),
    )
    options = AblateOptions(
        probe=probing.options(
            settings,
            C=C,
            head=head,
            scaling=scaling,
            fusion=fusion,
            train_views=split_all(train_view),
            memory=memory,
            intersection=intersection,
            wanted={"preset": preset, "precision": precision},
        ),
        subsets=[split_names(text) for text in subset or ()],
        baseline=split_names(baseline or ""),
        sort=sort,
    )
    manifest = load_selection(settings)
    result = run(manifest, FeatureStore(settings.cache), options)
    out.say(f"Result: {save_result(settings.cache, result)}")
    if csv:
        _write_csv(result, csv)
    if json:
        out.print_json(result.to_dict())
    else:
        _print(result)


def _print(result: AblationResult) -> None:
    columns = ["features", "C", "mAP", "interval", "acc", "AUROC", "vs best single", "p (Holm)"]
    rows = []
    for row in result.rows:
        other = row.vs_best_single
        rows.append(
            [
                " + ".join(row.features),
                f"{row.C:g}",
                f"{100 * row.mAP:.1f}",
                f"[{100 * row.mAP_ci[0]:.1f}, {100 * row.mAP_ci[1]:.1f}]",
                f"{100 * row.mean_acc:.1f}",
                f"{100 * row.means['auroc'].value:.1f}",
                f"{100 * other.difference:+.1f}" if other else "-",
                f"{other.p_holm:.2g}" if other else "-",
            ]
        )
    out.print_table(columns, rows, right=columns[1:])
    if result.contributions:
        out.print_table(
            ["feature", "Shapley", "alone", "added last"],
            [
                [
                    each.feature,
                    f"{100 * each.shapley:+.1f}",
                    f"{100 * each.alone:.1f}",
                    f"{100 * each.last:+.1f}",
                ]
                for each in result.contributions
            ],
            right=["Shapley", "alone", "added last"],
        )
    for note in result.notes:
        out.say(f"- {note}")


def _write_csv(result: AblationResult, path: Path) -> None:
    from featcache.evaluate import write_ablation_csv

    out.say(f"Table: {write_ablation_csv(result, path)}")
