"""Accepting alone as in `accept`, over 20 connections that are kept for all their mails, as a relay in front does."""
from rows import accept

PEER, TARGET = accept.PEER, accept.TARGET


def peer(notes):
    """See `accept`."""
    return accept.peer(notes, kept=True)


def ceiling():
    """See `accept`."""
    return accept.ceiling(kept=True)


def landfall(notes):
    """See `accept`."""
    return accept.landfall(notes, kept=True)
