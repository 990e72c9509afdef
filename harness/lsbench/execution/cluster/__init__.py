"""Replicas of the model, each shared by some ranks, as Ray places them.

``backend`` is what a run sees. ``session`` starts or joins Ray, ``group`` is the processes of one replica and
``rank`` one of these processes. ``dispatch`` hands out turns and takes records, ``assignment`` knows what of
a turn is left when a replica was lost, ``failure`` why it was, ``patience`` how long one may be silent.
"""
