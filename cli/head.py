"""``featcache head``: saved heads from and to UnivFD's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out

app = typer.Typer(no_args_is_help=True, help="Saved heads: show, import, export.")

File = Annotated[Path, typer.Argument(metavar="FILE")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")]


@app.command("show")
def show(path: File, json: opt.Json = False) -> None:
    """Say what a saved head is for and where it comes from."""
    from featcache.probes import load_head

    head = load_head(path)
    about = {
        "n_features": head.n_features,
        "widths": head.widths,
        "threshold": head.threshold,
        "l2": head.l2,
        "features": [key.get("backbone") for key in head.feature_keys],
        "meta": dict(head.meta),
    }
    if json:
        out.print_json(about)
    else:
        out.print_table(["field", "value"], [[name, str(value)] for name, value in about.items()])


@app.command("import")
def import_(
    path: File,
    target: Out,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="NAME",
            help="Feature that the head was trained on; without it the head cannot be used yet.",
        ),
    ] = None,
    cache: opt.Cache = None,
    preset: opt.Preset = None,
    precision: opt.Precision = None,
    json: opt.Json = False,
) -> None:
    """Turn a published linear head (UnivFD's fc_weights.pth, .npz) into a head of ours."""
    from dataclasses import replace

    from featcache.detect.univfd_format import import_fc_weights
    from featcache.errors import DataError

    head = import_fc_weights(path)
    if features:
        from featcache.backbones import default_preset
        from featcache.cache import FeatureStore
        from featcache.evaluate import ProbeOptions
        from featcache.evaluate.data import find_keys
        from featcache.settings import load_settings

        store = FeatureStore(load_settings(cache=cache).cache)
        options = ProbeOptions(
            features=[features],
            wanted={"preset": preset or default_preset(features), "precision": precision},
        )
        (key,) = find_keys(store, options)
        width = store.summary(key).n_features
        if width != head.n_features:
            raise DataError(
                f"{path} is for {head.n_features:,} features, and {features!r} has {width:,}."
            )
        meta = {**head.meta, "features": [features]}
        head = replace(head, feature_keys=[dict(key.fields)], meta=meta)
    saved = head.save(target)
    out.print_message(f"Head: {saved}")
    if json:
        out.print_json({"head": str(saved), "n_features": head.n_features})


@app.command("export")
def export(path: File, target: Out, json: opt.Json = False) -> None:
    """Write a head as UnivFD's validate.py loads it."""
    from featcache.detect.univfd_format import export_fc_weights
    from featcache.probes import load_head

    saved = export_fc_weights(load_head(path), target)
    out.print_message(f"Weights: {saved}")
    if json:
        out.print_json({"weights": str(saved)})
