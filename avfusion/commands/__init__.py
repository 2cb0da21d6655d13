"""One file per command of `avfusion`. Heavy imports stand inside the functions, so that `--help` costs none of them."""
