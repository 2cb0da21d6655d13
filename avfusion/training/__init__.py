"""The two loops, for a backbone and for a fusion model: losses, schedules, precision, checkpoints.

May import the rooms up to `fusion`; knows neither the project nor MLflow. Gives: `FusionTraining`, `BackboneTrainer`.
"""
