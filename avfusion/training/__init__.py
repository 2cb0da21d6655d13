"""The training loops of backbones and of fusion models: losses, schedules, precision, checkpoints.

May import the rooms up to `fusion`; knows neither the project nor MLflow. Gives: `FusionTraining`, `BackboneTrainer`.
"""
