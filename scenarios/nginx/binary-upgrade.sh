#!/bin/sh
# Replaces a running nginx by the program that is at its path now, as its manual says
# (https://nginx.org/en/docs/control.html#upgrade): USR2 starts a new master beside
# the old one, QUIT ends the old one when it has finished what it has.
#
# Usage: binary-upgrade.sh PID
set -eu
old=$1

# The master that the old one has started, once it has workers.
successor() {
    for child in $(cat "/proc/$old/task/$old/children"); do
        if grep -q '^nginx: master' "/proc/$child/cmdline" 2>/dev/null &&
            [ -n "$(cat "/proc/$child/task/$child/children")" ]; then
            return 0
        fi
    done
    return 1
}

runs() {
    grep -q '^State:[[:space:]][^ZX]' "/proc/$1/status" 2>/dev/null
}

kill -USR2 "$old"
tries=300
until successor; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! runs "$old"; then
        echo "nginx $old has started no new master with workers" >&2
        exit 1
    fi
    sleep 0.01
done
kill -QUIT "$old"
# There is no other upgrade while the old master is there.
while runs "$old"; do
    sleep 0.01
done
