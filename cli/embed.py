"""``featcache embed`` and ``featcache spectra``: pictures of the feature space and of residuals."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

if TYPE_CHECKING:
    from featcache.datasets import Manifest
    from featcache.reports.tables.base import Exhibit
    from featcache.results.analysis import EmbeddingResult
    from featcache.settings import Settings

Split = Annotated[str, typer.Option("--split", help="Whose images: test, train, val or all.")]


def embed(
    features: Annotated[
        list[str] | None,
        typer.Option("--features", metavar="A[,B...]", help="Features, joined side by side."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="umap, pca, probe, tsne; a list. [default: umap,pca,probe]"),
    ] = None,
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the pictures are put.")
    ] = Path("embed"),
    split: Split = "test",
    most: Annotated[
        int, typer.Option("--max-per-class", help="Images per class and generator.", min=1)
    ] = 1000,
    pictures: Annotated[
        int, typer.Option("--pictures", help="Pictures in the interactive page.", min=0)
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of the maps.")] = 0,
    data: opt.Data = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    dtype: opt.KeptDtype = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Draw the feature space: UMAP, PCA and the probe's axis, with the numbers behind them."""
    from featcache.cache import FeatureStore
    from featcache.embed import EmbedOptions
    from featcache.embed import embed as run
    from featcache.reports.exhibits import map_exhibit
    from featcache.settings import load_settings, split_all

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache, data=data, features=split_all(features))
    options = EmbedOptions(
        features=settings.features or settings.backbone,
        methods=split_all(method) or ("umap", "pca", "probe"),
        split=split,
        most=most,
        wanted={"preset": preset, "precision": precision, "dtype": dtype},
        seed=seed,
    )
    result = run(_manifest(settings), FeatureStore(settings.cache), options)
    files = [*_write(target, map_exhibit(result)), *_maps(target, result, pictures)]
    if json:
        document = result.to_dict()
        for heavy in ("samples", "maps"):
            del document[heavy]
        out.print_json({**document, "files": [str(file.resolve()) for file in files]})
        return
    _show(result)
    for file in files:
        out.print_message(f"Written: {file}")


def spectra(
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the pictures are put.")
    ] = Path("spectra"),
    split: Split = "test",
    size: Annotated[int, typer.Option("--size", help="Side of the crop, pixels.", min=16)] = 128,
    most: Annotated[
        int, typer.Option("--max-per-class", help="Images per generator.", min=1)
    ] = 200,
    data: opt.Data = None,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Draw the mean residual spectrum of the reals and of every generator."""
    from featcache.embed.spectra import spectra as run
    from featcache.reports.exhibits import spectra_exhibit
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache, data=data)
    result = run(_manifest(settings), split=split, size=size, most=most)
    files = _write(target, spectra_exhibit(result))
    if json:
        out.print_json({**result.to_dict(), "files": [str(file.resolve()) for file in files]})
        return
    rows = [[s.name, f"{s.n:,}"] for s in result.spectra]
    out.print_table(["generator", "images"], rows, right={"images"})
    for file in files:
        out.print_message(f"Written: {file}")


def _manifest(settings: Settings) -> Manifest:
    from featcache.datasets import load_manifests
    from featcache.datasets.scan import dataset_name

    names = [dataset_name(root.resolve()) for root in settings.data]
    return load_manifests(settings.cache, names or None)


def _write(target: Path, exhibit: Exhibit) -> list[Path]:
    from featcache.reports.exhibits import save_exhibit

    return save_exhibit(target, exhibit)


def _maps(target: Path, result: EmbeddingResult, pictures: int) -> list[Path]:
    """Write the maps as SVG and JSON, and the interactive page."""
    from featcache.embed import METHODS
    from featcache.files import write_atomic
    from featcache.reports.export import json_ready
    from featcache.reports.figures.images import map_picture
    from featcache.reports.html import write_map

    files = []
    for method in METHODS:
        if method not in result.maps:  # of an earlier run
            (target / f"{method}.svg").unlink(missing_ok=True)
    for method in result.maps:
        files.append(target / f"{method}.svg")
        write_atomic(files[-1], map_picture(result, method, "svg"))
    files.append(target / "embed.json")
    write_atomic(files[-1], json_module.dumps(json_ready(result.to_dict())).encode())
    return [*files, write_map(result, target / "embed.html", most_pictures=pictures)]


def _show(result: EmbeddingResult) -> None:
    from featcache.reports.formatting import format_fraction

    columns = ["fakes", "n real", "n fake", "linear AUROC", "kNN purity", "silhouette"]
    rows = [
        [
            "all but controls" if s.kind == "all" else s.name,
            f"{s.n_real:,}",
            f"{s.n_fake:,}",
            *(format_fraction(value) for value in (s.auroc, s.purity, s.silhouette)),
        ]
        for s in result.separations
    ]
    out.print_table(columns, rows, right=set(columns[1:]))
