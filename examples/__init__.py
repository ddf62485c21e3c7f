"""Whole jobs that a newcomer runs; `python -m examples.flights` is the main one."""
