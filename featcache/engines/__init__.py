"""Where work runs: in this process, or in workers on many machines. One interface for all
engines.
"""

from featcache.engines.base import Engine, Hosts, Make, Work
from featcache.registry import Registry

ENGINES: Registry[type] = Registry("engine", "featcache.engines", type)
"""All engines: the entry points of the group ``featcache.engines``, classes made from (workers,
address).
"""


def open_engine(name: str, *, workers: int = 0, address: str = "") -> Engine:
    """Return an engine by name.

    Parameters
    ----------
    name : str
        ``local``, ``ray`` or a plug-in's.
    workers : int
        Processes; 0 lets the engine fill what there is. The local engine has one.
    address : str
        Of a running cluster; empty starts what the engine needs on this machine.

    Returns
    -------
    Engine
        An engine by name.

    Raises
    ------
    UnknownNameError
        If there is no such engine.
    MissingExtraError
        If its packages are not installed.
    """
    engine: Engine = ENGINES.get(name)(workers, address)
    return engine


__all__ = ["ENGINES", "Engine", "Hosts", "Make", "Work", "open_engine"]
