"""The built-in strategies, registered under ``lsbench.strategies`` as any third party's are."""
