"""The stores of the stages (labels, frames, sound, features), and the geometry of clips and sequences.

May import the rooms up to `corpora`. Gives: `update_store` and a store per kind of file, `TrackData`, `FeatureSpec`.
"""
