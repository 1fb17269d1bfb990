"""Published measurements and how far the models are from them."""
