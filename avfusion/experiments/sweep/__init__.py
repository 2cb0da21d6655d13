"""The search for better parameters of `train`: Optuna studies on one machine or many.

A trial trains on cached features in this process; nothing is run through DVC and no model is kept.
"""

from avfusion.runtime.project import disable_telemetry

disable_telemetry()
