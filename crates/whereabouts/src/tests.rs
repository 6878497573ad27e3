//! On both databases, with real rows and events.
