"""Models and data by name, and the embedded defaults that need no hub.

Importing this is cheap: what fetches, unpacks or hashes loads when it is called.
"""

from lsbench.catalog.data import prepare_data, prepared_data
from lsbench.catalog.entries import ModelEntry, list_models
from lsbench.catalog.models import ModelSource, prepared_model, resolve_model
from lsbench.catalog.names import check_model_name
from lsbench.catalog.progress import Progress

__all__ = [
    "ModelEntry",
    "ModelSource",
    "Progress",
    "check_model_name",
    "list_models",
    "prepare_data",
    "prepared_data",
    "prepared_model",
    "resolve_model",
]
