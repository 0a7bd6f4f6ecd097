#!/bin/sh
# Makes sure that the system packages are there, and says so before it installs any.
#   sh lab/system.sh               what the lab needs (quick when all is there)
#   sh lab/system.sh --python PY   only that `PY -m venv` works
#   sh lab/system.sh --lint        only what `make lint` checks shell with
#   sh lab/system.sh --browser     only the browser that the tests look at reports with (80 MB to load, 0.5 GB on the disk)
set -eu

PACKAGES="mmdebstrap systemd-container qemu-user-static qemu-utils dnsmasq-base nftables iproute2
openssh-client openssl e2fsprogs mount util-linux ca-certificates debian-archive-keyring golang-cfssl"

# $1: whose need it is, $2: packages
install_or_say() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "$1 needs system packages that are missing. As root, run:" >&2
        echo "  apt-get update && apt-get install --yes --no-install-recommends $2" >&2
        exit 1
    fi
    echo "$1 needs system packages, installing: $2"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet --quiet
    # shellcheck disable=SC2086
    apt-get install --quiet --quiet --yes --no-install-recommends $2
}

if [ "${1:-}" = --python ]; then
    python="${2:-python3}"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        exit 0
    fi
    found="$(command -v "$python" || true)"
    case "$found" in
    "" | /usr/bin/*)
        if ! command -v apt-get >/dev/null; then
            echo "$python cannot make virtual environments: install Python 3.11 or newer with its venv module" >&2
            exit 1
        fi
        install_or_say "$python -m venv" "python3 python3-venv"
        ;;
    *)
        echo "$found lacks the modules venv and ensurepip: use another one, such as: make PYTHON=/usr/bin/python3" >&2
        exit 1
        ;;
    esac
    exit 0
fi

if [ "${1:-}" = --lint ]; then
    missing=""
    for program in shellcheck busybox; do
        command -v "$program" >/dev/null || missing="$missing$program "
    done
    [ -n "$missing" ] || exit 0
    if ! command -v apt-get >/dev/null; then
        echo "make lint needs programs that are missing: ${missing% } (install them; there is no apt here)" >&2
        exit 1
    fi
    install_or_say "make lint" "${missing% }"
    exit 0
fi

NEED="the lab"
if [ "${1:-}" = --browser ]; then
    NEED="the test of reports in a browser"
    PACKAGES="chromium fonts-dejavu-core"
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "The lab needs a Debian 12 machine (this one has no apt); the framework itself runs here too." >&2
    exit 1
fi
# shellcheck disable=SC2086
installed=" $(dpkg-query --show --showformat '${db:Status-Status}:${Package} ' $PACKAGES 2>/dev/null || true)"
missing=""
for package in $PACKAGES; do
    case "$installed" in
    *" installed:$package "*) ;;
    *) missing="$missing$package " ;;
    esac
done
if [ -n "$missing" ]; then
    install_or_say "$NEED" "${missing% }"
fi
