"""Work on Ray: actors that keep what they have loaded, on one machine or on many.

Every actor is given a few items at a time and yields their results one by one. When an actor is
lost, with its process, its machine or its network, the items it had not finished go to the others,
and a new actor is asked for. An item may therefore be done twice; what it writes must not mind.

Objects that live in Ray's actors, beside their data.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from featcache.engines.base import Engine, Hosts, Make
from featcache.errors import MissingExtraError, ResourceError, SettingsError


class Host:
    """What runs in a process of Ray's: one object."""

    def __init__(self, cores: int, make: Callable[[], Any]) -> None:
        os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)
        self._object = make()

    def apply(self, function: Callable[[Any], Any]) -> Any:
        """Return ``function`` of the object.

        Parameters
        ----------
        function : Callable[[Any], Any]
            Function that is applied to each item.

        Returns
        -------
        Any
            ``function`` of the object.
        """
        return function(self._object)


class SerialisedError:
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
        self.parts = [SerialisedError(ray, actor) for actor in self.actors]

    def map(self, function: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
        """Return ``function`` of each object, all at the same time, in the order of the parts.

        Parameters
        ----------
        function : Callable[[Any], Any]
            Function that is applied to each item.
        parts : list[Any]
            Parts of the work, one for each worker.

        Returns
        -------
        list[Any]
            ``function`` of each object, all at the same time, in the order of the parts.

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


log = logging.getLogger("featcache")

MOST_CORES = 8
"""Cores of an actor without a GPU at the most: more of them than that serve better as two
actors.
"""

MOST_ITEMS = 8
"""Items that an actor is given at once, so that its pipeline does not run dry between them."""

MOST_LOSSES = 3
"""Workers that may be lost over the same item before it is taken for the cause."""

NOT_STARTED = -1
"""Stands for the item of a worker that was lost before it had any."""

PATIENCE_S = 60.0
"""Seconds without news after which it is said that no worker has started."""


class Actor:
    """What runs in a process of Ray's."""

    def __init__(self, cores: int) -> None:
        # joblib, and through it the pipeline, counts the cores that this variable allows.
        os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)

    def start(self, make: Make) -> None:
        """Load what the work needs.

        Parameters
        ----------
        make : Make
            Function that builds the object in the worker.
        """
        self._work = make()

    def work(self, items: Sequence[Any]) -> Iterator[Any]:
        """Yield one result for each item.

        Parameters
        ----------
        items : Sequence[Any]
            Items, in order.

        Yields
        ------
        Any
            One result for each item.
        """
        yield from self._work(items)


@dataclass(eq=False)
class RayWorker:
    """An actor, the numbers of the items that it has, and what it is awaited for.

    ``awaited`` is the news that it has started, then the stream of its results; None where it is
    idle.
    """

    actor: Any
    awaited: Any
    given: deque[int] = field(default_factory=deque)


