"""How the network is made: corpus -> degraded batches -> distillation -> export.

`python -m training --help` lists the stages. Writes `best_model/`; run-time files go to
`training/runs/` and the corpus cache to `.cache/`, neither committed.
"""
