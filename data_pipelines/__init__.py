"""From rows on disk to batches in memory. TensorFlow and SeqIO live in this package and only here.

`manifest, spec, sources, index, sampler` need neither: which rows a batch holds is plain Python.
"""
