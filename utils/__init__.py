"""The way of a recording: audio -> features -> embedding -> gallery, tied in identification.

Arrays in, arrays out. Nothing here knows HTTP or Flask, and nothing here imports `web`,
`training`, `evaluation` or `benchmarks`.
"""
