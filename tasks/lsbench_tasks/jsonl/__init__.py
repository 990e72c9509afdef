"""A user's own prompts, and the texts that would be right, from a JSON Lines file."""
