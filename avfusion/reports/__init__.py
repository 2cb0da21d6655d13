"""Plots, tables and pages of scores.

May import the rooms up to `tracking`. Gives: `write_report`, `write_page`, a function for each plot and table.
"""
