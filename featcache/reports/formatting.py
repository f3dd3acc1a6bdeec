"""Numbers and names as a reader sees them, the same in the terminal and on the page.

Also the check for the optional packages that pages and figures need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from featcache.errors import MissingExtraError
from featcache.probes.calibration import ErrorRates
from featcache.results import Interval

UNKNOWN = "n/a"
"""Stands where a number does not exist, such as the accuracy on no samples."""

SIGNIFICANT = 0.05
"""A difference counts where its corrected p-value is below this."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval, as fractions; ``low`` is NaN where there is no interval."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, value: float, interval: Interval) -> Estimate:
        """Return the estimate for a value and its (low, high).

        Parameters
        ----------
        value : float
            Value to convert.
        interval : Interval
            Lower and upper limit.

        Returns
        -------
        Estimate
            The estimate for a value and its (low, high).
        """
        return cls(value, *interval)

    @property
    def short(self) -> str:
        """The value in points: ``"97.3"``."""
        return format_points(self.value)

    @property
    def interval(self) -> str:
        """The interval in points: ``"[94.1, 99.6]"``; empty where there is none."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return ""
        return f"[{format_points(self.low)}, {format_points(self.high)}]"

    @property
    def full(self) -> str:
        """Value and interval in points: ``"97.3 [94.1, 99.6]"``."""
        return f"{self.short} {self.interval}".rstrip()

    @property
    def fraction(self) -> str:
        """Value and interval as fractions, for sentences: ``"0.97 [0.94, 1.00]"``."""
        if not self.interval:
            return format_fraction(self.value)
        return f"{format_fraction(self.value)} [{self.low:.2f}, {self.high:.2f}]"


def format_points(value: float) -> str:
    """Return a fraction as percentage points with one decimal.

    Parameters
    ----------
    value : float
        Value to convert.

    Returns
    -------
    str
        A fraction as percentage points with one decimal.

    Examples
    --------
    >>> format_points(0.9734), format_points(float("nan"))
    ('97.3', 'n/a')
    """
    return f"{100 * value:.1f}" if math.isfinite(value) else UNKNOWN


def format_fraction(value: float) -> str:
    """Return a fraction with two decimals.

    Parameters
    ----------
    value : float
        Value to convert.

    Returns
    -------
    str
        A fraction with two decimals.
    """
    return f"{value:.2f}" if math.isfinite(value) else UNKNOWN


def format_number(value: float) -> str:
    """Return a number with three significant digits, very small and large ones as powers of ten.

    Parameters
    ----------
    value : float
        Such as a C between 1e-06 and 1e+06.

    Returns
    -------
    str

    Examples
    --------
    >>> [format_number(value) for value in (1e-4, 0.00025, 0.01, 1.0, 31.62, 1000.0, 1e6)]
    ['1e-04', '2.5e-04', '0.01', '1', '31.6', '1000', '1e+06']
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def escape_controls(text: str) -> str:
    r"""Return a text that every terminal, page and encoding can show.

    Surrogates (from file names that are not UTF-8), control characters and line ends become
    backslash escapes.

    Parameters
    ----------
    text : str
        Text to read.

    Returns
    -------
    str
        A text that every terminal, page and encoding can show.

    Examples
    --------
    >>> escape_controls("caf\udce9\n")
    'caf\\udce9\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_list(items: Sequence[str]) -> str:
    """Return words as a sentence lists them.

    Parameters
    ----------
    items : Sequence[str]
        Items, in order.

    Returns
    -------
    str
        Words as a sentence lists them.

    Examples
    --------
    >>> format_list(["a"]), format_list(["a", "b"]), format_list(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def shorten(text: str, width: int) -> str:
    """Return a text of at most ``width`` characters, its middle left out where it is longer.

    Parameters
    ----------
    text : str
        Text to read.
    width : int
        Width in pixels or characters.

    Returns
    -------
    str
        A text of at most ``width`` characters, its middle left out where it is longer.

    Examples
    --------
    >>> shorten("stable_diffusion_v_1_4", 12)
    'stable…v_1_4'
    """
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


_PACKAGES = ("jinja2", "matplotlib", "pandas", "tabulate")


def format_percent(value: float) -> str:
    """Return a share in per cent with two significant digits: ``"0.52 %"``, ``"12 %"``.

    Parameters
    ----------
    value : float in [0, 1]

    Returns
    -------
    str
        A dash where it is not known.
    """
    if math.isnan(value):
        return "-"
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 9.95 or percent == 0 else f"{percent:.2g} %"


def describe_errors(rates: ErrorRates | None) -> str:
    """Return a head's errors at its threshold in a sentence.

    Parameters
    ----------
    rates : ErrorRates or None
        None where the head holds no held-out data.

    Returns
    -------
    str
    """
    if rates is None:
        return "The error rates of this head are not known: it holds no held-out data."

    def share(value: float, ci: tuple[float, float]) -> str:
        low, high = format_percent(ci[0]), format_percent(ci[1])
        return f"{format_percent(value)} (95 % interval {low} to {high})"

    return (
        f"On held-out training images {share(rates.fpr, rates.fpr_ci)} of {rates.n_real:,} reals"
        f" from {rates.n_sources_real:,} sources are called fake, and"
        f" {share(rates.fnr, rates.fnr_ci)} of {rates.n_fake:,} fakes from"
        f" {rates.n_sources_fake:,} are called real."
    )


def require_viz() -> None:
    """Make sure that the packages of the extra ``viz`` can be imported.

    Raises
    ------
    MissingExtraError
        If one cannot: says which, and the line that installs it.
    """
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingExtraError(
                f"Reports need {package}, which is not installed. "
                "Run: pip install 'featcache[viz]'. The table in the terminal works without it."
            ) from error
