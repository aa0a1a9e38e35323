//! Sockets that systemd has bound (sd_listen_fds(3)).
