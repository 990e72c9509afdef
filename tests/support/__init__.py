"""What several test modules import: helpers that are no fixtures."""