class RayEngine(Engine):
    """Does items in actors, one per GPU, or one per few cores where there is no GPU."""

    def run(self, make: Make, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) as they are done.

        Parameters
        ----------
        make : Make
            Function that builds the object in the worker.
        items : Sequence[Any]
            Items, in order.

        Yields
        ------
        tuple[Any, Any]
            (item, result) as they are done.

        Raises
        ------
        MissingExtraError
            If Ray is not installed.
        SettingsError
            If there is no cluster at the address.
        ResourceError
            If workers are lost again and again over the same item.
        Exception
            What the work itself raised.
        """
        with _connected(self.address) as ray:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            shape = shape_for(nodes, self.workers)
            self.n_workers = min(shape.n, len(items))
            yield from _Dispatch(ray, make, items, shape, self.n_workers).run()

    @contextmanager
    def host(self, makes: Sequence[Callable[[], Any]]) -> Iterator[Hosts]:
        """Make each object in an actor; the cores of the cluster are shared out among them.

        Parameters
        ----------
        makes : Sequence[Callable[[], Any]]
            Functions that build the object of each worker.

        Yields
        ------
        Hosts
        """
        with _connected(self.address) as ray:
            # All objects must be there at once, so more of them than cores share the cores.
            share = ray.cluster_resources().get("CPU", 1.0) / len(makes)
            hosts = RayHosts(ray, list(makes), int(share) or math.floor(share * 100) / 100)
            try:
                yield hosts
            finally:
                hosts.close()


@dataclass(frozen=True)
class Shape:
    """How many actors there are to be, and what each of them gets."""

    n: int
    cores: int
    gpus: int


class _Dispatch:
    """Gives items to actors and takes their results."""

    def __init__(
        self, ray: Any, make: Make, items: Sequence[Any], shape: Shape, n_workers: int
    ) -> None:
        self.ray, self.items, self.shape = ray, items, shape
        self.make = ray.set_heads(make)
        self.todo = deque(range(len(items)))
        self.losses: Counter[int] = Counter()
        self.lanes = [self._start_worker() for _ in range(n_workers)]

    def run(self) -> Iterator[tuple[Any, Any]]:
        """Yield until all items have a result."""
        try:
            while self.todo or any(worker.given for worker in self.lanes):
                awaited = {
                    worker.awaited: worker for worker in self.lanes if worker.awaited is not None
                }
                ready, _ = self.ray.wait(list(awaited), num_returns=1, timeout=PATIENCE_S)
                if ready:
                    yield from self._hear(awaited[ready[0]])
                elif not any(worker.given for worker in self.lanes):
                    log.warning("No worker has started yet. Look at 'ray status' for what is free.")
        finally:
            for worker in self.lanes:
                self.ray.kill(worker.actor)

    def _hear(self, worker: RayWorker) -> Iterator[tuple[Any, Any]]:
        """Hear from an actor: that it has started, a result, or that it is gone."""
        try:
            if not worker.given:
                self.ray.get(worker.awaited)
            else:
                result = self.ray.get(next(worker.awaited))
                yield self.items[worker.given.popleft()], result
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            # Back what a lost actor had not finished, and ask for another one.
            first = worker.given[0] if worker.given else NOT_STARTED
            self.losses[first] += 1
            if self.losses[first] >= MOST_LOSSES:
                raise ResourceError(
                    f"{MOST_LOSSES} workers were lost over the same work: {_first_line(error)}. "
                    "Look for the kernel's out-of-memory killer in 'dmesg', or lower --processes. "
                    "What was finished is kept; run the same command to go on."
                ) from error
            log.warning("A worker was lost; %d shards are done again.", len(worker.given))
            self.todo.extendleft(reversed(worker.given))
            self.lanes[self.lanes.index(worker)] = self._start_worker()
            for idle in (candidate for candidate in self.lanes if candidate.awaited is None):
                self._assign(idle)
            return
        if not worker.given:
            self._assign(worker)

    def _assign(self, worker: RayWorker) -> None:
        """Give a started actor its next items: fewer towards the end, so that all finish
        together.
        """
        n = min(max(len(self.todo) // (4 * len(self.lanes)), 1), MOST_ITEMS, len(self.todo))
        worker.given, worker.awaited = deque(self.todo.popleft() for _ in range(n)), None
        if worker.given:
            work = worker.actor.work.options(num_returns="streaming")
            worker.awaited = work.remote([self.items[i] for i in worker.given])

    def _start_worker(self) -> RayWorker:
        """Ask for an actor; it gets items only when it has started, which may be never."""
        options = {"num_cpus": self.shape.cores, "num_gpus": self.shape.gpus, "max_restarts": 0}
        actor = self.ray.remote(Actor).options(**options).remote(self.shape.cores)
        return RayWorker(actor, actor.start.remote(self.make))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield the module ray, connected; a cluster that was started here is stopped again."""
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"There is no Ray cluster at {address or 'this machine'}: {_first_line(error)}. "
            "Start one with 'ray start --head', or leave --address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError(
            "The engine 'ray' needs the package ray. Run: pip install 'featcache[ray]'"
        ) from error
    return ray


def shape_for(nodes: Sequence[dict[str, float]], workers: int) -> Shape:
    """Return how many actors these nodes hold, of how many cores and GPUs.

    Parameters
    ----------
    nodes : sequence of dict
        Resources of each node: ``CPU``, ``GPU``.
    workers : int
        How many were asked for; 0 means what fits.

    Returns
    -------
    Shape
        How many actors these nodes hold, of how many cores and GPUs.

    Raises
    ------
    ResourceError
        If memory, disk or network do not suffice.

    Examples
    --------
    >>> shape_for([{"CPU": 32, "GPU": 8}, {"CPU": 32, "GPU": 8}], 0)
    Shape(n=16, cores=4, gpus=1)
    >>> shape_for([{"CPU": 16}, {"CPU": 16}], 0)
    Shape(n=4, cores=8, gpus=0)
    >>> shape_for([{"CPU": 2}], 2)
    Shape(n=2, cores=1, gpus=0)
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) or not gpus]
    if not sum(cores):
        raise ResourceError("The Ray cluster has no core to work on. Look at 'ray status'.")
    if workers:
        share = max(sum(cores) // workers, 1)
        return Shape(workers, min(share, max(cores)), int(gpus > 0))
    if gpus:
        return Shape(gpus, max(sum(cores) // gpus, 1), 1)
    size = min(MOST_CORES, max(cores))
    return Shape(max(sum(n // size for n in cores), 1), size, 0)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
