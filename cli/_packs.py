"""``featcache cache export`` and ``import``: features that leave a store and come into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.errors import SettingsError


def export(
    features: Annotated[
        str, typer.Option("--features", metavar="A[,B...]", help="The features to export.")
    ],
    target: Annotated[
        Path | None, typer.Option("--out", metavar="F.npz", help="Arrays of one feature.")
    ] = None,
    pack: Annotated[
        Path | None, typer.Option("--pack", metavar="F", help="A pack for 'cache import'.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Note that travels with a pack.")
    ] = "",
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write features with their samples: arrays for notebooks, or a pack to publish."""
    from featcache.backbones import names
    from featcache.cache import FeatureStore
    from featcache.datasets import load_manifests
    from featcache.evaluate import export_npz
    from featcache.evaluate.packs import export_features
    from featcache.settings import load_settings

    out.start(verbose, quiet)
    if (target is None) == (pack is None):
        raise SettingsError("Say either --out F.npz (arrays of one feature) or --pack F.")
    root = load_settings(cache=cache).cache
    store = FeatureStore(root)
    keys = [
        store.find(names.canonical(name.strip()), preset=preset, precision=precision)
        for name in features.split(",")
    ]
    manifest = load_manifests(root)
    if pack is not None:
        n_bytes = export_features(store, keys, manifest, pack, licence=licence)
        document = {"pack": str(pack.resolve()), "n_bytes": n_bytes, "n_keys": len(keys)}
        text = f"{pack}: {len(keys)} kinds of features, {n_bytes / 1e6:,.1f} MB"
    elif target is not None:
        if len(keys) > 1:
            raise SettingsError("--out takes one feature; --pack takes several.")
        shape = export_npz(manifest, store, keys[0], target)
        document = {"out": str(target.resolve()), "n_rows": shape[0], "n_features": shape[1]}
        text = f"{target}: {shape[0]:,} rows x {shape[1]:,} features"
    if json:
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
    from featcache.evaluate.packs import import_features
    from featcache.settings import load_settings

    out.start(verbose, quiet)
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
