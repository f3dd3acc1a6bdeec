"""``featcache datasets``: find images, show what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli import _options as opt
from featcache.cli import _output as out
from featcache.cli._data import grouped
from featcache.files import printable

if TYPE_CHECKING:
    from featcache.audit import AuditResult

app = typer.Typer(no_args_is_help=True, help="Find images and show how many there are of what.")


@app.command()
def scan(
    roots: opt.Roots = None,
    cache: opt.Cache = None,
    layout: opt.Layout = None,
    source_pattern: opt.SourcePattern = None,
    column: opt.Column = None,
    label: opt.Label = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at images that are real here and fake there."),
    ] = False,
    workers: opt.Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be found, and write nothing.")
    ] = False,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the samples below each ROOT (a tree, a .tar, .zip, .parquet or a list) and keep them."""
    from featcache.cli._data import maps, scan_roots
    from featcache.datasets import count_rows, merge
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    settings = load_settings(
        cache=cache,
        data=roots,
        layout=layout,
        source_pattern=source_pattern,
        workers=workers,
        **maps(column, label),
    )
    scans = scan_roots(settings, dry_run, strict)
    rows = count_rows(merge(one.manifest for one in scans), settings.groups)
    more = {
        "skipped": _sum(one.skipped for one in scans),
        "layouts": _sum(one.layouts for one in scans),
        "notes": [note for one in scans for note in one.notes],
        "dry_run": dry_run,
    }
    _show(rows, more, json)
    if dry_run:
        out.print_message("Nothing was written (--dry-run).")


@app.command()
@grouped
def ls(
    *,
    data: opt.Data = None,
    cache: opt.Cache = None,
    samples: opt.SampleOptions,
    output: opt.OutputOptions,
) -> None:
    """Show what the manifests in the store hold, whole or as filters and protocol take it."""
    from featcache.cli._data import load_selection
    from featcache.datasets import count_rows
    from featcache.settings import load_settings

    output.start()
    settings = load_settings(cache=cache, data=data, **samples.settings())
    _show(count_rows(load_selection(settings), settings.groups), {}, output.json)


