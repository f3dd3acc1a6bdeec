"""Heads other than logistic regression; each registers under the entry-point group
``featcache.heads``.
"""
