"""From rows on disk to batches in memory. Only this package imports TensorFlow and SeqIO.

`manifest, spec, sources, index, sampler` need neither: the choice of a batch's rows is plain Python
and NumPy.
"""
