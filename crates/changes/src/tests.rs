//! On both databases, with real rows.
