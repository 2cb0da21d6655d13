"""`avfusion serve`: the predictor behind HTTP, with an upload page and a JSON API."""
