"""Training: losses, the loop, checkpoints; it logs through a small protocol and knows no tracker."""
