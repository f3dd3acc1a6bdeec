"""Benchmarks: each one command that prints a table of ratios measured in one run, and writes
JSON.
"""
