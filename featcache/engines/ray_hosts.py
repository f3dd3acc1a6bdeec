"""Objects that live in Ray's actors, beside their data."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from featcache.errors import ResourceError


class Host:
    """What runs in a process of Ray's: one object."""

    def __init__(self, cores: int, make: Callable[[], Any]) -> None:
        os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)
        self._object = make()

    def apply(self, function: Callable[[Any], Any]) -> Any:
        """Return ``function`` of the object."""
        return function(self._object)


class StandIn:
    """Stands for an object that is elsewhere: its attributes can be read."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ray.get(self._actor.apply.remote(lambda made: getattr(made, name)))


class RayHosts:
    """Objects in actors, made at the same time.

    Parameters
    ----------
    ray : module
    makes : list of callable
    cores : float
        Of each actor; less than 1 where several share a core.
    """

    def __init__(self, ray: Any, makes: list[Callable[[], Any]], cores: float) -> None:
        self._ray = ray
        actor = ray.remote(Host).options(num_cpus=cores, max_restarts=0)
        self.actors = [actor.remote(max(int(cores), 1), make) for make in makes]
        self.parts = [StandIn(ray, actor) for actor in self.actors]

    def each(self, function: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
        """Return ``function`` of each object, all at the same time, in the order of the parts.

        Raises
        ------
        ResourceError
            If an object is lost with its process or its machine.
        Exception
            What the function itself raised.
        """
        try:
            sent = [part._actor.apply.remote(function) for part in parts]
            return list(self._ray.get(sent))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise ResourceError(
                "A worker that held a part of the rows was lost, and with it the state of the fit. "
                "Nothing in the store has changed; run the same command again."
            ) from error

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            self._ray.kill(actor)
