"""Where a network looks: attention, rollout, and which patches push a head's score."""

from featcache.attention.run import AttendOptions, attend

__all__ = ["AttendOptions", "attend"]
