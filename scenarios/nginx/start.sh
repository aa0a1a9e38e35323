#!/bin/sh
# Starts nginx at ADDR with everything it writes below DIR, in the foreground unless
# it is told otherwise.
#
# Usage: start.sh ADDR DIR [on|off [NGINX]]
#   on     go into the background
#   NGINX  the path of the program; by default it is looked for
set -eu
here=$(dirname "$0")
# Workers are another user, and have to get at the page.
chmod a+rx "$2"
mkdir -p "$2/html"
sed "s/LISTEN/$1/" "$here/nginx.conf" >"$2/nginx.conf"
head -c 16384 /dev/zero | tr '\0' x >"$2/html/index.html"
echo x >"$2/html/small"
# By its whole path, for a binary upgrade starts what is named here.
nginx=${4-$(PATH=$PATH:/usr/sbin command -v nginx)}
exec "$nginx" -p "$2" -c nginx.conf -e error.log -g "daemon ${3-off};"
