"""Submission files of the ABAW challenge, validated against the organisers' sample.

May import the rooms up to `inference`. Gives: `write_submission`.
"""
