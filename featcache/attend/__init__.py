"""Where a network looks: attention, rollout, and which patches push a head's score."""

from featcache.attend.run import AttendOptions, attend

__all__ = ["AttendOptions", "attend"]
