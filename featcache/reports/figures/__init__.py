"""Figures of a report: bars, curves and images, drawn with Matplotlib or as SVG."""
