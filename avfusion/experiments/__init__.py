"""What is run and compared: the pipeline's stages, and comparisons, cross-validation, robustness and sweeps.

May import the rooms up to `reports`. Gives: `stage` and what each script in pipelines/ calls.
"""
