#!/bin/sh
# Downloads the packages in "$@". Function: get, which is apt-get with the usual options.
export DEBIAN_FRONTEND=noninteractive
download() {
  get --no-install-recommends --allow-downgrades --allow-change-held-packages --download-only install "$@"
}
download "$@" || { get update && download "$@"; }
