"""The results folder: what was asked, every finished request, and what was concluded from them."""
