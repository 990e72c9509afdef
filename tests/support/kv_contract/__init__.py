"""The KV contract in its plainest form, and a check of the engine against it."""
