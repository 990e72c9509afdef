"""What this machine can run, and what is missing, before it matters."""
