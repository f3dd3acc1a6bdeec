"""Views: chains of steps, each a pure function with its parameters; how a user writes them.

A view is a function of the image, the sample's id and its own description, and of nothing else:
not of the order of the images, the number of workers, or the library's global random state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from featcache.errors import ImageError, SettingsError
from featcache.files import digest_bytes
from featcache.registry import Registry

Number: TypeAlias = int | float
Params: TypeAlias = Mapping[str, Number]
Apply: TypeAlias = Callable[[Image.Image, Params, np.random.RandomState], Image.Image]


@dataclass(frozen=True)
class Arg:
    """A number that a step takes, as it stands after the colon.

    Parameters
    ----------
    name : str
        As it stands in the feature key.
    low, high : int or float
        What is allowed, both included. Whole numbers mean that only whole numbers are allowed.
    default : int or float, optional
        Where the user says none.
    """

    name: str
    low: Number
    high: Number
    default: Number | None = None


@dataclass(frozen=True)
class StepKind:
    """A step that a user can name.

    Parameters
    ----------
    name : str
        Its name in a view: lower-case letters, digits and ``-``.
    apply : callable
        From the RGB image, the parameters by name (also ``draw``, where there is one) and a random
        state of its own to the RGB image. Pure; a module-level function, so that it can be pickled.
    args : tuple of Arg
    summary : str
        One line for the list of steps.
    facts : mapping
        What else fixes the result, written into the feature key: filter, padding, codec.
    random : bool
        Whether it draws random numbers; the key then holds seed and draw.
    draws : {"one", "counted"} or int
        ``"counted"``: its first argument says into how many draws the name expands; an int: it
        always expands into so many.
    codec : (str, str), optional
        Pillow's name of the format and the name of the parameter that is its quality, where the
        step leaves the image as such a file.
    """

    name: str
    apply: Apply
    args: tuple[Arg, ...] = ()
    summary: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    draws: str | int = "one"
    codec: tuple[str, str] | None = None


STEPS: Registry[StepKind] = Registry("view step", "featcache.views", StepKind)
"""All steps by name; plug-ins add theirs through the entry-point group ``featcache.views``."""


@dataclass(frozen=True)
class Step:
    """A step with its numbers.

    Parameters
    ----------
    kind : StepKind
    params : tuple of (str, int or float)
    draw, seed : int
        Which of its random results; only used where the kind has several.
    """

    kind: StepKind
    params: tuple[tuple[str, Number], ...] = ()
    draw: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        """The step as a user writes it: ``jpeg:90``, ``univfd-train#3``."""
        arguments = "-".join(format_number(value) for _, value in self.params)
        name = f"{self.kind.name}:{arguments}" if arguments else self.kind.name
        return f"{name}#{self.draw}" if self.draw or self.kind.draws != "one" else name

    def to_key(self) -> dict[str, Any]:
        """Return all that fixes the result, as it stands in a feature key.

        Returns
        -------
        dict[str, Any]
            All that fixes the result, as it stands in a feature key.
        """
        key = {"step": self.kind.name, **dict(self.params), **self.kind.facts}
        if self.kind.random or self.kind.draws != "one":
            key["draw"] = self.draw
        return key | {"seed": self.seed} if self.kind.random else key

    def __call__(self, image: Image.Image, sample_id: str, position: int) -> Image.Image:
        """Return the changed image; ``position`` in the chain makes equal steps independent."""
        label = f"{self.seed}/{sample_id}/{self.draw}/{position}".encode("utf-8", "surrogateescape")
        seed_words = np.frombuffer(bytes.fromhex(digest_bytes(label)), dtype="<u4")
        # RandomState, because numpy has promised never to change its streams.
        state = np.random.RandomState(seed_words)
        return self.kind.apply(image, dict(self.params) | {"draw": self.draw}, state)


@dataclass(frozen=True)
class View:
    """A named chain of steps; the empty one is ``clean``.

    Parameters
    ----------
    steps : tuple of Step
    """

    steps: tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        """The view as a user writes it: ``clean``, ``jpeg:90``, ``blur:1+jpeg:90``."""
        return "+".join(step.name for step in self.steps) or "clean"

    @property
    def codec(self) -> tuple[str, int] | None:
        """Format and quality of the last file that the image was in, None where no step encodes."""
        for step in reversed(self.steps):
            if step.kind.codec:
                file_format, quality = step.kind.codec
                return file_format, int(dict(step.params)[quality])
        return None

    def to_key(self) -> dict[str, Any]:
        """Return the view as it stands in a feature key.

        Returns
        -------
        dict[str, Any]
            The view as it stands in a feature key.
        """
        return {"name": self.name, "steps": [step.to_key() for step in self.steps]}

    def __call__(self, image: Image.Image, sample_id: str) -> Image.Image:
        """Return the image as the backbone's preprocessing gets it.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode ``"RGB"``; not changed.
        sample_id : str
            Seeds the random steps, together with each step's seed and draw.

        Returns
        -------
        PIL.Image.Image
            Mode ``"RGB"``.

        Raises
        ------
        ImageError
            If a step cannot be done on this image (too large for the codec); names the step.
        """
        for position, step in enumerate(self.steps):
            try:
                image = step(image, sample_id, position)
            except (OSError, ValueError, MemoryError, OverflowError) as error:
                raise ImageError(f"the view {step.name} cannot be made: {error}") from error
        return image


CLEAN = View()


def format_number(value: Number) -> str:
    """Return a number the one way it stands in a name.

    Parameters
    ----------
    value : Number
        Value to convert.

    Returns
    -------
    str
        A number the one way it stands in a name.

    Examples
    --------
    >>> format_number(90), format_number(1.0), format_number(0.25)
    ('90', '1', '0.25')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


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
