"""One registry for everything that is chosen by name; built-ins and plug-ins enter by the same
door.
"""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from featcache.errors import FeatcacheWarning, ResourceError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind, found by the name of their entry point.

    Parameters
    ----------
    kind : str
        What they are, as the user calls it: ``"backbone"``.
    group : str
        The entry-point group that packages register them in.
    type_ : type
        What each entry point must resolve to.
    """

    def __init__(self, kind: str, group: str, type_: type[T]) -> None:
        self.kind = kind
        self.group = group
        self.type_ = type_
        self._added: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        """Register ``item`` for this process only (notebooks, tests).

        Parameters
        ----------
        name : str
            Name to look up or to show.
        item : T
            Item to add or to process.
        """
        self._added[name] = item

    def is_installed(self, name: str) -> bool:
        """Say whether a package registers the name, rather than this process alone.

        Parameters
        ----------
        name : str

        Returns
        -------
        bool
        """
        return name in self._entry_points()

    def names(self) -> list[str]:
        """Return all names, sorted; nothing is imported for it.

        Returns
        -------
        list[str]
            All names, sorted.
        """
        return sorted({*self._added, *self._entry_points()})

    def get(self, name: str) -> T:
        """Return the thing of that name.

        Parameters
        ----------
        name : str
            Name to look up or to show.

        Returns
        -------
        T
            The thing of that name.

        Raises
        ------
        UnknownNameError
            If nothing has the name.
        ResourceError
            If its plug-in cannot be imported, or is not what it should be.
        """
        if name in self._added:
            return self._added[name]
        points = self._entry_points()
        if name not in points:
            raise unknown_name(self.kind, name, self.names())
        point = points[name]
        origin = f"{self.kind} {point.name!r} ({point.value}, from {_distribution(point)})"
        try:
            item = point.load()
        except Exception as error:  # a plug-in may raise anything
            raise ResourceError(f"The {origin} cannot be imported: {error!r}.") from error
        if not isinstance(item, self.type_):
            raise ResourceError(
                f"The {origin} is a {type(item).__name__}, not a {self.type_.__name__}."
            )
        return item

    def all(self) -> dict[str, T]:
        """Return everything by name; a plug-in that fails is left out with a warning that names it.

        Returns
        -------
        dict[str, T]
            Everything by name.
        """
        entries = {}
        for name in self.names():
            try:
                entries[name] = self.get(name)
            except ResourceError as error:
                warnings.warn(str(error), FeatcacheWarning, stacklevel=2)
        return entries

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def _distribution(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
