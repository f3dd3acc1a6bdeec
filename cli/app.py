"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache._version import __version__
from featcache.cli import (
    ablate,
    attend,
    backbones,
    cache,
    config,
    datasets,
    demo,
    doctor,
    embed,
    extract,
    finetune,
    head,
    probe,
    report,
    score,
    study,
    transfer,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Run frozen vision backbones once over real and generated images; probe their features in"
        " seconds."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featcache {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command("demo")(demo.demo)
app.add_typer(datasets.app, name="datasets")
app.add_typer(backbones.app, name="backbones")
app.command("config")(config.config)
app.command("trust")(config.trust)
app.command("extract")(extract.extract)
app.command("probe")(probe.probe)
app.command("ablate")(ablate.ablate)
app.command("transfer")(transfer.transfer)
app.command("efficiency")(transfer.efficiency)
app.add_typer(head.app, name="head")
app.command("run")(study.run)
app.command("finetune")(finetune.finetune)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("embed")(embed.embed)
app.command("attend")(attend.attend)
app.command("spectra")(embed.spectra)
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)
