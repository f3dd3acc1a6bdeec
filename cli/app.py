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
    results,
    score,
    study,
    transfer,
)
from featcache.cli._options import PanelCommand

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


app.command("demo", cls=PanelCommand)(demo.demo)
app.add_typer(datasets.app, name="datasets")
app.add_typer(backbones.app, name="backbones")
app.command("config", cls=PanelCommand)(config.config)
app.command("trust", cls=PanelCommand)(config.trust)
app.command("extract", cls=PanelCommand)(extract.extract)
app.command("probe", cls=PanelCommand)(probe.probe)
app.command("ablate", cls=PanelCommand)(ablate.ablate)
app.command("transfer", cls=PanelCommand)(transfer.transfer)
app.command("efficiency", cls=PanelCommand)(transfer.efficiency)
app.add_typer(head.app, name="head")
app.command("run", cls=PanelCommand)(study.run)
app.command("finetune", cls=PanelCommand)(finetune.finetune)
app.command("score", cls=PanelCommand)(score.score)
app.command("report", cls=PanelCommand)(report.report)
app.add_typer(results.app, name="results")
app.command("compare", cls=PanelCommand)(results.compare)
app.command("embed", cls=PanelCommand)(embed.embed)
app.command("attend", cls=PanelCommand)(attend.attend)
app.command("spectra", cls=PanelCommand)(embed.spectra)
app.add_typer(cache.app, name="cache")
app.command("doctor", cls=PanelCommand)(doctor.doctor)
