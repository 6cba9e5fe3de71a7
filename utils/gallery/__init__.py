"""The enrolled voices. `gallery` is what others call; the rest is behind it.

`store` takes the locks, `writer` and `plans` change files and index in an order that holds,
`intake` brings the index up to the folder, `files` knows the .npy files, `index` the SQLite index
over them, `snapshot` what searching threads see, `profile` what is known beside the voice.
"""

from utils.gallery.gallery import Gallery, Mode
from utils.gallery.profile import Consent, Profile, Receipt, SpeakerRecord
from utils.gallery.records import Take
from utils.gallery.snapshot import Snapshot
from utils.scoring import Candidate

__all__ = [
    "Candidate",
    "Consent",
    "Gallery",
    "Mode",
    "Profile",
    "Receipt",
    "Snapshot",
    "SpeakerRecord",
    "Take",
]
