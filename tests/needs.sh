#!/usr/bin/env bash
# Installs what the tests, the benchmarks and the fuzz targets use and this machine
# has not: Debian's packages as root, Python's into target/tools. What cannot be
# installed is named, and the test that needs it says that it is skipped (in CI it
# fails).

set -euo pipefail
cd "$(dirname "$0")/.."

packages=()

# `needs PROGRAM PACKAGE`: a path is looked at, a name is looked up.
needs() {
    case $1 in
        /*) [ -e "$1" ] || packages+=("$2") ;;
        *) command -v "$1" >/dev/null || packages+=("$2") ;;
    esac
}

fail() {
    echo "needs: $1" >&2
    exit 1
}

needs cc gcc
needs cc libc6-dev
# For the fuzz targets, and for the tests of what packages ship.
needs c++ g++
needs systemd-analyze systemd
needs /usr/sbin/logrotate logrotate
needs groff groff-base
# Clients, proxies and networks of the tests.
needs curl curl
needs wrk wrk
needs chromium chromium
needs ffmpeg ffmpeg
needs slowhttptest slowhttptest
needs /usr/sbin/haproxy haproxy
needs /usr/sbin/apache2 apache2-bin
needs caddy caddy
needs node nodejs
needs npm npm
needs git git
needs rclone rclone
needs zsync zsync
needs /usr/sbin/nginx nginx-light
needs /usr/lib/nginx/modules/ngx_nchan_module.so libnginx-mod-nchan
needs /usr/bin/redis-server redis-server
needs promtool prometheus
needs ip iproute2
needs setpriv util-linux
# What counts.
needs strace strace
needs valgrind valgrind
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)

if [ ${#packages[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || fail "install ${packages[*]}, or run this as root"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" ||
        echo "needs: could not install ${packages[*]}" >&2
fi
# By pip: a Python that is not Debian's does not see Debian's modules.
python3 -c 'import requests' 2>/dev/null ||
    python3 -m pip install --quiet --root-user-action=ignore --target target/tools/python requests
# Autobahn's cases for WebSocket.
[ -e target/tools/kosoku/bin/kosoku ] ||
    { python3 -m venv target/tools/kosoku && target/tools/kosoku/bin/pip install --quiet kosoku==0.1.0; } ||
    echo "needs: could not install kosoku" >&2
# Clients for WebSocket that others have written.
[ -e target/tools/websockets/bin/python ] ||
    { python3 -m venv target/tools/websockets && target/tools/websockets/bin/pip install --quiet websockets==15.0.1; } ||
    echo "needs: could not install websockets" >&2
[ -e target/tools/node/node_modules/ws ] ||
    { mkdir -p target/tools/node && npm install --silent --no-fund --no-audit --prefix target/tools/node ws@8.18.3; } ||
    echo "needs: could not install ws" >&2
command -v cargo >/dev/null || fail "cargo is missing; install Rust 1.95 or newer"
cargo fmt --version || fail "rustfmt is missing; rustup component add rustfmt"
cargo clippy --version || fail "clippy is missing; rustup component add clippy"
rustc --version
