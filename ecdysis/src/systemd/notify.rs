//! Telling systemd what this process does (sd_notify(3)).
