#!/usr/bin/env bash
# bare_debian.sh COMMAND...: what a newcomer does, from nothing: make a Debian that holds no more than Python, make and git, clone this
# project into it as an ordinary user, and run each command there, such as "make infer". Without one: the README's two.
# Needs root on Linux, and mmdebstrap (apt-get install mmdebstrap). The commit that is checked out is cloned, not what is not committed.
# These variables set it up, and those of enter.sh but AS and IN:
#   FOLDER    of the system; one that is there is used again, and its clone is brought up to date (a new one, removed afterwards)
#   SUITE     of Debian (bookworm)
#   PACKAGES  that it holds besides Debian's own, separated by commas
#   MIRROR    of Debian's packages (Debian's own)
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
project=$(git -C "$here" rev-parse --show-toplevel)
suite=${SUITE:-bookworm}
packages=${PACKAGES:-ca-certificates,git,make,python3,python3-venv}
test "$(uname)" = Linux && test "$(id -u)" = 0 || { echo "error: $0 needs root on Linux; say sudo -E make ..." >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "error: found no mmdebstrap; install it (Debian, Ubuntu: apt-get install mmdebstrap)" >&2; exit 1; }
test $# -gt 0 || set -- "make infer" "make test"

folder=${FOLDER:-}
if test -z "$folder"; then
    folder=$(mktemp -d)
    trap 'rm -rf --one-file-system "$folder"' EXIT
fi
if ! test -e "$folder/etc/debian_version"; then
    mkdir -p "$folder"
    mmdebstrap --quiet --variant=apt --include="$packages" "$suite" "$folder" ${MIRROR:+"$MIRROR"}
    AS=root REGISTRY=off "$here/enter.sh" "$folder" useradd --create-home --shell /bin/bash newcomer
fi

git -C "$project" bundle create --quiet "$folder/srv/project.bundle" HEAD
if test -n "$(git -C "$project" status --porcelain --untracked-files=no)"; then echo "note: what is not committed is not cloned" >&2; fi
export AS=newcomer
if test -e "$folder/home/newcomer/project"; then
    IN=/home/newcomer/project "$here/enter.sh" "$folder" git fetch --quiet /srv/project.bundle HEAD
    IN=/home/newcomer/project "$here/enter.sh" "$folder" git checkout --quiet --detach FETCH_HEAD
else
    IN=/home/newcomer "$here/enter.sh" "$folder" git -c advice.detachedHead=false clone --quiet /srv/project.bundle project
fi
for command in "$@"; do
    echo "Debian $(cat "$folder/etc/debian_version"), $(git -C "$project" rev-parse --short HEAD) \$ $command"
    IN=/home/newcomer/project "$here/enter.sh" "$folder" bash -c "$command"
done
