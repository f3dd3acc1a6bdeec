"""The public names: each can be loaded, is documented, and costs nothing before it is used."""

from __future__ import annotations

import inspect

import pytest

import featcache


@pytest.mark.parametrize("name", [name for name in featcache.__all__ if name != "__version__"])
def test_name_is_there_and_documented(name: str) -> None:
    result = getattr(featcache, name)
    assert inspect.getdoc(result)
    assert name in dir(featcache)


def test_list_is_sorted_and_complete() -> None:
    assert featcache.__all__ == sorted(featcache.__all__)
    assert set(featcache._HOMES) == set(featcache.__all__) - {"__version__"}


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        featcache.nothing  # noqa: B018
