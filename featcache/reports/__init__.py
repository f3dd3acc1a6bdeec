"""What a probe found, for people: a table in the terminal, a page with figures, and the plain rows
of both.

Nothing here computes a metric; matplotlib and Jinja2 (``pip install 'featcache[viz]'``) are
imported only when a page is written.
"""

from featcache.reports.html import write_report
from featcache.reports.summarize import summarize
from featcache.reports.terminal import results_table

__all__ = ["results_table", "summarize", "write_report"]
