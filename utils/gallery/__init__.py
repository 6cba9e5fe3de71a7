"""The enrolled voices. `gallery` is what others call; the rest is behind it.

`files` knows the .npy files, `index` the SQLite index over them, `writer` the order in which both
change, `snapshot` what searching threads see. Only `gallery` takes locks.
"""

from utils.gallery.gallery import Gallery
from utils.gallery.snapshot import Snapshot
from utils.scoring import Candidate

__all__ = ["Candidate", "Gallery", "Snapshot"]
