"""Which images a command is about, from its settings.

Flags in groups: a command takes a dataclass, and the user sees each of its fields as a flag.

Typer reads flags from the signature of a command; :func:`grouped` writes that signature, so that
flags that belong together are described once and travel as one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from featcache.cli._output import print_message
from featcache.errors import SettingsError, UnknownNameError

if TYPE_CHECKING:
    from featcache.datasets import Manifest, Scan
    from featcache.settings import Settings

DEFAULT_ROOT = Path("datasets")


def roots_of(settings: Settings) -> list[Path]:
    """Return the roots that were named, or the folder ``datasets/``.

    Raises
    ------
    SettingsError
        If nothing was named and there is no such folder.
    """
    if settings.data:
        return settings.data
    if DEFAULT_ROOT.is_dir():
        return [DEFAULT_ROOT]
    raise SettingsError(
        "No images were named. Give --data FOLDER, set data in featcache.toml, "
        "or put them into a folder datasets/."
    )


def scan_roots(settings: Settings, dry_run: bool = False, strict: bool = False) -> list[Scan]:
    """Scan every root into the store (with ``dry_run`` nothing is written), saying how many
    files.
    """
    from featcache.datasets import ScanOptions, scan_into
    from featcache.datasets.evidence import LabelMap

    options = ScanOptions(
        layout=settings.layout,
        source_pattern=settings.source_pattern,
        test_fraction=settings.test_fraction,
        groups=settings.groups,
        workers=settings.workers,
        mapping=LabelMap(settings.columns, {k.lower(): v for k, v in settings.labels.items()}),
        own_layouts=settings.own_layouts,
        strict=strict,
    )
    scans = []
    for root in roots_of(settings):
        scans.append(scan_into(settings.cache, root, options, keep=not dry_run))
        print_message(f"{root}: {len(scans[-1].manifest):,} files")
    return scans


def maps(column: list[str] | None, label: list[str] | None) -> dict[str, Any]:
    """Return the settings that ``--column`` and ``--label`` make."""
    from featcache.datasets.evidence import parse_columns, parse_labels

    flags = {"columns": parse_columns(column or ()), "labels": parse_labels(label or ())}
    return {name: value for name, value in flags.items() if value}


def scan_selection(settings: Settings, paired: bool = False, *, dry_run: bool = False) -> Manifest:
    """Scan every root into the store, and return what protocol and filters take of it.

    ``paired`` names the generators of shared reals, which extraction does not need.
    """
    from featcache.datasets import merge, resolve_pairs

    manifest = merge(scan.manifest for scan in scan_roots(settings, dry_run))
    filters = ("protocol", "classes", "generators", "categories", "only_groups", "max_per_class")
    if not paired and not any(getattr(settings, name) for name in filters):
        return manifest
    return choose(resolve_pairs(manifest, settings.groups), settings)


def load_selection(settings: Settings) -> Manifest:
    """Return what the settings take of the store's manifests: data sets, protocol, filters."""
    from featcache.datasets import load_manifests
    from featcache.datasets.scan import dataset_name

    names = [dataset_name(root.resolve()) for root in settings.data]
    try:
        manifest = load_manifests(settings.cache, names or None, groups=settings.groups)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} {_read_again(settings)}".rstrip()) from error
    return choose(manifest, settings)


def _read_again(settings: Settings) -> str:
    """Return what helps where a folder is not in the store under the name that it has now."""
    folders = " ".join(str(root) for root in settings.data if root.exists())
    if not folders:
        return ""
    return (
        "A folder is known by the name that it had when it was read: if it is new or was moved,"
        f" run 'featcache datasets scan {folders} --cache {settings.cache}' (features are found by"
        " content)."
    )


def choose(manifest: Manifest, settings: Settings) -> Manifest:
    """Return the samples that the settings' protocol and filters take."""
    from featcache.datasets import choose as run

    chosen, notes = run(
        manifest,
        protocol=settings.protocol,
        classes=settings.classes,
        generators=settings.generators,
        categories=settings.categories,
        groups=settings.only_groups,
        max_per_class=settings.max_per_class,
        tested=settings.tested,
    )
    for note in notes:
        print_message(note)
    return chosen


Returned = TypeVar("Returned")


def grouped(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Let a command take groups of flags.

    Parameters
    ----------
    command : callable
        Parameters whose type is a dataclass are groups: the fields, annotated as flags are, stand
        in their place.

    Raises
    ------
    TypeError
        If two groups have a flag of one name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    flags = [f for p in signature(command).parameters.values() for f in _flags(p, hints[p.name])]
    if twice := {f.name for f in flags if [g.name for g in flags].count(f.name) > 1}:
        raise TypeError(f"{command.__name__} has flags twice: {', '.join(sorted(twice))}")

    @wraps(command)
    def call(**given: Any) -> Returned:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return command(**given)

    call.__annotations__ = {flag.name: flag.annotation for flag in flags}
    call.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    return call


def _flags(parameter: Parameter, hint: Any) -> Iterator[Parameter]:
    """Yield the flags that stand for a parameter."""
    if not is_dataclass(hint):
        yield parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in fields(hint):
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )
