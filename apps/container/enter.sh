#!/usr/bin/env bash
# enter.sh ROOT COMMAND...: run a command in the system that lies in a folder, as chroot does, with processes and mounts of its own, which
# end with it. Needs root on Linux. These variables set it up:
#   AS        user: a name of that system, or numbers such as 1000:1000 (root)
#   IN        folder to run in, of that system (/)
#   NETWORK   off: there is none (on)
#   REGISTRY  off: what this machine needs to reach its package registries stays outside (on: pip's settings, proxies and certificates go
#             in, and the folders and files that they name, to be read)
#   SHARE     other folders and files: "PLACE" lies at the same place there, to be read; "FOLDER:PLACE" can be written (none)
#   SEALED    on: nothing can be written but /tmp, and what is shared to be written (off)
# No other variable goes in; write those of the command as `env NAME=VALUE COMMAND`.
set -euo pipefail

# What says how a registry is reached.
NAMES="PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_CONSTRAINT PIP_CERT PIP_CLIENT_CERT PIP_TRUSTED_HOST PIP_PROXY
    PIP_RETRIES PIP_TIMEOUT PIP_DEFAULT_TIMEOUT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY"

# Make variables of what pip's settings files say; a variable that is set counts, as it does for pip.
read_pip_settings() {
    local key value name
    while IFS='=' read -r key value; do
        name=${key#global.}
        name=PIP_$(echo "${name//-/_}" | tr '[:lower:]' '[:upper:]')
        value=${value#[\"\']} value=${value%[\"\']}
        if test "$key" != "${key#global.}" && test -z "${!name:-}"; then printf -v "$name" '%s' "${value//\\n/ }"; fi
    done < <(python3 -m pip config list 2>/dev/null || true)
}

# show SOURCE [PLACE]: have a folder or file of this machine there, at the same place or another, to be read.
show() {
    local target=$root${2:-$1}
    if test -d "$1"; then
        mkdir -p "$target"
    else
        mkdir -p "$(dirname "$target")"
        test -e "$target" || : >"$target"
    fi
    mount --bind "$1" "$target"
    mount -o remount,bind,ro "$target"
}

test $# -ge 2 || { echo "usage: enter.sh ROOT COMMAND..." >&2; exit 2; }
test "$(uname)" = Linux && test "$(id -u)" = 0 || { echo "error: $0 needs root on Linux; say sudo -E make ..." >&2; exit 1; }

if test "$1" != --within; then
    spaces=(--mount --pid --fork --kill-child --propagation private)
    if test "${NETWORK:-on}" = off; then spaces+=(--net); fi
    exec unshare "${spaces[@]}" "$0" --within "$@"
fi
root=$(realpath "$2")
shift 2

settings=()
if test "${REGISTRY:-on}" = on; then
    read_pip_settings
    for name in $NAMES; do
        test -n "${!name:-}" || continue
        if [[ $name =~ CERT|BUNDLE ]]; then # not in its own place, where a package may want to write another
            show "$(realpath "${!name}")" "/run/registry/$name"
            settings+=("$name=/run/registry/$name")
            continue
        fi
        settings+=("$name=${!name}")
        for word in ${!name}; do
            place=${word#file://}
            test "$place" != "${place#/}" && test -e "$place" || continue
            case $name in *INDEX_URL) place=$(dirname "$place") ;; esac # the files that an index links lie beside it
            show "$place"
        done
    done
    if test -e "$root/etc/resolv.conf"; then show "$(realpath /etc/resolv.conf)"; fi
fi
if test "${SEALED:-off}" = on; then
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
if test "${SEALED:-off}" = on; then mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"; fi
for each in ${SHARE:-}; do
    case $each in
        *:*) mount --bind "${each%%:*}" "$root${each#*:}" ;;
        *) show "$each" ;;
    esac
done
if test "${NETWORK:-on}" = off && command -v ip >/dev/null; then ip link set lo up; fi # a container has one, too

user=${AS:-root}
home=$(awk -F: -v name="$user" '$1 == name { print $6 }' "$root/etc/passwd")
if test "$home" = ""; then home=/tmp; fi
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" "${settings[@]}" \
    chroot --userspec="$user" "$root" /bin/sh -c 'cd "$0" && exec "$@"' "${IN:-/}" "$@"
