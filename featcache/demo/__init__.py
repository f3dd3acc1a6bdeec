"""The whole idea on real photographs and real fakes, offline: makes a tree that the ordinary
commands read.
"""
