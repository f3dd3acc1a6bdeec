"""``featcache cache export``, ``import`` and ``import-features``: features that leave a store and
come into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped
from featcache.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which features of a store."""

    features: Annotated[
        str, typer.Option("--features", metavar="A[,B...]", help="The features to export.")
    ]
    cache: opt.Cache = None
    preset: opt.Preset = None
    precision: opt.Precision = None
    dtype: opt.KeptDtype = None
    weights: opt.KeptWeights = None
    view: Annotated[str, typer.Option("--view", metavar="V[,...]", help="Of the images.")] = "clean"


@grouped
def export(
    *,
    selection: ExportOptions,
    target: Annotated[
        Path | None,
        typer.Option("--out", metavar="F.npz|F.npy|F.parquet", help="Arrays and their rows."),
    ] = None,
    pack: Annotated[
        Path | None, typer.Option("--pack", metavar="F", help="A pack for 'cache import'.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Note that travels with a pack.")
    ] = "",
    intersection: Annotated[
        bool,
        typer.Option("--intersection", help="Leave out samples that lack one of the features."),
    ] = False,
    output: opt.OutputOptions,
) -> None:
    """Write features with their samples: arrays for notebooks, or a pack to publish."""
    from featcache.cache import FeatureStore
    from featcache.datasets import load_manifests
    from featcache.evaluate import export_arrays
    from featcache.evaluate.export import export_features
    from featcache.settings import load_settings

    output.start()
    if (target is None) == (pack is None):
        raise SettingsError(
            "Say either --out F.npz, F.npy or F.parquet (arrays and their rows), or --pack F."
        )
    root = load_settings(cache=selection.cache).cache
    store = FeatureStore(root)
    # The keys of the features that were named, in every view.
    from featcache.evaluate import ProbeOptions
    from featcache.evaluate.data import find_keys
    from featcache.settings import split_names
    from featcache.views import parse_views

    weights: dict[str, Any] = {"weights": selection.weights or {}}  # parsed by the options
    probe_options = ProbeOptions(
        features=split_names(selection.features),
        wanted={
            "preset": selection.preset,
            "precision": selection.precision,
            "dtype": selection.dtype,
        },
        **weights,
    )
    keys = [
        key
        for view in parse_views(selection.view)
        for key in find_keys(store, probe_options, view.name)
    ]
    manifest = load_manifests(root)
    if pack is not None:
        n_bytes = export_features(store, keys, manifest, pack, licence=licence)
        document = {"pack": str(pack.resolve()), "n_bytes": n_bytes, "n_keys": len(keys)}
        text = f"{pack}: {len(keys)} kinds of features, {n_bytes / 1e6:,.1f} MB"
    elif target is not None:
        written = export_arrays(manifest, store, keys, target, intersection=intersection)
        document = {
            "out": str(written.files[0]),
            "files": [str(file) for file in written.files],
            "n_rows": written.n_rows,
            "n_features": sum(written.arrays.values()),
            "arrays": written.arrays,
        }
        widths = ", ".join(f"{name} ({width:,})" for name, width in written.arrays.items())
        text = f"{', '.join(map(str, written.files))}: {written.n_rows:,} rows, columns {widths}"
    if output.json:
        out.print_json(document)
    else:
        out.print_rich(text)


def import_(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="A feature pack.")],
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check a feature pack whole, then add what the store lacks."""
    from featcache.cache import FeatureStore, describe
    from featcache.evaluate.export import import_features
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    root = load_settings(cache=cache).cache
    imported = import_features(FeatureStore(root), pack)
    if json:
        keys = [key.fingerprint for key in imported.keys]
        document = {**vars(imported), "keys": keys, "manifests": sorted(imported.manifests)}
        out.print_json(document)
        return
    for key in imported.keys:
        out.print_rich(describe(key))
    out.print_rich(
        f"{imported.n_shards:,} shards added to {root}, {imported.n_known:,} were there; "
        f"data sets: {', '.join(sorted(imported.manifests)) or 'none'}"
    )
    if imported.licence:
        out.print_rich(f"Licence: {imported.licence}")


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How the rows of imported features are read."""

    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="TABLE",
            help=(
                "CSV, TSV, JSON Lines or Parquet with a row for each vector: path or id, label, "
                "generator, split, source. [default: what came along]"
            ),
        ),
    ] = None
    column: opt.Column = None
    label: opt.Label = None
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="Data set. [default: the table's name]")
    ] = ""
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder of relative paths. [default: the table's]"
        ),
    ] = None
    hash_images: Annotated[
        bool,
        typer.Option(
            "--hash-images/--no-hash-images",
            help="Identify rows by the content of image files that are there.",
        ),
    ] = True
    workers: opt.Workers = None


@grouped
def import_features(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FEATURES",
            help=(
                ".npy, .npz, .pt, .safetensors, .parquet or .arrow; or a folder of thingsvision, "
                "clip-retrieval or CLIP_benchmark."
            ),
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="The features become NAME#foreign.")
    ],
    table: RowOptions,
    array: Annotated[
        str, typer.Option("--array", metavar="NAME", help="Array or column, where several are.")
    ] = "",
    cache: opt.Cache = None,
    output: opt.OutputOptions,
) -> None:
    """Bring features that another program made, with a table of their rows, into the store."""
    from featcache.cache import FeatureStore
    from featcache.cli._data import maps
    from featcache.datasets.evidence import LabelMap
    from featcache.extract import ForeignOptions, import_foreign
    from featcache.settings import load_settings

    output.start()
    settings = load_settings(cache=cache, workers=table.workers, **maps(table.column, table.label))
    options = ForeignOptions(
        name=name,
        rows=table.rows,
        dataset=table.dataset,
        images=table.images,
        array=array,
        hash_images=table.hash_images,
        mapping=LabelMap(settings.columns, {k.lower(): v for k, v in settings.labels.items()}),
        test_fraction=settings.test_fraction,
        groups=settings.groups,
        workers=settings.workers,
    )
    imported = import_foreign(FeatureStore(settings.cache), source, options)
    if output.json:
        out.print_json({**vars(imported), "key": imported.key.fingerprint})
        return
    out.print_rich(
        f"{imported.feature}: {imported.n_written:,} of {imported.n_samples:,} images with "
        f"{imported.n_features:,} columns added ({imported.form}); {imported.n_known:,} were there"
    )
    for note in imported.notes:
        out.print_message(note)
    data = f" --data {imported.dataset}" if imported.dataset else ""
    out.print_message(f"Next: featcache probe --features '{imported.feature}'{data}")
