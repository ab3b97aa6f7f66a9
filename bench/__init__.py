"""Benchmarks: one command each, one page each."""
