"""lm-eval at both ends: its tasks become requests, and stored records become its scores.

Nothing is imported here, since lm-eval takes seconds to load: use ``requests``, ``scores``, ``tasks``
and ``sandbox`` directly.
"""
