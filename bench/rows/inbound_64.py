"""Inbound as in `inbound`, over 64 connections."""
from rows import inbound

PEER, TARGET = inbound.PEER, None
CONNECTIONS = 64


def peer(notes):
    """See `inbound`."""
    return inbound.peer(notes, connections=CONNECTIONS)


def landfall(notes):
    """See `inbound`."""
    return inbound.landfall(notes, connections=CONNECTIONS)
