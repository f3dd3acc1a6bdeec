"""Can a data set be solved without looking at its pictures? Shortcuts, duplicates, leaks,
balance.
"""

from featcache.audit.result import (
    AuditResult,
    Balance,
    Duplicates,
    GeneratorAudit,
    Pair,
    read_audit,
)
from featcache.audit.run import AuditOptions, audit

__all__ = [
    "AuditOptions",
    "AuditResult",
    "Balance",
    "Duplicates",
    "GeneratorAudit",
    "Pair",
    "audit",
    "read_audit",
]
