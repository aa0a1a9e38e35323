//! Graceful restarts for network services.
