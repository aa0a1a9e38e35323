#!/bin/sh
# Starts HAProxy at ADDR with everything it writes below DIR, in the foreground, as a
# master with a worker. Its page is as large as that of scenarios/nginx/start.sh.
#
# Usage: start.sh ADDR DIR
set -eu
here=$(dirname "$0")
mkdir -p "$2/html"
sed "s/LISTEN/$1/; s|DIR|$2|g" "$here/haproxy.cfg" >"$2/haproxy.cfg"
head -c 16384 /dev/zero | tr '\0' x >"$2/html/index.html"
# By its whole path, for a reload starts what is named here.
haproxy=$(PATH=$PATH:/usr/sbin command -v haproxy)
exec "$haproxy" -W -f "$2/haproxy.cfg" -p "$2/haproxy.pid" -S "$2/master.sock"
