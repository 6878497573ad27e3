//! whereabouts
