"""lsbench: does running fewer layers per token make this model faster, and what does it cost in quality?

Importing this package is cheap: torch, transformers and the rest load only where they are used.
"""

__version__ = "0.1.0"
