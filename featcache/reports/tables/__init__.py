"""Tables of a report, one file per kind of result."""
