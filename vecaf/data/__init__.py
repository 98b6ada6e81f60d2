"""Pools and test sets: where images come from, how they are checked, indexed, read and transformed."""
