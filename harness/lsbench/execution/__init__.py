"""From requests to records: a pure plan, a worker that knows no cluster, and the process it runs in."""
