"""The optional packages that pages and figures need."""

from __future__ import annotations

from importlib import import_module

from featcache.errors import MissingExtraError

_PACKAGES = ("jinja2", "matplotlib", "pandas", "tabulate")


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
