"""The client for everything under /v1: `V1Client`, and the subcommands of Request.py.

Speaks HTTP and knows nothing else of this project: `Request.py` and this folder can be copied to
another machine, with `pip install requests tabulate tqdm`.
"""

from client.connection import RequestFailed
from client.v1 import V1Client

__all__ = ["RequestFailed", "V1Client"]
