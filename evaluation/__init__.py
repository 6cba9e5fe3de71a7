"""How right the answers are: the sample set, trial lists, metrics, pictures.

`python -m evaluation --help` lists the commands. Metrics are pure functions of numpy arrays and
know neither Keras nor Flask.
"""
