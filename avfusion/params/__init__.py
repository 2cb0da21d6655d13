"""params.yaml as a whole: the sections that the rooms own, checks between them, its text, and the presets.

May import the rooms up to `training`, and the `settings` of all. Gives: `load_params`, `Params`, `write_preset`.
"""
