"""Scores of predictions: CCC and its intervals, reports and pictures."""
