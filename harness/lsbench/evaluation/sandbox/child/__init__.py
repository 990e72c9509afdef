"""The part of the sandbox that runs outside the harness's process.

The launcher starts as a bare interpreter (``-I -S``) with only this folder's parent on its import path, so
nothing here imports anything but the standard library and its own neighbours, relatively.
"""
