"""The enrolled voices. `contract` is what others call; `folder` is the gallery of a folder.

Behind `folder`: `store` takes the locks, `writer` and `plans` change files and index in an order
that holds, `intake` brings the index up to the folder, `files` knows the files, `index` the SQLite
index over them. Every gallery has `npy`, the bytes of a recording's file, `snapshot`, what
searching threads see, and `profile`, what is known beside the voice. The gallery of a database is
`utils/postgres/`.
"""

from utils.gallery.contract import Gallery, Mode
from utils.gallery.folder import FolderGallery
from utils.gallery.profile import Consent, Profile, Receipt, SpeakerRecord
from utils.gallery.records import Take
from utils.gallery.snapshot import Snapshot
from utils.scoring import Candidate

__all__ = [
    "Candidate",
    "Consent",
    "FolderGallery",
    "Gallery",
    "Mode",
    "Profile",
    "Receipt",
    "Snapshot",
    "SpeakerRecord",
    "Take",
]
