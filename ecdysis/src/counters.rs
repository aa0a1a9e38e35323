//! What happened in this process, counted.