@app.command()
def explain(
    roots: opt.Roots = None,
    layout: opt.Layout = None,
    column: opt.Column = None,
    label: opt.Label = None,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show from which evidence the labels, generators and splits of each ROOT come; writes nothing.

    ROOT is a tree, a container, a list, or one image in a tree.
    """
    from featcache.cli._data import maps, roots_of
    from featcache.datasets.explain import explain_root
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    settings = load_settings(cache=cache, data=roots, layout=layout, **maps(column, label))
    documents = [explain_root(root, settings) for root in roots_of(settings)]
    if json:
        out.print_json({"roots": documents})
        return
    for document in documents:
        out.print_lines(document["root"])
        for line in document["evidence"]:
            out.print_lines(f"  {line['n_samples']:,} samples: {line['evidence']}")
        for row in document["examples"]:
            reading = f"{row['label']}; generator {row['generator']}; split {row['split']}"
            out.print_lines(f"  {reading}; layout {row['layout']}", f"    {row['path']}")
        for note in document["notes"]:
            out.print_message(f"Note: {note}")


@app.command()
def layouts(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the layouts that are recognised, in the order in which they are tried."""
    from featcache.datasets import describe_layouts

    _list("layouts", describe_layouts(), json, verbose, quiet)


@app.command()
def protocols(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the protocols: who trains, who is tested."""
    from featcache.datasets.protocols import describe_protocols

    _list("protocols", describe_protocols(), json, verbose, quiet)


@app.command()
def views(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the steps of which views are made (extract --view)."""
    from featcache.views import describe_steps

    _list("views", describe_steps(), json, verbose, quiet, ["usage", "summary"])


@app.command()
def audit(
    roots: opt.Roots = None,
    data: opt.Data = None,
    cache: opt.Cache = None,
    view: Annotated[
        str | None,
        typer.Option("--view", help="Judge the files as this view leaves them. [default: clean]"),
    ] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Decode nothing: no near duplicates, no view.")
    ] = False,
    max_per_class: Annotated[
        int, typer.Option(help="Images of each generator, split and label that are looked at.")
    ] = 2000,
    protocol: opt.Protocol = None,
    generators: opt.Generators = None,
    groups: opt.Groups = None,
    workers: opt.Workers = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say whether data can be solved without looking at the pictures; find duplicates and leaks.

    Each ROOT is scanned first; without one, what the store knows is audited.
    """
    from featcache.audit import AuditOptions
    from featcache.audit import audit as run
    from featcache.cli._data import load_selection, scan_selection
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    flags = opt.SampleOptions(generators=generators, groups=groups, protocol=protocol).settings()
    settings = load_settings(
        cache=cache, data=[*(roots or ()), *(data or ())], workers=workers, **flags
    )
    options = AuditOptions(
        view=view or "clean",
        max_per_class=max_per_class,
        decode=not files_only,
        workers=settings.workers,
    )
    manifest = scan_selection(settings, paired=True) if roots else load_selection(settings)
    result = run(manifest, options)
    path = settings.cache / "audit.json"
    result.write(path)
    if json:
        out.print_json(result.to_dict())
    else:
        _show_audit(result)
        out.print_message(f"All of it: {path}")


@app.command()
def simulate(
    photos: Annotated[
        Path, typer.Option("--photos", metavar="DIR", help="Photographs to start from.")
    ],
    target: Annotated[Path, typer.Option("--out", metavar="DIR", help="The tree to make.")],
    artefacts: Annotated[
        list[str] | None,
        typer.Option("--artefacts", metavar="A[,B...]", help="Which. [default: all seven]"),
    ] = None,
    strengths: Annotated[
        list[str] | None,
        typer.Option("--strengths", metavar="S[,T...]", help="How strong, above 0 up to 1."),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Side of the tiles in pixels.")] = 256,
    per_photo: Annotated[int, typer.Option(min=1, help="Tiles of a photograph at the most.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make fakes with one artefact of one strength each: from which strength on is it seen?"""
    from featcache.datasets.simulate import SimulateOptions, parse_strengths
    from featcache.datasets.simulate import simulate as run
    from featcache.settings import split_all

    out.start_logging(verbose, quiet)
    chosen: dict[str, Any] = {"size": size, "per_photo": per_photo, "seed": seed}
    if artefacts:
        chosen["artefacts"] = tuple(split_all(artefacts))
    if strengths:
        chosen["strengths"] = parse_strengths(split_all(strengths))
    made = run(photos, target, SimulateOptions(**chosen))
    if json:
        out.print_json({**vars(made), "root": str(made.root)})
        return
    out.print_rich(
        f"{made.root}: {made.n_tiles:,} tiles of {made.n_photos:,} photographs,"
        f" {len(made.generators)} generators. Next: featcache extract --data {made.root} --backbone"
        " NAME"
    )


def _show_audit(result: AuditResult) -> None:
    columns = ["generator", "verdict", "AUROC", "told by", "real", "fake"]
    rows = [
        [
            name,
            audit.verdict,
            "-" if audit.auroc is None else f"{audit.auroc:.2f}",
            audit.feature or "-",
            audit.real if audit.feature else "",
            audit.fake if audit.feature else "",
        ]
        for name, audit in result.generators.items()
    ]
    out.print_table(columns, rows, right={"AUROC"})
    for sentence in result.sentences:
        out.print_rich(printable(sentence))
    for pair in [*result.duplicates.leaks[:3], *result.duplicates.near_leaks[:3]]:
        out.print_message(
            printable(f"  train {pair.train} = test {pair.test} ({pair.distance} bits)")
        )
    for row in result.corrupt[:5]:
        out.print_message(printable(f"  {row['path']}: {row['reason']}"))


def _list(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    json: bool,
    verbose: bool,
    quiet: bool,
    columns: Sequence[str] = ("name", "summary"),
) -> None:
    out.start_logging(verbose, quiet)
    if json:
        out.print_json({name: rows})
    else:
        out.print_table(list(columns), [[str(row[column]) for column in columns] for row in rows])


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def _show(rows: list[dict[str, Any]], more: dict[str, Any], json: bool) -> None:
    if json:
        out.print_json({"rows": rows, **more})
        return
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        _show_dataset(dataset, [row for row in rows if row["dataset"] == dataset])
    for reason, count in more.get("skipped", {}).items():
        out.print_message(f"Passed over: {count:,} x {reason}")
    for note in more.get("notes", []):
        out.print_message(f"Note: {note}")
    if hint := _first_check(rows, more):
        out.print_message(f"Check first: {hint}")


MOST_GENERATORS = 40
"""With more generators than this a data set is shown by families."""


def _show_dataset(dataset: str, rows: list[dict[str, Any]]) -> None:
    """Print one data set: its name as a heading, a line for each generator and split."""
    generators = {row["generator"] for row in rows}
    out.print_rich(f"{printable(dataset)}: {len(generators):,} generators")
    if len(generators) > MOST_GENERATORS:
        rows = _by_family(rows)
    columns = ["generator", "split", "real", "fake", "bad", "format", "size"]
    table = [
        [
            printable(row["generator"]),
            row["split"],
            *(f"{row[name]:,}" for name in ("n_real", "n_fake", "n_bad")),
            _commonest(row["formats"], row["n_real"] + row["n_fake"]),
            _commonest(row["sizes"], row["n_real"] + row["n_fake"]),
        ]
        for row in rows
    ]
    out.print_table(columns, table, right={"real", "fake", "bad"})


def _by_family(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each family and split; shared reals count once where all have as many."""
    folded: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        folded.setdefault((row["group"], row["split"]), []).append(row)
    return [
        {
            "generator": f"{group} ({len(members):,} generators)",
            "split": split,
            "n_real": max(row["n_real"] for row in members),
            "n_fake": sum(row["n_fake"] for row in members),
            "n_bad": sum(row["n_bad"] for row in members),
            "formats": _pooled([row["formats"] for row in members]),
            "sizes": _pooled([row["sizes"] for row in members]),
        }
        for (group, split), members in sorted(folded.items())
    ]


def _pooled(counts: list[dict[str, int]]) -> dict[str, int]:
    """Return the one value that all members have; shares of shared reals cannot be added up."""
    values = {name for one in counts for name in one}
    return dict.fromkeys(values, 1) if len(values) == 1 else {"several": 1}


def _first_check(rows: list[dict[str, Any]], more: Mapping[str, Any]) -> str:
    """Return what the reader should look at first, empty where nothing stands out."""
    bad = sum(row["n_bad"] for row in rows)
    lonely = [r["generator"] for r in rows if not r["n_real"] or not r["n_fake"]]
    for note in more.get("notes", ()):
        if "real in one place and fake in another" in note or "= real, 1 = fake" in note:
            return "the note on labels above."
    if more.get("skipped", {}).get("image in a folder that the layout does not name"):
        return "images in folders that no layout names: are they samples?"
    if lonely:
        return f"{lonely[0]} has images of one class only in a split."
    return f"{bad:,} files cannot be used." if bad else ""


def _commonest(counts: dict[str, int], n_files: int) -> str:
    """Return the most common value, with its share (rounded down) where there are others."""
    if not counts:
        return ""
    name = max(counts, key=counts.__getitem__)
    return name if len(counts) == 1 else f"{name}:{100 * counts[name] // n_files}%"
