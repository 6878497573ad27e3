"""Inbound as in `inbound`, but 20 different sizes of mail, as they are spread in the SpamAssassin corpus (1 KB to 60 KB)."""
from rows import inbound
import load

PEER, TARGET = inbound.PEER, None
# Every 5th percentile of the sizes of the corpus's 6,046 mails, from the 2.5th to the 97.5th, in bytes.
SIZES = [1_150, 1_600, 1_900, 2_150, 2_400, 2_650, 2_850, 3_050, 3_250, 3_500, 3_750, 4_050, 4_400, 4_800, 5_300, 6_000,
         7_200, 9_300, 14_000, 33_000]


def mails():
    """One mail of each size."""
    return [load.html_mail(size) for size in SIZES]


def peer(notes):
    """See `inbound`."""
    return inbound.peer(notes, mails=mails())


def landfall(notes):
    """See `inbound`."""
    return inbound.landfall(notes, mails=mails())
