"""The search for a strategy's best options, and whether they hold on prompts that the search never saw."""
