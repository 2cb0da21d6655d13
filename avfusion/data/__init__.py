"""What is kept between stages: labels, frames, sound, features, and the windows that clips and sequences are."""
