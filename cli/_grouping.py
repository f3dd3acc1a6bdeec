"""Flags in groups: a command takes a dataclass, and the user sees each of its fields as a flag.

Typer reads flags from the signature of a command; :func:`grouped` writes that signature, so that flags
that belong together are described once and travel as one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, get_type_hints

Returned = TypeVar("Returned")


def grouped(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Let a command take groups of flags.

    Parameters
    ----------
    command : callable
        Parameters whose type is a dataclass are groups: the fields, annotated as flags are, stand in
        their place.

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
