"""Timings side by side with a baseline: real processes, loopback sockets, one run for both.

`python -m benchmarks --help` lists the commands. `request.json` is the result of a whole run of
`python -m benchmarks request`; the figures in the documentation are taken from it. Nothing here is
imported by the server, and nothing here reaches into it: it is asked over HTTP as any client does.
"""
