"""Losses as sums, and the normalizers to divide them by.

A loss gives sums and, from the target alone, normalizers. The engine adds both up over all accumulated batches and all
processes, then divides once. So the loss of a step is that of all its pixels, however they were divided into batches,
and a step without a labelled pixel has the loss 0, not NaN.
"""
