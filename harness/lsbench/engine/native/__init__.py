"""Products and whole sub-layers of a few rows, compiled for the machine: what decoding on a CPU rests on.

Torch's own products read weights at a fraction of memory's speed when there are only a few rows. The sources
beside this file read them as fast as memory gives them. They are built once, by torch's extension loader
(``library``), and taken up to as many rows as they win on this machine (``crossover``). Where they cannot be
built, and in other precisions or on other devices, torch's product does the work, and ``service`` says why.
"""

from lsbench.engine.native.crossover import compiled_for, most_rows
from lsbench.engine.native.decoder import NativeDecoder, NativeLayer, Product, native_decoder
from lsbench.engine.native.dequantized import dequantized_product
from lsbench.engine.native.library import NativeStatus, prepare
from lsbench.engine.native.service import products_for

__all__ = [
    "NativeDecoder",
    "NativeLayer",
    "NativeStatus",
    "Product",
    "compiled_for",
    "dequantized_product",
    "most_rows",
    "native_decoder",
    "prepare",
    "products_for",
]
