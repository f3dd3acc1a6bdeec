"""``featcache attend``: where networks look."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out


def attend(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            metavar="A[,B...]",
            help="Backbones, drawn side by side. [default: those of --head]",
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="Show what pushes this head's score."),
    ] = None,
    target: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the pictures are put.")
    ] = Path("attend"),
    weights: opt.Weights = None,
    random_init: opt.RandomInit = None,
    preset: opt.Preset = None,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Draw attention, rollout and response of backbones over images."""
    from featcache.attention import AttendOptions
    from featcache.attention import attend as run
    from featcache.backbones import require_weights, resolve_all
    from featcache.errors import SettingsError
    from featcache.files import write_atomic
    from featcache.probes.saved_head import load_head
    from featcache.reports.exhibits import attention_exhibit, save_exhibit
    from featcache.reports.export import json_ready
    from featcache.settings import load_settings, split_all

    out.start_logging(verbose, quiet)
    given = load_head(head) if head else None
    names = split_all(backbone)
    if given is not None:  # it knows what it was trained on
        names = names or [str(key.get("backbone")) for key in given.feature_keys]
        presets = {key.get("preprocessing", {}).get("preset") for key in given.feature_keys}
        preset = preset or (str(presets.pop()) if len(presets) == 1 else None)
    settings = load_settings(cache=cache, backbone=names, preset=preset)
    if not settings.backbone:
        raise SettingsError("No backbone was named. Say which: featcache attend --backbone NAME")
    specs = resolve_all(settings.backbone, weights or [], random_init)
    require_weights(specs)
    options = AttendOptions(preset=settings.preset, head=given)
    attended = run(specs, images, options)
    files = save_exhibit(target, attention_exhibit(attended))
    document = {"images": [one.to_dict() for one in attended]}
    files.append(target / "attend.json")
    write_atomic(files[-1], json_module.dumps(json_ready(document)).encode())
    if json:
        out.print_json({**document, "files": [str(file.resolve()) for file in files]})
        return
    for file in files:
        out.print_message(f"Written: {file}")
