"""Experiments behind the tables of benchmarks/skill.py: one module a data set, each runnable anywhere its data is."""
