"""From what a user writes to views: ``clean,jpeg:90,blur:1+jpeg:75,univfd-train:4,tencrop``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

from featcache.errors import SettingsError
from featcache.views.view import CLEAN, STEPS, Arg, Number, Step, StepKind, View

MAX_DRAWS = 1000


def parse_views(text: str | Iterable[str], *, seed: int = 0) -> list[View]:
    """Return the views that a comma-separated list names, each once, in its order.

    Parameters
    ----------
    text : str or iterable of str
        ``NAME[:NUMBER[-NUMBER]][#DRAW]``, chained by ``+``, listed by commas. ``clean`` is the
        image as it is. ``univfd-train:K`` stands for its draws ``univfd-train#0`` ... ``#K-1`` (so
        that a larger K later only adds draws) and ``tencrop`` for its ten crops.
    seed : int
        Of the random steps.

    Returns
    -------
    list of View

    Raises
    ------
    UnknownNameError
        If there is no step of a name.
    SettingsError
        If a number is missing, superfluous, or outside its range.

    Examples
    --------
    >>> [view.name for view in parse_views("clean, blur:1.0+jpeg:90, univfd-train:2")]
    ['clean', 'blur:1+jpeg:90', 'univfd-train#0', 'univfd-train#1']
    """
    parts = text.split(",") if isinstance(text, str) else [p for t in text for p in t.split(",")]
    names = [part.strip() for part in parts if part.strip()]
    views = {view.name: view for name in names for view in _parse_view(name, seed)}
    if not views:
        raise SettingsError("No view was named. 'clean' is the image as it is.")
    return list(views.values())


def describe_steps() -> list[dict[str, str]]:
    """Return name, usage and summary of every step, sorted by name.

    Returns
    -------
    list[dict[str, str]]
        Name, usage and summary of every step, sorted by name.
    """
    kinds = STEPS.all()
    return [
        {"name": name, "usage": _usage(kind), "summary": kind.summary}
        for name, kind in sorted(kinds.items())
    ]


def _parse_view(text: str, seed: int) -> list[View]:
    if text == "clean":
        return [CLEAN]
    chains = product(*(_parse_step(part.strip(), text, seed) for part in text.split("+")))
    return [View(steps) for steps in chains]


def _parse_step(text: str, view: str, seed: int) -> list[Step]:
    """Return the step, or all its draws where the name stands for several."""
    head, _, draw_text = text.partition("#")
    name, colon, argument_text = head.partition(":")
    kind = STEPS.get(name)
    texts = argument_text.split("-") if colon else []
    if kind.draws == "counted":
        count, texts = _take_count(kind, texts, bool(draw_text), text)
    else:
        count = kind.draws if isinstance(kind.draws, int) else 1
    params = _numbers(kind, kind.args, texts, text)
    if draw_text:
        limit = kind.draws if isinstance(kind.draws, int) else MAX_DRAWS
        if kind.draws == "one" and not kind.random:
            raise SettingsError(
                f"The view step {text!r} is not random, so it has no draw #{draw_text}."
            )
        if not draw_text.isascii() or not draw_text.isdigit() or int(draw_text) >= limit:
            raise SettingsError(f"The view step {text!r} needs a draw from #0 to #{limit - 1}.")
        draw_seeds: Iterable[int] = [int(draw_text)]
    else:
        draw_seeds = range(count)
    return [Step(kind, params, draw, seed if kind.random else 0) for draw in draw_seeds]


def _take_count(
    kind: StepKind, texts: list[str], has_draw: bool, text: str
) -> tuple[int, list[str]]:
    """Split the number of draws from the other arguments; ``NAME#3`` needs none."""
    if has_draw and len(texts) <= len(kind.args):
        return 1, texts
    count = Arg("K", 1, MAX_DRAWS, default=1)
    ((_, number),) = _numbers(kind, (count,), texts[:1], text)
    return int(number), texts[1:]


def _numbers(
    kind: StepKind, args: tuple[Arg, ...], texts: list[str], text: str
) -> tuple[tuple[str, Number], ...]:
    if len(texts) > len(args):
        raise SettingsError(f"The view step {text!r} has too many numbers. Usage: {_usage(kind)}.")
    padded = [*texts, *[""] * (len(args) - len(texts))]
    return tuple(
        (arg.name, _number(kind, arg, part, text)) for arg, part in zip(args, padded, strict=True)
    )


def _number(kind: StepKind, arg: Arg, part: str, text: str) -> Number:
    if not part.strip() and arg.default is not None:
        return arg.default
    is_integer = isinstance(arg.low, int) and isinstance(arg.high, int)
    try:
        value = float(part)
        right = math.isfinite(value) and arg.low <= value <= arg.high
        right = right and (value.is_integer() or not is_integer)
    except ValueError:
        right = False
    if not right:
        what = "a whole number" if is_integer else "a number"
        raise SettingsError(
            f"The view step {text!r} needs {what} from {arg.low} to {arg.high} as {arg.name}. "
            f"Usage: {_usage(kind)}."
        )
    return int(value) if is_integer else value


def _usage(kind: StepKind) -> str:
    names = [arg.name.upper() for arg in kind.args]
    if kind.draws == "counted":
        names.insert(0, "K")
    return f"{kind.name}:{'-'.join(names)}" if names else kind.name
